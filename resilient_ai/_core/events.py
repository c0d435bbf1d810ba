"""
Events: one frozen dataclass per thing that happened, told to listeners after the fact and outside locks.

Fields are plain values. Prompts, answers and keys never get in; error messages are scrubbed first.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from .log import log
from .printable import printable
from .public import public

Level = Literal["debug", "info", "warning", "error", "critical"]


@public("events")
@dataclass(frozen=True, slots=True)
class Event:
    """
    Base of all events; `log_name` and `level` say how structlog shows one.

    Attributes:
        name: Of the policy's state: the decorated function, or the name that the decorator was given.
    """

    log_name: ClassVar[str] = "resilient_ai.event"
    level: ClassVar[Level] = "info"

    name: str


@public("events")
@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """
    A call was refused before it was made: by a circuit, by a limit, or because a queue is full.

    Attributes:
        reason: "open", "half_open_full", "forced_open", "limit_reached" or "queue_full".
        retry_after: Seconds until it is worth asking again; None when nobody knows.
    """

    log_name: ClassVar[str] = "resilient_ai.call_rejected"
    level: ClassVar[Level] = "debug"

    reason: str
    retry_after: float | None


def log_event(event: Event) -> None:
    """Send one event to structlog; the default listener of every registry."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    fields = {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
    log(event.level, event.log_name, **fields)
