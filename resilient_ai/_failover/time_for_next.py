"""When to leave an endpoint that does not answer, so that the next one can be asked before the caller's deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .health import EndpointHealth

_ANSWERS: Final = 2.0  # time kept for the next endpoint, in its average answer times
_LEAST: Final = 1 / 10  # least share of the time that is kept, for an answer slower than most
_UNKNOWN: Final = 1 / 3  # share of the time kept for an endpoint that has never answered: it has to connect first
_PATIENCE: Final = 3.0  # an endpoint is late after so many of its own average answer times


def seconds_for(asked: EndpointHealth, others: Sequence[EndpointHealth], left: float) -> float | None:
    """
    How long an endpoint may take, given the time that its caller has left.

    No endpoint is left before half of the time is over, or before it has taken three times its average: a slow answer
    is better than two that come too late.

    Args:
        asked: The health of the endpoint.
        others: The health of those that could be asked after it.
        left: Seconds that the caller has left.

    Returns:
        Seconds; None: all that is left, because no other endpoint could be asked or answer in time.
    """
    if not others:
        return None
    known = [seconds for each in others if (seconds := each.latency()) is not None]
    kept = max(_ANSWERS * min(known), _LEAST * left) if known else _UNKNOWN * left
    seconds = max(left - kept, left / 2, _PATIENCE * (asked.latency() or 0.0))
    return seconds if seconds < left else None
