"""
How long a call on a fast path may take: less than its caller waits, so that a layer has time to do something else.

On asyncio in real time the call is ended here, then the layers take over and the one whose time has run out continues.
Everywhere else, and if the calls are watched, the layers run the call.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its tasks are cancelled; everywhere else the layers' scopes do it
import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from .backend import in_trio, tell_scopes
from .callers_deadline import Deadline, Patience, current_deadline, reset_deadline, set_deadline
from .clock import SystemClock
from .errors import mark_if_wrong_call
from .tasks import current_task, ended_by_us, running_loop
from .timed_actions import TimedActions, timed_actions_of

if TYPE_CHECKING:
    from collections.abc import Callable


class _ByLayers(Enum):
    BY_LAYERS = "the layers run the call"


_REAL: Final = SystemClock()
BY_LAYERS: Final = _ByLayers.BY_LAYERS
ByLayers: TypeAlias = Literal[_ByLayers.BY_LAYERS]


class Limit(NamedTuple):
    """
    How one layer shortens the time of a call.

    Attributes:
        owner: The layer's state, by which it recognizes its own bound.
        seconds: Returns how long the call below may take, given how long its caller waits; inf for any time.
    """

    owner: object
    seconds: Callable[..., float]


class Share(NamedTuple):
    """
    The time that one layer gives a call.

    Attributes:
        owner: The layer's state.
        given: Seconds that its caller waits.
        seconds: Seconds that the call may take.
    """

    owner: object
    given: float
    seconds: float


class TimeBound:
    """
    The time limit of one call.

    Attributes:
        share: The shortest share.
        seconds: Its seconds.
        is_over: Whether it ended the call, and nothing else did.
    """

    __slots__ = (
        "_actions",
        "_began",
        "_cancelling",
        "_ended",
        "_shares",
        "_task",
        "is_over",
        "seconds",
        "share",
    )

    def __init__(self, shares: list[Share], actions: TimedActions, task: asyncio.Task[Any]) -> None:
        self.share = shares[-1]
        self.seconds = self.share.seconds
        self.is_over = False
        self._shares = shares
        self._actions = actions
        self._task: asyncio.Task[Any] | None = task
        self._cancelling = 0  # cancellation requests of the task before the call
        self._ended = False  # whether the time has run out
        self._began = 0.0

    def share_of(self, owner: object) -> Share | None:
        """Return the share that a layer has set; None: it does not shorten the time."""
        return next((each for each in self._shares if each.owner is owner), None)

    def spent(self) -> float:
        """Return the seconds since the call began."""
        return self._actions.now() - self._began

    @property
    def is_needed(self) -> bool:
        """Return whether the call is still running."""
        return self._task is not None

    def happen(self) -> None:
        """End the call: its time has run out."""
        if (task := self._task) is not None:
            self._ended = True
            task.cancel()

    async def run(
        self,
        function: Callable[..., Any],
        within: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Call a function, and cancel it when the time has run out.

        Args:
            function: The function.
            within: Calls it within another, independent time limit, if there is one.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Raises:
            CancelledError: The time has run out, if `is_over` is set afterwards.
        """
        task, actions = self._task, self._actions
        here = Deadline(_REAL, self.seconds, current_deadline())
        self._cancelling = task.cancelling()  # type: ignore[union-attr]  # it has a task up to here
        self._began = actions.now()
        actions.add(self._began + self.seconds, self)
        token = set_deadline(here)
        try:
            if within is None:
                return await (function(*args, **kwargs) if kwargs else function(*args))
            return await within(args, kwargs)
        except BaseException as error:
            mark_if_wrong_call(error)
            if self._ended:
                self._leave(task, error)
                task = None
                if not self.is_over:
                    await tell_scopes(error)
            raise
        finally:
            self._task = None
            here.over = True
            if self._ended and task is not None:  # the function has answered anyway
                task.uncancel()
            reset_deadline(token)  # unless a call of a closed loop is garbage-collected in another context

    def _leave(self, task: asyncio.Task[Any] | None, error: BaseException) -> None:
        self.is_over = ended_by_us(task, self._cancelling, error)  # type: ignore[arg-type]  # it has one up to here


def time_bound(
    limits: tuple[Limit, ...] | None, narrower: Limit | None, patience: Patience | None, *call: Any
) -> TimeBound | ByLayers | None:
    """
    Return how long the running task's call may take on a fast path.

    Args:
        limits: Of the layers that limit time, outermost first; None where a fast path can end no call.
        narrower: The limit of the innermost layer, which depends on the call; None: there is none.
        patience: The caller's, if any of them wants to know it; None: it waits as long as it takes.
        *call: What `narrower` needs to know of the call.

    Returns:
        None: any time; `BY_LAYERS`: the call cannot use a fast path.
    """
    if limits is None or (patience is not None and not getattr(patience.clock, "real", False)):
        return None if patience is None else BY_LAYERS
    seconds = math.inf if patience is None else patience.seconds
    shares: list[Share] = []
    for each in limits:
        if (less := each.seconds(seconds)) < seconds:
            shares.append(Share(each.owner, seconds, less))
            seconds = less
    if narrower is not None and (less := narrower.seconds(seconds, *call)) < seconds:
        shares.append(Share(narrower.owner, seconds, less))
        seconds = less
    if seconds <= 0:  # the time has run out before the call
        return BY_LAYERS
    if not shares:
        return None
    loop = running_loop()
    if loop is None or (task := current_task(loop)) is None or in_trio():
        return BY_LAYERS
    return TimeBound(shares, timed_actions_of(loop), task)
