"""
The fast path: what a whole stack does while nothing is wrong, in one coroutine.

Layer by layer a call takes one coroutine for each policy. While nothing is wrong no layer decides anything: it only
counts. So a stack whose policies can say what they would count has one coroutine for all of them, at half the cost.
The layers take over as soon as somebody has to decide: before the call, when a gate is shut; after it, when the
function has failed or has returned a stream. Then they are handed a `StartedCall` in place of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from sys import modules
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from .call_facts import TIMED, WATCHED, ever_marked, is_marked, watching
from .deadline import call_within, seconds_of
from .errors import mark_if_wrong_call
from .opening import gives_items
from .patience import callers_patience
from .report import SuccessCount
from .started_call import BothPermits, StartedCall
from .task_scopes import tasks_with_scopes
from .time_bound import BY_LAYERS, Limit, time_bound
from .watched import WatchedCall, told_layers

if TYPE_CHECKING:
    from .clock import Clock
    from .handlers import Handler
    from .time_bound import Bound, ByLayers, TimeBound
    from .watched import Tell, ToldLayers

Call = Callable[..., Coroutine[Any, Any, Any]]


MOST_ANSWER_TIMES = 400  # that a gate's list holds: two for each answer


class GateState(Protocol):
    """A state that says with one look whether anything has to be decided, before a call and after it."""

    @property
    def open_ticket(self) -> Any:
        """Lets a call through; None: the layers decide."""

    @property
    def fast_ticket(self) -> Any:
        """The open ticket, while a good answer is counted by two appends to `answer_times`; else None."""

    @property
    def answer_times(self) -> list[float]:
        """When an answer ended, when it had begun, and so on in turn."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands right in front of the function on a fast path."""

    state: GateState  # looked at before a call and after it
    # Counts a good answer that the list has no room for, or that may change the state: the call's ticket, when it
    # began, when it ended.
    good: Callable[[Any, float, float], None]
    run: Handler | None  # runs the function, within a time limit say; None: it is just called


class Permits(Protocol):
    """What lets calls through and is told of their answers, in front of a gate or of the function."""

    @property
    def owner(self) -> object:
        """What gives the permits, by which a layer knows its own."""

    def enter(self, now: float, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """A permit; None: the layers decide."""

    def give_back(self, permit: Any, now: float) -> None:
        """The call of a permit was not made after all."""

    def succeeded(self, permit: Any, now: float, result: Any) -> None:
        """The call of a permit has given a good answer."""


class _Both:
    """
    The permits of two layers: a call needs both.

    Args:
        outer: Those of the upper layer.
        inner: Those of the lower one.
    """

    __slots__ = ("_inner", "_outer", "owner")

    def __init__(self, outer: Permits, inner: Permits) -> None:
        self._outer = outer
        self._inner = inner
        self.owner = outer.owner

    def enter(self, now: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BothPermits | None:
        if (permit := self._outer.enter(now, args, kwargs)) is None:
            return None
        if (inner := self._inner.enter(now, args, kwargs)) is None:
            self._outer.give_back(permit, now)
            return None
        return BothPermits(self.owner, permit, inner)

    def give_back(self, permit: BothPermits, now: float) -> None:
        self._inner.give_back(permit.inner, now)
        self._outer.give_back(permit.permit, now)

    def succeeded(self, permit: BothPermits, now: float, result: Any) -> None:
        self._inner.succeeded(permit.inner, now, result)
        self._outer.succeeded(permit.permit, now, result)


class Guard(Protocol):
    """What may refuse a call before anything else is done, and tells with one look that it does not."""

    @property
    def is_open(self) -> bool:
        """Whether nothing has to be decided."""
        ...


class Course:
    """
    What the policies of a stack need to build its fast path.

    Args:
        function: Called with all arguments.
        bare: The same, as the layers call it: they count its runs themselves, where somebody counts.
        layers: They take over when something is wrong.
        now: The clock.
        counts: What counts each good call.
        method: Whether the first argument is the instance.

    Attributes:
        limits: As the path's; None where nothing but a layer can end a call.
        looks: As the path's.
        scoped: As the path's.
        always: Whether a layer bounds each call, whatever its caller's deadline.
        permits: Of a stack without endpoints.
        told: What those who watch are told.
    """

    __slots__ = (
        "_bare",
        "_layers",
        "always",
        "counts",
        "function",
        "limits",
        "looks",
        "method",
        "now",
        "permits",
        "scoped",
        "told",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        bare: Callable[..., Any],
        layers: Handler,
        now: Callable[[], float],
        counts: tuple[SuccessCount, ...],
        *,
        method: bool,
    ) -> None:
        self.function = function
        self._bare = bare
        self._layers = layers
        self.now = now
        self.counts = counts
        self.method = method
        self.limits: tuple[Limit, ...] | None = ()
        self.looks = False
        self.scoped: Collection[Any] = ()
        self.always = False
        self.permits: Permits | None = None
        self.told: ToldLayers

    def bound(self, endpoint: str | None = None, narrower: Limit | None = None, *call: Any) -> Bound | ByLayers | None:
        """
        What runs the function of the running task's call; None: it is just called.

        Args:
            endpoint: Who is asked, where there are several.
            narrower: The limit of the innermost layer, which depends on the call.
            *call: What that limit needs to know of it.
        """
        marks = is_marked() if ever_marked else 0
        time: TimeBound | None = None
        if (self.looks or self.limits) and (marks & TIMED or self.scoped or "trio" in modules):
            patience = callers_patience() if self.looks else None
            if patience is not None or self.always:
                found = time_bound(self.limits, narrower, patience, *call)
                if found is BY_LAYERS:
                    return found
                time = found
        if marks & WATCHED and (seen := watching()) is not None:
            return WatchedCall(seen, self.told, endpoint, time)
        return time

    def as_layers_call(self, args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any, tuple[Any, ...]]:
        """The function, its instance if it has one, and the other arguments."""
        if self.method and args:  # none: the TypeError of a call without its instance is under way
            return MethodType(self._bare, args[0]), args[0], args[1:]
        return self._bare, None, args

    def take_over(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], started: StartedCall | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Run the layers."""
        fn, instance, args = self.as_layers_call(args)
        if started is not None:
            started.function, fn = fn, started
        return self._layers(fn, instance, args, kwargs)


class FastPath:
    """
    Put together by the policies of one stack, outermost first, once it has been bound.

    Attributes:
        call_site: The name of the outermost policy's state.
        counts: What counts each good call.
        gates: What stands in front of the function, by endpoint, or for None where there are no endpoints.
        guard: Looked at before all of it, if there is one.
        permits: What stands in front of these and is told of each answer, likewise.
        shape: Makes the coroutine function; None: a policy that has more to do than to count sets it.
        timed: Whether some layer wants to know when the call began.
        method: Whether it is called with the instance first.
        limits: Of the layers that bound a call whose caller has a deadline.
        timeout: Seconds that each call has in any case; None: nobody says.
        looks: Whether how long a caller waits is of interest.
        scoped: Empty while no task of asyncio can have a scope around it, or a timeout that is looked for.
        tells: What tells those who watch of each good call.
        answers: Whether a layer may answer in the function's place, and wants to know whether somebody inside has.
    """

    __slots__ = (
        "answers",
        "call_site",
        "counts",
        "gates",
        "guard",
        "limits",
        "looks",
        "method",
        "permits",
        "scoped",
        "shape",
        "tells",
        "timed",
        "timeout",
    )

    def __init__(self, call_site: str, *, method: bool) -> None:
        self.call_site = call_site
        self.method = method
        self.counts: list[SuccessCount] = []
        self.gates: dict[str | None, Gate] = {}
        self.permits: dict[str | None, Permits] = {}
        self.guard: Guard | None = None
        self.shape: Callable[[Course, FastPath], Call] | None = None
        self.timed = False
        self.limits: list[Limit] = []
        self.timeout: float | None = None
        self.looks = False
        self.scoped: Collection[Any] = ()
        self.tells: list[Tell] = []
        self.answers = False

    def add_permits(self, permits: Mapping[str | None, Permits]) -> bool:
        """Put these in front, by endpoint, below those that stand there already; False where there are two of them."""
        for endpoint, each in permits.items():
            outer = self.permits.get(endpoint)
            if type(outer) is _Both or (outer is not None and outer.owner is each.owner):
                return False
            self.permits[endpoint] = each if outer is None else _Both(outer, each)
        self.timed = True
        return True

    def bound_by(self, owner: object, seconds: float) -> None:
        """Bound each call, whether its caller has a deadline or not."""
        self.limits.append(Limit(owner, lambda left: min(left, seconds)))
        self.timeout = seconds if self.timeout is None else min(seconds, self.timeout)

    def build(
        self,
        function: Callable[..., Any],
        bare: Callable[..., Any],
        layers: Handler,
        clock: Clock,
        *,
        plain: bool,
    ) -> Call:
        """One coroutine for the whole stack, which calls `function`; `layers` takes over when something is wrong."""
        course = Course(function, bare, layers, clock.now, tuple(self.counts), method=self.method)
        course.permits, course.looks = self.permits.get(None), self.looks
        course.limits = None if plain or not getattr(clock, "real", False) else tuple(self.limits)
        if self.timeout is not None:
            self.scoped = (None,)
        elif self.looks:
            # With permits a call is dear enough for a look at the timers of its loop, each time.
            self.scoped = (None,) if self.permits else tasks_with_scopes()
        course.scoped, course.always = self.scoped, self.timeout is not None
        course.told = told_layers(tuple(self.tells), answers=self.answers, counted=function is not bare)
        called = _counted(course, self) if self.shape is None else self.shape(course, self)
        return called if self.guard is None else _guarded(self.guard, called, course)


def within_time(gate: Gate | None, function: Callable[..., Any], timeout: float | None) -> Callable[..., Any] | None:
    """
    What calls the function within the time that it has behind a gate, if it has one.

    Args:
        gate: The gate.
        function: The function.
        timeout: Seconds that the call has in any case: where they are fewer, the gate's time is never over.
    """
    if gate is None or gate.run is None or (timeout is not None and timeout < seconds_of(gate.run)):
        return None
    return call_within(gate.run, function)


def _guarded(guard: Guard, called: Call, course: Course) -> Call:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await (called(*args, **kwargs) if guard.is_open else course.take_over(args, kwargs))

    return guarded


_NOBODYS = (SuccessCount(),)  # for stacks whose only policy counts otherwise


def _counted(course: Course, path: FastPath) -> Call:
    function, now = course.function, course.now if path.timed else None
    counts = course.counts or _NOBODYS
    first, others, scoped = counts[0], counts[1:], path.scoped  # the usual one is counted without a loop
    known: type = type(None)  # the latest type of result, which is no stream

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        started = now() if now is not None else 0.0
        permit: Any = None
        bound: Any = None
        if (
            ((ever_marked and is_marked()) or scoped or "trio" in modules) and (bound := course.bound()) is BY_LAYERS
        ) or ((permits := course.permits) is not None and (permit := permits.enter(started, args, kwargs)) is None):
            return await course.take_over(args, kwargs)
        try:
            if bound is not None:
                result = await bound.run(function, None, args, kwargs)
            else:
                # An empty dict would be copied, which takes a quarter of a bare await.
                result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            call = StartedCall(started, error, permit=permit, bound=bound)
        else:
            if type(result) is not known:
                if gives_items(type(result)):
                    call = StartedCall(started, result=result, permit=permit, bound=bound)
                    return await course.take_over(args, kwargs, call)
                known = type(result)
            if permits is not None and now is not None:
                permits.succeeded(permit, now(), result)
            first.ok += 1
            if others:
                for each in others:
                    each.ok += 1
            if bound is not None:
                bound.told()
            return result
        return await course.take_over(args, kwargs, call)

    return called
