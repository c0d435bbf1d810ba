"""What an adaptive limit reports. A refused caller is a `CallRejected` with the reason "limit_reached"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class LimitLowered(Event):
    """
    An adaptive limit sends less: fewer calls at a time, or fewer a second.

    `reason` is "overloaded", "timeout", "slow answers" or "rate limit"; `rate` (calls a second) is None when not paced.
    """

    log_name: ClassVar[str] = "resilient_ai.limit_lowered"

    reason: str
    limit: int
    rate: float | None
