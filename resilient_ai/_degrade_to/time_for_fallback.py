"""End a call below a fallback chain before its caller's deadline, so that the fallback comes in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from resilient_ai._core.callers_deadline import Patience
from resilient_ai._core.early_end import OVER, cancelled, told, within
from resilient_ai._core.errors import CallTimeoutError
from resilient_ai._core.started_call import begun

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler
    from resilient_ai._core.time_bound import Share

    from .state import DegradeState

_SHARE: Final = 1 / 20  # share of the caller's time that is kept for the fallback
_MOST: Final = 0.5  # most seconds that are kept


async def leaving_time(
    patience: Patience,
    state: DegradeState,
    inner: Handler,
    fn: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """
    Run a call within the caller's time, minus the time kept for the fallback.

    Args:
        patience: The time that the caller has.
        state: The state of the fallback chain.
        inner: The layer below, called with the other arguments.

    Raises:
        CallTimeoutError: The time was over, during the call or already before.
    """
    kept = _kept(patience.seconds)
    shorter = patience.less(kept)
    seconds = shorter.seconds
    if (first := begun(fn)) is not None and first.bound is not None and (share := first.bound.share_of(state)):
        # For a call that began on the fast path, the same time is kept as then.
        kept, seconds = share.given - share.seconds, share.seconds
        shorter = Patience(seconds - first.bound.spent(), patience.clock)
    result = await within(shorter, inner, fn, instance, args, kwargs)
    if result is OVER:
        raise _over(state, seconds, kept)
    return result


async def after_leaving(share: Share, state: DegradeState, inner: Handler, *call: Any) -> Any:
    """
    Let the layers below know that a call was ended on the fast path.

    Raises:
        CallTimeoutError: The time was over.
    """
    result = await cancelled(inner, *call)
    if result is OVER:
        raise _over(state, share.seconds, share.given - share.seconds)
    return result


def _over(state: DegradeState, seconds: float, kept: float) -> CallTimeoutError:
    error = CallTimeoutError(state.name, timeout_seconds=max(0.0, seconds))
    error.add_note(f"resilient_ai: the caller's deadline left no more; {kept:.2g} s are kept for the fallback")
    return error


async def telling_time(
    patience: Patience,
    _state: DegradeState,
    inner: Handler,
    fn: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The same for a plain function, which cannot be ended: `time_left()` returns the shorter time for its SDK."""
    return await told(patience.less(_kept(patience.seconds)), inner, fn, instance, args, kwargs)


def left_for_call(seconds: float) -> float:
    """Seconds that a call may take, if its caller has so many seconds."""
    return seconds - _kept(seconds) if seconds < math.inf else seconds


def _kept(seconds: float) -> float:
    """Seconds that are kept for the fallback."""
    return max(0.0, min(seconds * _SHARE, _MOST))
