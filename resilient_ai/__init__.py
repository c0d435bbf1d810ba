"""Composable resilience decorators for async functions that call AI providers."""

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
    QueueFullError,
    RejectedResultError,
    ResilienceError,
    StackOrderWarning,
)
from ._registry import Registry, registry

__all__ = [
    "AIServiceError",
    "AllEndpointsFailedError",
    "BatchResultError",
    "CallTimeoutError",
    "CircuitOpenError",
    "Clock",
    "DoubleRetryWarning",
    "ErrorType",
    "QueueFullError",
    "Registry",
    "RejectedResultError",
    "ResilienceError",
    "StackOrderWarning",
    "SystemClock",
    "Verdict",
    "classify",
    "register_classifier",
    "registry",
]
