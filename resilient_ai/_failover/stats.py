"""The numbers of a failover and of its endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public

from .endpoint_state import EndpointState


@public("types")
class EndpointCounts(NamedTuple):
    """
    The counts of an endpoint since it was made; `reset()` does not change them.

    Attributes:
        ok: Calls that were answered.
        failed: Calls that failed because of the endpoint.
        errors: Those calls by error type.
    """

    ok: int
    failed: int
    errors: dict[str, int]


@public("types")
class FailoverCounts(NamedTuple):
    """
    The counts of a failover since it was made; `reset()` does not change them.

    Attributes:
        ok: Calls that were answered.
        failed: Calls that no endpoint answered.
        attempts: Times an endpoint was sent a call.
        moves: Times a call went on to another endpoint.
        hedges: Times a second endpoint was asked because the first was slow.
        hedges_won: Those that answered first.
    """

    ok: int
    failed: int
    attempts: int
    moves: int
    hedges: int
    hedges_won: int


@public("types")
@dataclass(frozen=True, slots=True)
class EndpointStats:
    """
    The numbers of an endpoint.

    Attributes:
        healthy: Whether calls go there in normal operation.
        state: Up, resting, returning (a few calls at a time), or marked down by an operator.
        calls: Calls that were answered or failed.
        failures: Those that failed because of the endpoint.
        in_flight: Calls in flight.
        last_error_type: Error type of the failure that started its latest rest; None without any.
        latency_p50: Median seconds of the last 200 answers; None without any.
        latency_p95: 95th percentile of the same, in seconds; None without any.
        resting_for: Seconds until it may be tried again; 0.0 if it does not rest.
        strikes: Failures in a row, forgotten with healthy time; rests grow with them.
        error_counts: Failures by error type.
    """

    healthy: bool
    state: EndpointState
    calls: int
    failures: int
    in_flight: int
    last_error_type: ErrorType | None
    latency_p50: float | None
    latency_p95: float | None
    resting_for: float
    strikes: int
    error_counts: Mapping[str, int]

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self.calls - self.failures

    @property
    def failed(self) -> int:
        """`failures`, under the name that statistics of other kinds have for it."""
        return self.failures


@public("types")
@dataclass(frozen=True, slots=True)
class FailoverStats:
    """
    The numbers of a failover since the last reset.

    Attributes:
        calls: Calls that have ended with an answer or with no endpoint left.
        ok: Those that were answered.
        failed: Those that no endpoint answered.
        attempts: Times an endpoint was sent a call: answered, failed, or slower than a hedge. Not counted are calls
            that a circuit or a limit refused, and calls whose callers left. A retry's attempt above may be several.
        moves: Times a call went on to another endpoint.
        hedges: Times a second endpoint was asked because the first was slow.
        hedges_won: Those that answered first.
        endpoints: The numbers of each endpoint, by name; shared with other call sites that use it.
    """

    calls: int
    ok: int
    failed: int
    attempts: int
    moves: int
    hedges: int
    hedges_won: int
    endpoints: Mapping[str, EndpointStats]
