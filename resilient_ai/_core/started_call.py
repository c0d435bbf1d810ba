"""A call that has begun on the fast path, as the layers that take over find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from .errors import mark_if_wrong_call
from .streams import Broken

if TYPE_CHECKING:
    from .call_facts import DegradedFlag
    from .time_bound import Share, TimeBound

NOTHING: Final = object()  # a function may have returned None


class BothPermits(NamedTuple):
    owner: object  # of the first one
    permit: Any
    inner: Any


class StartedCall:
    """
    The function of a call that has begun on the fast path, for the layers that take over.

    Called the first time, it raises what the function has raised already, or gives what it has returned: a stream, or a
    result beside which something else has begun. After that it calls the function. So a layer that passes its function
    on needs to know nothing of this. A layer with a part in the fast path asks `begun` for what it had begun there.
    """

    __slots__ = ("bound", "choice", "error", "flag", "function", "permit", "result", "started", "ticket")

    def __init__(
        self,
        started: float,
        error: BaseException | None = None,
        permit: Any = None,
        bound: TimeBound | None = None,
        ticket: Any = None,
        choice: Any = None,
        result: Any = NOTHING,
    ) -> None:
        self.function: Callable[..., Any]
        self.started = started
        self.error = error  # what the function has raised; None: it has not been called
        self.ticket = ticket  # of the gate that the call went through
        self.choice = choice  # of the layer that has several below it
        self.result = result  # what the function has returned
        self.permit = permit  # that the call holds
        # How long it might take, if its time was limited and has perhaps ended it.
        self.bound = None if error is None else bound
        self.flag: DegradedFlag | None = None  # whether a fallback has answered inside, if the call is watched

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None:
            self._raise()
        if self.result is not NOTHING:
            result, self.result = self.result, NOTHING
            return _returned(result)
        try:
            function = self.function  # a local variable, because Python calls a variable faster than a slot
            return function(*args, **kwargs) if kwargs else function(*args)
        except TypeError as error:
            mark_if_wrong_call(error)
            raise

    def _raise(self) -> NoReturn:
        # Clear the attribute: exception -> traceback -> frame -> exception is a reference cycle.
        error, self.error = self.error, None
        try:
            raise error  # type: ignore[misc]  # checked by the caller
        finally:
            del error

    def permit_of(self, owner: object) -> Any:
        """The permit that the call holds of a layer; None without one."""
        permit = self.permit
        if type(permit) is BothPermits:
            return permit.permit if permit.owner is owner else permit.inner
        return permit

    def take_error(self) -> Broken | None:
        """What the function has raised, for a layer right above it: raising it again would take ten bare awaits."""
        if not isinstance(self.error, Exception):  # a cancellation takes its way through the layers
            return None
        broken, self.error = Broken(self.error), None
        return broken

    def take_choice(self) -> Any:
        """What was chosen among several, once: a later attempt chooses anew."""
        choice, self.choice = self.choice, None
        return choice


async def _returned(result: Any) -> Any:
    return result


def begun(fn: Callable[..., Any]) -> StartedCall | None:
    """The call that has run on the fast path, for the layers of its first attempt; None for every other call."""
    return fn if isinstance(fn, StartedCall) and (fn.error is not None or fn.result is not NOTHING) else None


def ended_early(fn: Callable[..., Any], owner: object) -> Share | None:
    """The time that a layer had set, if that has ended the call on the fast path: the layers below cancel it."""
    if (first := begun(fn)) is None or (bound := first.bound) is None:
        return None
    return bound.share if bound.is_over and bound.share.owner is owner else None
