"""
Events: one frozen dataclass per thing that happened, told to listeners after the fact and outside locks.

Fields are plain values. Prompts, answers and keys never get in; error messages are scrubbed first.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import structlog

from .public import public

Level = Literal["debug", "info", "warning", "error", "critical"]


@public("events")
@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `log_name` and `level` say how structlog shows one."""

    log_name: ClassVar[str] = "resilient_ai.event"
    level: ClassVar[Level] = "info"

    name: str


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    log_name: ClassVar[str] = "resilient_ai.circuit_opened"
    level: ClassVar[Level] = "warning"

    failures: int
    reason: str
    retry_after: float


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(Event):
    log_name: ClassVar[str] = "resilient_ai.circuit_half_opened"


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    log_name: ClassVar[str] = "resilient_ai.circuit_closed"


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitWouldOpen(Event):
    """A circuit that only measures would have opened; told once per breach."""

    log_name: ClassVar[str] = "resilient_ai.circuit_would_open"
    level: ClassVar[Level] = "warning"

    reason: str


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitModeSet(Event):
    """An operator took the wheel."""

    log_name: ClassVar[str] = "resilient_ai.circuit_mode_set"
    level: ClassVar[Level] = "warning"

    state: str


@public("events")
@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    log_name: ClassVar[str] = "resilient_ai.call_rejected"
    level: ClassVar[Level] = "debug"

    reason: str
    retry_after: float | None


@public("events")
@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """One failed attempt below a retry; `args_hash` tells repeated requests apart without showing them."""

    log_name: ClassVar[str] = "resilient_ai.attempt_failed"

    function: str
    attempt: int
    error_type: str
    error_message: str
    args_hash: str


@public("events")
@dataclass(frozen=True, slots=True)
class QuotaExceeded(AttemptFailed):
    """No retry can help: somebody has to pay or to raise a limit."""

    log_name: ClassVar[str] = "resilient_ai.quota_exceeded"
    level: ClassVar[Level] = "critical"


@public("events")
@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    log_name: ClassVar[str] = "resilient_ai.retry_scheduled"

    attempt: int
    error_type: str
    delay: float


@public("events")
@dataclass(frozen=True, slots=True)
class RetriesExhausted(Event):
    log_name: ClassVar[str] = "resilient_ai.retries_exhausted"
    level: ClassVar[Level] = "warning"

    attempts: int
    elapsed: float
    error_type: str
    reason: str


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointDown(Event):
    log_name: ClassVar[str] = "resilient_ai.endpoint_down"
    level: ClassVar[Level] = "warning"

    endpoint: str
    error_type: str
    rest: float


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointDenied(EndpointDown):
    """Credentials, rights, quota or a wrong name: somebody has to act. Told once until the endpoint is up again."""

    log_name: ClassVar[str] = "resilient_ai.endpoint_denied"
    level: ClassVar[Level] = "error"


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointUp(Event):
    log_name: ClassVar[str] = "resilient_ai.endpoint_up"

    endpoint: str


@public("events")
@dataclass(frozen=True, slots=True)
class EndpointMarked(Event):
    """An operator took an endpoint out of rotation, or back in; `mark` is "down" or "up"."""

    log_name: ClassVar[str] = "resilient_ai.endpoint_marked"
    level: ClassVar[Level] = "warning"

    endpoint: str
    mark: str


@public("events")
@dataclass(frozen=True, slots=True)
class FailedOver(Event):
    """A call went on from `endpoint` to `to`."""

    log_name: ClassVar[str] = "resilient_ai.failed_over"

    endpoint: str
    error_type: str
    to: str


@public("events")
@dataclass(frozen=True, slots=True)
class Hedged(Event):
    """A second endpoint was asked because the first had not answered after so many seconds."""

    log_name: ClassVar[str] = "resilient_ai.hedged"
    level: ClassVar[Level] = "debug"

    endpoint: str
    after: float
    won: bool


@public("events")
@dataclass(frozen=True, slots=True)
class BatchSent(Event):
    log_name: ClassVar[str] = "resilient_ai.batch_sent"
    level: ClassVar[Level] = "debug"

    size: int
    waited: float


@public("events")
@dataclass(frozen=True, slots=True)
class Degraded(Event):
    """A fallback answered; similarity and age (seconds) are those of a recalled answer."""

    log_name: ClassVar[str] = "resilient_ai.degraded"
    level: ClassVar[Level] = "warning"

    rung: str
    error_type: str
    similarity: float | None = None
    age: float | None = None


@public("events")
@dataclass(frozen=True, slots=True)
class RungFailed(Event):
    """
    A rung raised: `doing` "recall", and the next one is tried; "remember", and one answer is not kept; or what marks
    its answer did, "mark", and the answer is not given.
    """

    log_name: ClassVar[str] = "resilient_ai.rung_failed"
    level: ClassVar[Level] = "error"

    rung: str
    doing: str
    error: str


_logger = structlog.stdlib.get_logger("resilient_ai")


def log_event(event: Event) -> None:
    """Send one event to structlog; the default listener of every registry."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    getattr(_logger, event.level)(event.log_name, **fields)
