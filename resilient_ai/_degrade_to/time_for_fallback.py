"""Below a fallback chain a call ends before its caller's deadline, so that the fallback comes in time."""

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

_SHARE: Final = 1 / 20  # of what is left
_MOST: Final = 0.5  # seconds


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
    Run a call.

    Args:
        patience: The caller's.
        state: Of the fallback chain.
        inner: What lies below, called with the rest.

    Raises:
        CallTimeoutError: The time was over, or had been before.
    """
    kept = _kept(patience.seconds)
    shorter = patience.less(kept)
    seconds = shorter.seconds
    if (first := begun(fn)) is not None and first.bound is not None and (share := first.bound.share_of(state)):
        # As the call has begun, on the fast path: what was kept then is kept now.
        kept, seconds = share.given - share.seconds, share.seconds
        shorter = Patience(seconds - first.bound.spent(), patience.clock)
    result = await within(shorter, inner, fn, instance, args, kwargs)
    if result is OVER:
        raise _over(state, seconds, kept)
    return result


async def after_leaving(share: Share, state: DegradeState, inner: Handler, *call: Any) -> Any:
    """
    Let the layers below know that a call has been ended on the fast path.

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
    """The same for a plain function, which is only told: `time_left()` is what it hands to its SDK."""
    return await told(patience.less(_kept(patience.seconds)), inner, fn, instance, args, kwargs)


def left_for_call(seconds: float) -> float:
    """How long a call may take whose caller waits so long."""
    return seconds - _kept(seconds) if seconds < math.inf else seconds


def _kept(seconds: float) -> float:
    """Seconds that are kept for the fallback."""
    return max(0.0, min(seconds * _SHARE, _MOST))
