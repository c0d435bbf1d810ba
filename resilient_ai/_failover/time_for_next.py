"""Before a caller's deadline an endpoint that does not answer is left while there is time to ask the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .health import EndpointHealth

_ANSWERS: Final = 2.0  # average answers of the next endpoint that it gets time for
_LEAST: Final = 1 / 10  # of the time is kept at least, for an answer that is slower than most
_UNKNOWN: Final = 1 / 3  # of the time is kept for one that has never answered: it has to connect first
_PATIENCE: Final = 3.0  # average answers of its own after which an endpoint is late


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
    known = [seconds for each in others if (seconds := each.latency()) is not None]
    kept = max(_ANSWERS * min(known), _LEAST * left) if known else _UNKNOWN * left
    seconds = max(left - kept, left / 2, _PATIENCE * (asked.latency() or 0.0))
    return seconds if seconds < left else None
