"""
Calls that end before their caller's deadline, so that something else has time to answer.

For all layers below, the earlier time is the deadline: `time_left()` returns it, and nothing waits beyond it. The
running call is cancelled then, which does not count as a failure.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - in real time its timeout is no scope, so that a stream may be opened inside
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from .backend import in_trio, tell_scopes
from .callers_deadline import Deadline, Patience, current_deadline, reset_deadline, set_deadline
from .deadline import bounded
from .errors import CallTimeoutError
from .scopes import move_on_after
from .started_call import begun, ended_early

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock
    from .handlers import Handler


class _Over(Enum):
    OVER = "the time was over"


OVER: Final = _Over.OVER


async def within(
    patience: Patience, inner: Handler, fn: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any | Literal[_Over.OVER]:
    """
    Run a call within a time; returns its result, or `OVER` if the time is over first.

    A cancellation from outside passes through, even if both come at the same time.
    """
    # A call that has run on the fast path goes to the layers even if it is too late: they hold permits for it.
    if patience.seconds <= 0 and begun(fn) is None:
        return OVER
    here = Deadline(patience.clock, patience.seconds, current_deadline())
    token = set_deadline(here)
    try:
        if getattr(patience.clock, "real", False) and not in_trio():
            return await _timed(patience, inner, fn, instance, args, kwargs)
        here.scoped = True
        with move_on_after(patience.clock, patience.seconds) as scope:
            return await inner(fn, instance, args, kwargs)
        if scope.cancelled_caught:
            return OVER
    finally:
        here.over = True
        reset_deadline(token)  # fails if the call of a closed loop is garbage-collected in another context


async def cancelled(inner: Handler, *call: Any) -> Any | Literal[_Over.OVER]:
    """
    Run the layers below for a call that the fast path has ended. They treat it like a call whose caller leaves, and
    wait for nothing. Returns `OVER` after that.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        return await inner(*call)
    except asyncio.CancelledError as error:
        await tell_scopes(error)
        if task is not None and task.cancelling() > before:  # by somebody else meanwhile
            raise
        return OVER


def bounded_visibly(
    inner: Handler,
    seconds: float,
    clock: Clock,
    name: str,
    owner: object,
    timed_out: Callable[[], None],
    *,
    plain: bool,
) -> Handler:
    """
    A handler that ends a call like a `deadline()` of the caller: the layers below, and their tasks, see it.

    Args:
        inner: The handler that runs the call.
        seconds: Most seconds that the call may take.
        clock: The clock.
        name: The name in the error.
        owner: The layer's state, by which the layer recognises its own bound on a fast path.
        timed_out: Called for each call that timed out, to count it.
        plain: Whether the function is plain: it cannot be stopped, and is only told the deadline.

    Returns:
        A handler that raises `CallTimeoutError` when the time is over.
    """
    run = inner if plain else bounded(inner, seconds, clock, name, timed_out=timed_out)

    async def call(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if (first := begun(fn)) is not None:
            if ended_early(fn, owner) is not None:
                result = await cancelled(inner, fn, instance, args, kwargs)
            else:
                left = Patience(seconds - (clock.now() - first.started), clock)
                result = await within(left, inner, fn, instance, args, kwargs)
            if result is OVER:
                timed_out()
                raise CallTimeoutError(name, timeout_seconds=seconds)
            return result
        deadline = Deadline(clock, seconds, current_deadline())
        deadline.scoped = not plain and (in_trio() or not getattr(clock, "real", False))
        token = set_deadline(deadline)
        try:
            return await run(fn, instance, args, kwargs)
        finally:
            deadline.over = True  # a stream that has begun may go on
            reset_deadline(token)

    return call


async def told(
    patience: Patience, inner: Handler, fn: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run the call of a plain function, which cannot be ended: it is only told the earlier deadline."""
    here = Deadline(patience.clock, patience.seconds, current_deadline())
    token = set_deadline(here)
    try:
        return await inner(fn, instance, args, kwargs)
    finally:
        here.over = True
        reset_deadline(token)


async def _timed(patience: Patience, inner: Handler, *call: Any) -> Any | Literal[_Over.OVER]:
    bound = asyncio.timeout(patience.seconds)
    try:
        async with bound:
            return await inner(*call)
    except TimeoutError:
        if not bound.expired():
            raise
        return OVER
    except asyncio.CancelledError as error:
        if bound.expired():
            await tell_scopes(error)
        raise
