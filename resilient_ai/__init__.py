"""Composable resilience decorators for async functions that call AI providers."""

import importlib
import typing

from ._circuit import CircuitState
from ._circuit_breaker import circuit_breaker
from ._circuit_config import NEUTRAL
from ._circuit_handle import CircuitBreaker, CircuitStats
from ._classified_retry import classified_retry
from ._classify import Verdict, classify, register_classifier, register_rules
from ._clock import Clock, SystemClock
from ._degradation import UNAVAILABLE, Degradation, DegradeStats
from ._degrade_to import degrade_to
from ._errors import (
    AIServiceError,
    AllEndpointsFailedError,
    BatchResultError,
    CallTimeoutError,
    CircuitOpenError,
    DoubleRetryWarning,
    EndpointRestingError,
    ErrorType,
    LimitReachedError,
    MissingKeyError,
    ParameterError,
    QueueFullError,
    RejectedResultError,
    ResilienceError,
    StackOrderWarning,
    StreamTruncatedError,
)
from ._events import (
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
    LimitLowered,
    QuotaExceeded,
    RetriesExhausted,
    RetryScheduled,
    RungFailed,
)
from ._registry import Registry, registry
from ._results import classify_result
from ._retry_budget import RetryBudget
from ._retry_rules import RetryRule
from ._retry_state import RetryStats
from ._rungs import NO_ANSWER, FailedCall, Recalled, Recalling
from ._stack import describe
from ._watch import Seen, watch

if typing.TYPE_CHECKING:
    from ._adaptive_limit import AdaptiveLimit, LimitStats, adaptive_limit
    from ._batched import batched
    from ._batcher import BatchStats
    from ._each import each
    from ._endpoint import Endpoint, EndpointHandle, EndpointStats
    from ._endpoint_health import EndpointState
    from ._failover import failover
    from ._failover_handle import Failover, FailoverStats
    from ._last_answer import LastAnswer, LastAnswerStats
    from ._rules import first_sentences, key_sentences, sentiment, static_texts
    from ._sentiment import Sentiment
    from .similar import SimilarAnswers
else:
    # What not every program uses is imported when somebody asks for it: together it is two fifths of the cost.
    _HOMES = {
        "AdaptiveLimit": "_adaptive_limit",
        "BatchStats": "_batcher",
        "Endpoint": "_endpoint",
        "EndpointHandle": "_endpoint",
        "EndpointState": "_endpoint_health",
        "EndpointStats": "_endpoint",
        "Failover": "_failover_handle",
        "FailoverStats": "_failover_handle",
        "LastAnswer": "_last_answer",
        "LastAnswerStats": "_last_answer",
        "LimitStats": "_adaptive_limit",
        "Sentiment": "_sentiment",
        "SimilarAnswers": "similar",
        "adaptive_limit": "_adaptive_limit",
        "batched": "_batched",
        "each": "_each",
        "failover": "_failover",
        "first_sentences": "_rules",
        "key_sentences": "_rules",
        "sentiment": "_rules",
        "static_texts": "_rules",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        thing = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        return thing

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


__all__ = [
    "NEUTRAL",
    "NO_ANSWER",
    "UNAVAILABLE",
    "AIServiceError",
    "AdaptiveLimit",
    "AllEndpointsFailedError",
    "AttemptFailed",
    "BatchResultError",
    "BatchSent",
    "BatchStats",
    "CallRejected",
    "CallTimeoutError",
    "CircuitBreaker",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitModeSet",
    "CircuitOpenError",
    "CircuitOpened",
    "CircuitState",
    "CircuitStats",
    "CircuitWouldOpen",
    "Clock",
    "Degradation",
    "DegradeStats",
    "Degraded",
    "DoubleRetryWarning",
    "Endpoint",
    "EndpointDenied",
    "EndpointDown",
    "EndpointHandle",
    "EndpointMarked",
    "EndpointRestingError",
    "EndpointState",
    "EndpointStats",
    "EndpointUp",
    "ErrorType",
    "Event",
    "FailedCall",
    "FailedOver",
    "Failover",
    "FailoverStats",
    "Hedged",
    "LastAnswer",
    "LastAnswerStats",
    "LimitLowered",
    "LimitReachedError",
    "LimitStats",
    "MissingKeyError",
    "ParameterError",
    "QueueFullError",
    "QuotaExceeded",
    "Recalled",
    "Recalling",
    "Registry",
    "RejectedResultError",
    "ResilienceError",
    "RetriesExhausted",
    "RetryBudget",
    "RetryRule",
    "RetryScheduled",
    "RetryStats",
    "RungFailed",
    "Seen",
    "Sentiment",
    "SimilarAnswers",
    "StackOrderWarning",
    "StreamTruncatedError",
    "SystemClock",
    "Verdict",
    "adaptive_limit",
    "batched",
    "circuit_breaker",
    "classified_retry",
    "classify",
    "classify_result",
    "degrade_to",
    "describe",
    "each",
    "failover",
    "first_sentences",
    "key_sentences",
    "register_classifier",
    "register_rules",
    "registry",
    "sentiment",
    "static_texts",
    "watch",
]
