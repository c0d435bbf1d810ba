"""
Types that a program needs occasionally: handles and statistics in the registry, clocks, and parts of fallbacks.

Nothing here has to be called to use the package.
"""

from ._adaptive_limit.handle import AdaptiveLimit, LimitCounts, LimitStats
from ._batched.handle import BatchCounts, Batcher, BatchStats
from ._circuit_breaker.handle import CircuitBreaker
from ._circuit_breaker.stats import CircuitCounts, CircuitStats
from ._classified_retry.handle import Retry, RetryStats
from ._classified_retry.state import RetryCounts
from ._core.call_facts import Seen
from ._core.clock import Clock, SystemClock
from ._core.describe import Description, Layer
from ._core.errors import EndpointRestingError
from ._core.report import Row
from ._core.settings import Setting, Settings
from ._core.stand_in import StandIn
from ._core.state_store import View
from ._degrade_to.contract import Recalled, Recalling
from ._degrade_to.handle import Degradation, DegradeStats
from ._degrade_to.last_answer import LastAnswerStats
from ._degrade_to.sentiment import Sentiment
from ._degrade_to.state import DegradeCounts
from ._failover.endpoint_state import EndpointState
from ._failover.handle import EndpointHandle, Failover
from ._failover.stats import EndpointCounts, EndpointStats, FailoverCounts, FailoverStats
from ._fleet.join import Fleet
from ._fleet.stats import FleetStats
from ._rate_limit.handle import RateLimit, RateLimitCounts, RateLimitStats
from ._spend_limit.handle import SpendCounts, SpendLimit, SpendStats
from ._usage.book import CallSiteUsage, ModelUsage, UsageBook

__all__ = [
    "AdaptiveLimit",
    "BatchCounts",
    "BatchStats",
    "Batcher",
    "CallSiteUsage",
    "CircuitBreaker",
    "CircuitCounts",
    "CircuitStats",
    "Clock",
    "Degradation",
    "DegradeCounts",
    "DegradeStats",
    "Description",
    "EndpointCounts",
    "EndpointHandle",
    "EndpointRestingError",
    "EndpointState",
    "EndpointStats",
    "Failover",
    "FailoverCounts",
    "FailoverStats",
    "Fleet",
    "FleetStats",
    "LastAnswerStats",
    "Layer",
    "LimitCounts",
    "LimitStats",
    "ModelUsage",
    "RateLimit",
    "RateLimitCounts",
    "RateLimitStats",
    "Recalled",
    "Recalling",
    "Retry",
    "RetryCounts",
    "RetryStats",
    "Row",
    "Seen",
    "Sentiment",
    "Setting",
    "Settings",
    "SpendCounts",
    "SpendLimit",
    "SpendStats",
    "StandIn",
    "SystemClock",
    "UsageBook",
    "View",
]
