"""The events of a rate limit. A refused caller is a `CallRejected` with the reason "limit_reached"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class RateLimitLowered(Event):
    """
    The provider refused a call although the rate limit was kept, so less than the limit is sent from now on.

    Attributes:
        factor: Share of the limits that is used now, 0 to 1; it grows back with time.
        paused_for: Seconds for which nothing is sent, as the provider asked.
    """

    log_name: ClassVar[str] = "resilient_ai.rate_limit_lowered"

    factor: float
    paused_for: float
