"""`deadline()` and `time_left()`: the time that a caller has, set once for everything that is called below."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from typing import TYPE_CHECKING, Self

import anyio

from .backend import in_task
from .callers_deadline import Deadline, current_deadline, reset_deadline, set_deadline
from .deadline import seconds_left
from .public import public
from .scopes import move_on_after
from .state_store import default_registry

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from contextvars import Token
    from types import FrameType, TracebackType


@public()
class deadline:  # noqa: N801 - used as a `with` statement
    """
    Bound the code inside a `with` block, and let every policy know: `with deadline(15): ...`.

    Inside, no attempt begins after the deadline, no caller is queued that would be served too late, and an endpoint
    that does not answer is left while there is time to ask the next one. Below a fallback a call ends earlier, by a
    twentieth of the time left and at most half a second, so that the fallback comes in time. For circuits and limits
    this is a caller that leaves, which does not count as a failure. A batch has the latest deadline of its callers.

    Tasks and threads started inside inherit it: `gather`, task groups, `to_thread`. A bare `Thread` and an executor
    do not, except on Python 3.14 with `-X thread_inherit_context=1`. Code that outlives the block is no longer bounded.

    In a task of asyncio or trio the block ends with `TimeoutError`, like `anyio.fail_after`: the running code is
    cancelled. Plain code cannot be interrupted; no policy waits beyond the deadline, and `time_left()` is for the SDK.
    Of nested deadlines the soonest applies. Do not put one around a `yield`: the block would be suspended at each item,
    and its deadline would apply to the code that reads the items.

    Args:
        seconds: Seconds from the beginning of the block, on the default registry's clock. 0 or less: the time is over,
            and the first wait is cancelled. None or inf: no deadline of its own.

    Raises:
        TimeoutError: At the end of the block: it was cancelled because the time was over.
        RuntimeError: The block was left in another context than it was entered in, because it is around a `yield`; or
            one object was entered twice.
        ValueError: `seconds` is not a number.
    """

    __slots__ = ("_here", "_scope", "_scope_manager", "_seconds", "_token")

    def __init__(self, seconds: float | None) -> None:
        given: object = seconds
        number = isinstance(given, int | float) and not isinstance(given, bool) and not math.isnan(given)
        if not number and given is not None:
            raise ValueError(f"seconds of a deadline must be a number or None, got {seconds!r}")
        self._seconds = math.inf if seconds is None else float(seconds)
        self._here: Deadline | None = None
        self._token: Token[Deadline | None] | None = None
        self._scope_manager: AbstractContextManager[anyio.CancelScope] | None = None
        self._scope: anyio.CancelScope | None = None

    def __enter__(self) -> Self:
        if self._here is not None:
            raise RuntimeError(f"{self!r} is in use already; make one for each block")
        clock = default_registry().clock
        here = Deadline(clock, self._seconds, current_deadline())
        if self._seconds < math.inf and in_task():
            here.generator = _generator(sys._getframe(1))
            self._scope_manager = move_on_after(clock, max(0.0, self._seconds))
            self._scope = scope = self._scope_manager.__enter__()
            if self._seconds <= 0:  # a virtual clock cancels nothing before it moves
                scope.cancel()
            here.scope = scope
        self._here, self._token = here, set_deadline(here)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        here, token, scope, manager = self._here, self._token, self._scope, self._scope_manager
        self._here = self._token = self._scope = self._scope_manager = None
        if here is not None:
            here.over, here.generator, here.scope = True, None, None
        same_context = token is None or reset_deadline(token)
        swallowed = manager.__exit__(kind, error, trace) if manager is not None else None
        if scope is not None and scope.cancelled_caught:
            raise TimeoutError(f"the deadline of {self._seconds:g} s is over") from None
        if not same_context and kind is None:
            raise RuntimeError(
                f"{self!r} was left in another context than it was entered in; it cannot stand around a yield"
            )
        return swallowed

    def __repr__(self) -> str:
        return f"deadline({self._seconds:g})"


def _generator(frame: FrameType) -> tuple[FrameType, int] | None:
    """
    The async generator that contains a block, and its task; None if the block is elsewhere.

    A generator of `asynccontextmanager` does not count: the code inside the block runs at its yield.
    """
    if not frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        return None
    if frame.f_back is not None and frame.f_back.f_code.co_filename == contextlib.__file__:
        return None
    return frame, anyio.get_current_task().id


@public()
def time_left() -> float | None:
    """
    Seconds until the running code has to be done, for an SDK's `timeout=`.

    The soonest counts: a `deadline()`, an anyio or trio scope around the running task, a policy's own timeout, or an
    `asyncio.timeout` that can be detected (`examples/deadlines.md`). Below a fallback it is a little less, so that the
    fallback comes in time.

    Returns:
        Seconds, 0.0 if the time is over; None without a deadline.
    """
    left = seconds_left()
    return None if left == math.inf else max(0.0, left)
