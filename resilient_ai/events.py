"""
Events: one frozen dataclass per kind of event, sent to listeners after it happened and outside locks.

Fields are plain values, never prompts, answers or keys; error messages are scrubbed.
"""

from ._adaptive_limit.events import LimitLowered
from ._batched.events import BatchSent
from ._circuit_breaker.events import CircuitClosed, CircuitHalfOpened, CircuitModeSet, CircuitOpened, CircuitWouldOpen
from ._classified_retry.events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled
from ._core.events import CallRejected, Event, OperatorActed, SettingsChanged
from ._degrade_to.events import Degraded, RungFailed
from ._failover.events import EndpointDenied, EndpointDown, EndpointMarked, EndpointUp, FailedOver, Hedged
from ._fleet.events import FactHeard, FleetClosed, FleetDoubted, FleetJoined, FleetLost, FleetOpened
from ._rate_limit.events import RateLimitLowered
from ._spend_limit.events import SpendStopped, SpendUnknown, SpendWarned

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
    "FactHeard",
    "FailedOver",
    "FleetClosed",
    "FleetDoubted",
    "FleetJoined",
    "FleetLost",
    "FleetOpened",
    "Hedged",
    "LimitLowered",
    "OperatorActed",
    "QuotaExceeded",
    "RateLimitLowered",
    "RetriesExhausted",
    "RetryScheduled",
    "RungFailed",
    "SettingsChanged",
    "SpendStopped",
    "SpendUnknown",
    "SpendWarned",
]
