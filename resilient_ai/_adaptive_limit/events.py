"""The events of an adaptive limit. A refused caller is a `CallRejected` with the reason "limit_reached"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class LimitLowered(Event):
    """
    An adaptive limit was lowered: fewer calls at a time, or fewer per second.

    `reason` is "overloaded", "timeout", "slow answers" or "rate limit"; `rate` (calls per second) is None if not paced.
    """

    log_name: ClassVar[str] = "resilient_ai.limit_lowered"

    reason: str
    limit: int
    rate: float | None
