"""
The fast path: one coroutine that does the work of a whole stack while nothing is wrong.

Layer by layer a call takes one coroutine for each policy. While nothing is wrong, no layer decides anything: it only
counts. So a stack whose policies can say what they would count has one coroutine for all of them, at half the cost.
The layers take over as soon as there is something to decide: before the call, if a gate is shut; after it, if the
function has failed or has returned a stream. Then they get a `StartedCall` instead of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from sys import modules
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from .call_facts import ever_watched, watching
from .callers_deadline import current_deadline, ever_timed
from .deadline import call_within, seconds_of
from .errors import mark_if_wrong_call
from .opening import gives_items
from .patience import callers_patience
from .started_call import BothPermits, StartedCall
from .task_scopes import tasks_with_scopes
from .time_bound import BY_LAYERS, Limit, time_bound
from .watched import WatchedCall, told_layers

if TYPE_CHECKING:
    from .clock import Clock
    from .handlers import Handler
    from .report import SuccessCount
    from .time_bound import ByLayers, TimeBound
    from .watched import ToldLayers

Call = Callable[..., Coroutine[Any, Any, Any]]


MOST_ANSWER_TIMES = 400  # the most that a gate's list holds: two for each answer


class GateState(Protocol):
    """A state of which one attribute shows whether there is anything to decide, before a call and after it."""

    @property
    def open_ticket(self) -> Any:
        """Return the ticket that lets a call through; None: the layers decide."""

    @property
    def fast_ticket(self) -> Any:
        """Return the open ticket while a good answer is counted by two appends to `answer_times`; else None."""

    @property
    def answer_times(self) -> list[float]:
        """Return when an answer ended, when it had begun, and so on in turn."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """What a call passes right before the function on a fast path."""

    state: GateState  # checked before a call and after it
    # Counts a good answer if the list is full or the answer may change the state: the call's ticket, when it began,
    # when it ended.
    good: Callable[[Any, float, float], None]
    run: Handler | None  # runs the function, for example within a time limit; None: it is simply called


class Permits(Protocol):
    """Gives permits to calls and learns of their answers, in front of a gate or of the function."""

    @property
    def owner(self) -> object:
        """Return what gives the permits, by which a layer recognizes its own."""

    def enter(self, now: float, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Return a permit; None: the layers decide."""

    def give_back(self, permit: Any, now: float) -> None:
        """Take back the permit of a call that was not made after all."""

    def succeeded(self, permit: Any, now: float, result: Any) -> None:
        """Take back the permit of a call that gave a good answer."""


class _Both:
    """
    The permits of two layers: a call needs both.

    Args:
        outer: The permits of the upper layer.
        inner: The permits of the lower layer.
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
    """May refuse a call before anything else is done; one attribute shows that it does not."""

    @property
    def is_open(self) -> bool:
        """Return whether there is nothing to decide."""
        ...


class Course:
    """
    What the policies of a stack need to build its fast path.

    Args:
        function: Called with all arguments.
        bare: The same, as the layers call it: they count its runs themselves, if anything counts them.
        layers: Take over when something is wrong.
        now: The clock.
        counts: Count each good call.
        method: Whether the first argument is the instance.

    Attributes:
        limits: As in the path; None if only a layer can end a call.
        looks: As in the path.
        scoped: As in the path.
        always: Whether a layer limits the time of each call, whatever its caller's deadline.
        permits: The permits of a stack without endpoints.
        told: What watchers are told.
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

    def bound(self, narrower: Limit | None = None, *call: Any) -> TimeBound | ByLayers | None:
        """
        Return how long the running task's call may take; None: any time.

        Args:
            narrower: The limit of the innermost layer, which depends on the call.
            *call: What that limit needs to know of it.
        """
        if (self.looks or self.limits) and (current_deadline() or self.scoped or "trio" in modules):
            patience = callers_patience() if self.looks else None
            if patience is not None or self.always:
                return time_bound(self.limits, narrower, patience, *call)
        return None

    def as_layers_call(self, args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any, tuple[Any, ...]]:
        """Return the function, its instance if it has one, and the other arguments."""
        if self.method and args:  # none: the TypeError of a call without its instance is under way
            return MethodType(self._bare, args[0]), args[0], args[1:]
        return self._bare, None, args

    def take_over(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], started: StartedCall | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Run the layers."""
        if self.method:
            fn, instance, args = self.as_layers_call(args)
        else:
            fn, instance = self._bare, None
        if started is not None:
            started.function, fn = fn, started
        return self._layers(fn, instance, args, kwargs)


class FastPath:
    """
    The fast path of one stack, put together by its policies, outermost first, once it has been bound.

    Attributes:
        call_site: The name of the outermost policy's state.
        counts: Count each good call.
        gates: The gates in front of the function, by endpoint, or under None if there are no endpoints.
        guard: Checked before everything else, if there is one.
        permits: The permits in front of the gates, by endpoint or under None.
        shape: Makes the coroutine function; set by a policy that does more than counting, else None.
        timed: Whether a layer needs to know when the call began.
        method: Whether it is called with the instance first.
        limits: The limits of the layers that shorten a call whose caller has a deadline.
        timeout: Seconds that each call has in any case; None: no layer sets them.
        looks: Whether any layer needs to know how long the caller waits.
        scoped: Empty while no task of asyncio can have a scope around it, or a timeout that matters here.
        attempts: Attempts that a good call is, as watchers count them.
        answers: Whether a layer may answer instead of the function.
    """

    __slots__ = (
        "answers",
        "attempts",
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
        self.attempts = 0
        self.answers = False

    def add_permits(self, permits: Mapping[str | None, Permits]) -> bool:
        """Add permits, by endpoint, below those that are there; False if there are already two of them."""
        for endpoint, each in permits.items():
            outer = self.permits.get(endpoint)
            if type(outer) is _Both or (outer is not None and outer.owner is each.owner):
                return False
            self.permits[endpoint] = each if outer is None else _Both(outer, each)
        self.timed = True
        return True

    def bound_by(self, owner: object, seconds: float) -> None:
        """Limit the time of each call, whether its caller has a deadline or not."""
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
        """Return the coroutine function of the stack: it calls `function`, or `layers` when something is wrong."""
        course = Course(function, bare, layers, clock.now, tuple(self.counts), method=self.method)
        course.permits, course.looks = self.permits.get(None), self.looks
        course.limits = None if plain or not getattr(clock, "real", False) else tuple(self.limits)
        if self.timeout is not None:
            self.scoped = (None,)
        elif self.looks:
            # With permits a call costs so much that its loop's timers can be checked each time.
            self.scoped = (None,) if self.permits else tasks_with_scopes()
        course.scoped, course.always = self.scoped, self.timeout is not None
        course.told = told_layers(self.attempts, self.answers, function is not bare)
        called = _counted(course, self) if self.shape is None else self.shape(course, self)
        return called if self.guard is None else _guarded(self.guard, called, course)


def within_time(gate: Gate | None, course: Course, timeout: float | None) -> Callable[..., Any] | None:
    """
    Return what calls the function within the time that its gate gives it, if there is one.

    Args:
        gate: The gate.
        course: What calls the function.
        timeout: Seconds that the call has in any case: if they are fewer, the gate's time never ends first.
    """
    if gate is None or gate.run is None or (timeout is not None and timeout < seconds_of(gate.run)):
        return None
    return call_within(gate.run, course.function, course.now)


def _guarded(guard: Guard, called: Call, course: Course) -> Call:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await (called(*args, **kwargs) if guard.is_open else course.take_over(args, kwargs))

    return guarded


_NONE: Any = None  # no permit and no time limit so far


def _counted(course: Course, path: FastPath) -> Call:
    function, now = course.function, course.now if path.timed else None
    # The usual single one is counted without a loop; a policy that counts in another way has none.
    first, others, scoped = next(iter(course.counts), None), course.counts[1:], path.scoped
    known: type = type(None)  # the latest type of result, which is no stream

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        started = now() if now is not None else 0.0
        permit, bound = _NONE, _NONE
        if (
            ((ever_timed and current_deadline()) or scoped or "trio" in modules)
            and (bound := course.bound()) is BY_LAYERS
        ) or ((permits := course.permits) is not None and (permit := permits.enter(started, args, kwargs)) is None):
            return await course.take_over(args, kwargs)
        seen = watching() if ever_watched else None
        watched = None if seen is None else WatchedCall(seen, course.told, None)
        try:
            if bound is not None:
                result = await bound.run(function, None, args, kwargs)
            else:
                # Passing on an empty dict would copy it, which costs a quarter of a bare await.
                result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            call = StartedCall(started, error, permit, bound)
            if watched is not None:
                watched.failed(error, call)
        else:
            if type(result) is not known:
                if gives_items(type(result)):
                    call = StartedCall(started, None, permit, bound, result=result)
                    if watched is not None:
                        watched.opened(result, call)
                    return await course.take_over(args, kwargs, call)
                known = type(result)
            if watched is not None:
                watched.answered(result)
            if permits is not None and now is not None:
                permits.succeeded(permit, now(), result)
            if first is not None:
                first.ok += 1
            if others:
                for each in others:
                    each.ok += 1
            return result
        return await course.take_over(args, kwargs, call)

    return called
