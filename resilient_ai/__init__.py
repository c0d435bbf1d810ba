"""Composable resilience decorators for async functions that call AI providers."""

import importlib
import typing

from ._batched.events import BatchSent
from ._circuit_breaker.config import NEUTRAL
from ._circuit_breaker.decorator import circuit_breaker
from ._circuit_breaker.events import CircuitClosed, CircuitHalfOpened, CircuitModeSet, CircuitOpened, CircuitWouldOpen
from ._circuit_breaker.handle import CircuitBreaker, CircuitStats
from ._circuit_breaker.state import CircuitState
from ._classification.classify import classify
from ._classification.results import classify_result
from ._classification.user_rules import register_classifier, register_rules
from ._classification.verdict import Verdict
from ._classified_retry.budget import RetryBudget
from ._classified_retry.decorator import classified_retry
from ._classified_retry.events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled
from ._classified_retry.handle import RetryStats
from ._classified_retry.rules import RetryRule
from ._core.clock import Clock, SystemClock
from ._core.errors import (
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
from ._core.events import CallRejected, Event
from ._core.stack import describe
from ._core.watch import Seen, watch
from ._degrade_to.config import UNAVAILABLE
from ._degrade_to.contract import NO_ANSWER, FailedCall, Recalled, Recalling
from ._degrade_to.decorator import degrade_to
from ._degrade_to.events import Degraded, RungFailed
from ._degrade_to.handle import Degradation, DegradeStats
from ._failover.events import EndpointDenied, EndpointDown, EndpointMarked, EndpointUp, FailedOver, Hedged
from ._registry import Registry, registry

if typing.TYPE_CHECKING:
    from ._adaptive_limit.decorator import adaptive_limit
    from ._adaptive_limit.events import LimitLowered
    from ._adaptive_limit.handle import AdaptiveLimit, LimitStats
    from ._batched.decorator import batched
    from ._batched.each import each
    from ._batched.handle import BatchStats
    from ._degrade_to.last_answer import LastAnswer, LastAnswerStats
    from ._degrade_to.rules import first_sentences, key_sentences, sentiment, static_texts
    from ._degrade_to.sentiment import Sentiment
    from ._failover.decorator import failover
    from ._failover.endpoint import Endpoint, EndpointHandle, EndpointStats
    from ._failover.handle import Failover, FailoverStats
    from ._failover.health import EndpointState
    from .similar import SimilarAnswers
else:
    # What not every program uses is imported when somebody asks for it: together it is two fifths of the cost.
    _HOMES = {
        "AdaptiveLimit": "_adaptive_limit.handle",
        "BatchStats": "_batched.handle",
        "Endpoint": "_failover.endpoint",
        "EndpointHandle": "_failover.endpoint",
        "EndpointState": "_failover.health",
        "EndpointStats": "_failover.endpoint",
        "Failover": "_failover.handle",
        "FailoverStats": "_failover.handle",
        "LastAnswer": "_degrade_to.last_answer",
        "LastAnswerStats": "_degrade_to.last_answer",
        "LimitLowered": "_adaptive_limit.events",
        "LimitStats": "_adaptive_limit.handle",
        "Sentiment": "_degrade_to.sentiment",
        "SimilarAnswers": "similar",
        "adaptive_limit": "_adaptive_limit.decorator",
        "batched": "_batched.decorator",
        "each": "_batched.each",
        "failover": "_failover.decorator",
        "first_sentences": "_degrade_to.rules",
        "key_sentences": "_degrade_to.rules",
        "sentiment": "_degrade_to.rules",
        "static_texts": "_degrade_to.rules",
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
