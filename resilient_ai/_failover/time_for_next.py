"""Before a caller's deadline an endpoint that does not answer is left while there is time to ask the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .health import EndpointHealth

_ANSWERS: Final = 2.0  # average answers of the next endpoint that it gets time for
_PATIENCE: Final = 3.0  # average answers of its own after which an endpoint is late
_UNKNOWN: Final = 1 / 3  # of the time is kept while nobody has answered yet


def seconds_for(asked: EndpointHealth, others: Sequence[EndpointHealth], left: float) -> float | None:
    """
    How long an endpoint may take, when its caller waits so long in all.

    No endpoint is left before half of the time is over, or before it has taken three times as long as it does on
    average: a slow answer is better than two that come too late.

    Args:
        asked: The endpoint.
        others: Those that could be asked after it.
        left: Seconds.

    Returns:
        Seconds; None: all that is left, because nobody else could be asked or answer in time.
    """
    if not others:
        return None
    own = asked.latency()
    known = [seconds for each in others if (seconds := each.latency()) is not None]
    if known:
        kept = _ANSWERS * min(known)
    elif own is not None:
        kept = _ANSWERS * own
    else:
        kept = left * _UNKNOWN
    seconds = max(left - kept, left / 2, _PATIENCE * (own or 0.0))
    return seconds if seconds < left else None
