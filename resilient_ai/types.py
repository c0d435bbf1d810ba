"""
Types that a program names now and then: what the registry's views hold, their statistics, clocks, a fallback's parts.

Nothing here has to be called to use the package.
"""

from ._adaptive_limit.handle import AdaptiveLimit, LimitStats
from ._batched.handle import Batcher, BatchStats
from ._circuit_breaker.handle import CircuitBreaker
from ._circuit_breaker.stats import CircuitStats
from ._classified_retry.handle import Retry, RetryStats
from ._core.call_facts import Seen
from ._core.clock import Clock, SystemClock
from ._core.describe import Description, Layer
from ._core.errors import EndpointRestingError
from ._core.report import Row
from ._core.stand_in import StandIn
from ._core.state_store import View
from ._degrade_to.contract import Recalled, Recalling
from ._degrade_to.handle import Degradation, DegradeStats
from ._degrade_to.last_answer import LastAnswerStats
from ._degrade_to.sentiment import Sentiment
from ._failover.handle import EndpointHandle, Failover
from ._failover.health import EndpointState
from ._failover.stats import EndpointStats, FailoverStats

__all__ = [
    "AdaptiveLimit",
    "BatchStats",
    "Batcher",
    "CircuitBreaker",
    "CircuitStats",
    "Clock",
    "Degradation",
    "DegradeStats",
    "Description",
    "EndpointHandle",
    "EndpointRestingError",
    "EndpointState",
    "EndpointStats",
    "Failover",
    "FailoverStats",
    "LastAnswerStats",
    "Layer",
    "LimitStats",
    "Recalled",
    "Recalling",
    "Retry",
    "RetryStats",
    "Row",
    "Seen",
    "Sentiment",
    "StandIn",
    "SystemClock",
    "View",
]
