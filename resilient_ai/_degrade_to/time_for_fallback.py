"""Below a fallback chain a call ends before its caller's deadline, so that the fallback comes in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_ai._core.early_end import OVER, told, within
from resilient_ai._core.errors import CallTimeoutError

if TYPE_CHECKING:
    from resilient_ai._core.callers_deadline import Patience
    from resilient_ai._core.handlers import Handler

_SHARE: Final = 1 / 20  # of what is left
_MOST: Final = 0.5  # seconds


async def leaving_time(
    patience: Patience,
    name: str,
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
        name: Of the fallback chain.
        inner: What lies below, called with the rest.

    Raises:
        CallTimeoutError: The time was over, or had been before.
    """
    kept = _kept(patience)
    shorter = patience.less(kept)
    result = await within(shorter, inner, fn, instance, args, kwargs)
    if result is OVER:
        error = CallTimeoutError(name, timeout_seconds=max(0.0, shorter.seconds))
        error.add_note(f"resilient_ai: the caller's deadline left no more; {kept:.2g} s are kept for the fallback")
        raise error
    return result


async def telling_time(
    patience: Patience,
    _name: str,
    inner: Handler,
    fn: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The same for a plain function, which is only told: `time_left()` is what it hands to its SDK."""
    return await told(patience.less(_kept(patience)), inner, fn, instance, args, kwargs)


def _kept(patience: Patience) -> float:
    """Seconds that are kept for the fallback."""
    return max(0.0, min(patience.seconds * _SHARE, _MOST))
