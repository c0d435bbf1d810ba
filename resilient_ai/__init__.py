"""Composable resilience decorators for async functions that call AI providers."""

from ._adaptive_limit import AdaptiveLimit, LimitStats, adaptive_limit
from ._circuit import NEUTRAL, CircuitState
from ._circuit_breaker import CircuitBreaker, CircuitStats, circuit_breaker
from ._classified_retry import classified_retry
from ._classify import Verdict, classify, register_classifier
from ._clock import Clock, SystemClock
from ._errors import (
    AIServiceError,
    AllEndpointsFailedError,
    BatchResultError,
    CallTimeoutError,
    CircuitOpenError,
    DoubleRetryWarning,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    RejectedResultError,
    ResilienceError,
    StackOrderWarning,
)
from ._registry import Registry, registry
from ._retry_budget import RetryBudget
from ._retry_rules import RetryRule
from ._retry_state import RetryStats
from ._stack import describe

__all__ = [
    "NEUTRAL",
    "AIServiceError",
    "AdaptiveLimit",
    "AllEndpointsFailedError",
    "BatchResultError",
    "CallTimeoutError",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "CircuitStats",
    "Clock",
    "DoubleRetryWarning",
    "ErrorType",
    "LimitReachedError",
    "LimitStats",
    "QueueFullError",
    "Registry",
    "RejectedResultError",
    "ResilienceError",
    "RetryBudget",
    "RetryRule",
    "RetryStats",
    "StackOrderWarning",
    "SystemClock",
    "Verdict",
    "adaptive_limit",
    "circuit_breaker",
    "classified_retry",
    "classify",
    "describe",
    "register_classifier",
    "registry",
]
