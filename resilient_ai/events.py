"""
Events: one frozen dataclass per thing that happened, told to listeners after the fact and outside locks.

Fields are plain values. Prompts, answers and keys never get in; error messages are scrubbed first.
"""

from ._adaptive_limit.events import LimitLowered
from ._core.events import (
    AttemptFailed,
    BatchSent,
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeSet,
    CircuitOpened,
    CircuitWouldOpen,
    Degraded,
    EndpointDenied,
    EndpointDown,
    EndpointMarked,
    EndpointUp,
    Event,
    FailedOver,
    Hedged,
    QuotaExceeded,
    RetriesExhausted,
    RetryScheduled,
    RungFailed,
)

__all__ = [
    "AttemptFailed",
    "BatchSent",
    "CallRejected",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitModeSet",
    "CircuitOpened",
    "CircuitWouldOpen",
    "Degraded",
    "EndpointDenied",
    "EndpointDown",
    "EndpointMarked",
    "EndpointUp",
    "Event",
    "FailedOver",
    "Hedged",
    "LimitLowered",
    "QuotaExceeded",
    "RetriesExhausted",
    "RetryScheduled",
    "RungFailed",
]
