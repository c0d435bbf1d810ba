"""What a spend limit reports. A refused caller is a `CallRejected` with the reason "spent"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class SpendWarned(Event):
    """
    The share of a spend limit is used at which it warns; told once until less is used again.

    Attributes:
        unit: "usd" or "tokens".
        spent: In the last hour.
        limit: What an hour may take.
    """

    log_name: ClassVar[str] = "resilient_ai.spend_warned"
    level: ClassVar[Level] = "warning"

    unit: str
    spent: float
    limit: float


@public("events")
@dataclass(frozen=True, slots=True)
class SpendStopped(Event):
    """
    A spend limit is reached and refuses calls; told once until it lets one through again.

    Attributes:
        unit: "usd" or "tokens".
        spent: In the last hour; above the limit by what was in flight when that was reached.
        limit: What an hour may take.
        retry_after: Seconds until there is room again.
    """

    log_name: ClassVar[str] = "resilient_ai.spend_stopped"
    level: ClassVar[Level] = "error"

    unit: str
    spent: float
    limit: float
    retry_after: float


@public("events")
@dataclass(frozen=True, slots=True)
class SpendUnknown(Event):
    """
    An answer that a spend limit cannot count, or not whole; told once for each model.

    Attributes:
        model: None where nobody said.
        missing: "usage": nobody told its tokens, or not all of them. "price": nobody knows what they cost.
    """

    log_name: ClassVar[str] = "resilient_ai.spend_unknown"
    level: ClassVar[Level] = "warning"

    model: str | None
    missing: str
