"""
Calls that end before their caller's deadline, so that somebody else has time to answer.

For everything below, the earlier moment is the deadline: it is what `time_left()` tells, and beyond it nobody waits.
What runs then is cancelled, which is nobody's failure.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - in real time its timeout is no scope, so that a stream may be opened inside
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from .backend import in_trio
from .callers_deadline import Deadline, current_deadline, reset_deadline, set_deadline
from .fast_path import begun
from .scopes import move_on_after

if TYPE_CHECKING:
    from .callers_deadline import Patience
    from .handlers import Handler


class _Over(Enum):
    OVER = "the time was over"


OVER: Final = _Over.OVER


async def within(
    patience: Patience, inner: Handler, fn: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any | Literal[_Over.OVER]:
    """
    Run a call, or `OVER` when the time is over before it has ended.

    A cancellation from outside passes through, also when both come in the same moment.
    """
    # A call that has run on the fast path is told to the layers however late it is: they hold permits for it.
    if patience.seconds <= 0 and begun(fn) is None:
        return OVER
    here = Deadline(patience.clock, patience.seconds, current_deadline())
    tokens = set_deadline(here)
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
        reset_deadline(tokens)  # not where a call of a closed loop is collected in another context


async def told(
    patience: Patience, inner: Handler, fn: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run the call of a plain function, which nothing can end: it is only told the earlier moment."""
    here = Deadline(patience.clock, patience.seconds, current_deadline())
    tokens = set_deadline(here)
    try:
        return await inner(fn, instance, args, kwargs)
    finally:
        here.over = True
        reset_deadline(tokens)


async def _timed(patience: Patience, inner: Handler, *call: Any) -> Any | Literal[_Over.OVER]:
    bound = asyncio.timeout(patience.seconds)
    try:
        async with bound:
            return await inner(*call)
    except TimeoutError:
        if not bound.expired():
            raise
        return OVER
