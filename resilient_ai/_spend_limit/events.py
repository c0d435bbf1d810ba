"""The events of a spend limit. A refused caller is a `CallRejected` with the reason "spent"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class SpendWarned(Event):
    """
    A spend limit has reached its warning share; sent once until less is used again.

    Attributes:
        unit: "usd" or "tokens".
        spent: Amount spent in the last hour.
        limit: Most that may be spent in an hour.
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
    A spend limit is reached and refuses calls; sent once until it lets one through again.

    Attributes:
        unit: "usd" or "tokens".
        spent: Amount spent in the last hour; above the limit by the calls in flight when it was reached.
        limit: Most that may be spent in an hour.
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
    An answer that a spend limit cannot count completely; sent once for each model.

    Attributes:
        model: The model; None if unknown.
        missing: "usage": its tokens are unknown or incomplete. "price": their cost is unknown.
    """

    log_name: ClassVar[str] = "resilient_ai.spend_unknown"
    level: ClassVar[Level] = "warning"

    model: str | None
    missing: str
