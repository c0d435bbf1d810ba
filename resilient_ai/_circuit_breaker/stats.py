"""The numbers of a circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from resilient_ai._core.public import public

from .tickets import CircuitState


@public("types")
class CircuitCounts(NamedTuple):
    """
    The counts of a circuit since it was made; `reset()` does not change them. Cheap to read, unlike `CircuitStats`.

    Attributes:
        ok: Calls that were answered.
        failed: Those that failed.
        neutral: Those that told nothing about the provider.
        rejected: Calls refused.
        late: Results that came back after the state had changed.
        slow: Calls longer than slow_call_seconds.
        opened: Times it opened.
    """

    ok: int
    failed: int
    neutral: int
    rejected: int
    late: int
    slow: int
    opened: int


@public("types")
@dataclass(frozen=True, slots=True)
class CircuitStats:
    """
    The numbers of a circuit since the last reset.

    Attributes:
        state: What it does with calls. Half-open begins with the first call after the recovery period; until then it
            is open.
        total_calls: Calls that were let through and have ended, without the late ones.
        total_failures: Those that failed.
        neutral: Those that told nothing about the provider: cancelled, rate limited, the caller's own mistake.
        failure_rate: Share of failures among calls that were not neutral, 0.0 without any.
        recent_success_rate: Share of good answers in the last 5 minutes, at most 100 calls; 1.0 without calls.
        current_failure_count: The failure count: a failure adds one, a success subtracts one.
        rejected: Calls refused.
        late: Results that came back after the state had changed; they change nothing else.
        slow: Calls longer than slow_call_seconds.
        opened_count: Times it opened.
        probes_in_flight: Probes in flight.
        window_calls: Calls in the sliding window; 0 if no rule uses a rate.
        window_failures: Failures among them.
        window_slow: Slow calls among them.
        retry_after: Seconds until a probe is allowed; None if it is not open, or if only an operator knows.
        p95: 95th percentile of the last 100 good answers, in seconds; None without any.
        opened_by: "local", or "fleet" if the workers of a fleet have voted; None while it is closed.
    """

    state: CircuitState
    total_calls: int
    total_failures: int
    neutral: int
    failure_rate: float
    recent_success_rate: float
    current_failure_count: int
    rejected: int
    late: int
    slow: int
    opened_count: int
    probes_in_flight: int
    window_calls: int
    window_failures: int
    window_slow: int
    retry_after: float | None
    p95: float | None
    opened_by: Literal["local", "fleet"] | None = None

    @property
    def calls(self) -> int:
        """The same as `total_calls`, under the name that other statistics use."""
        return self.total_calls

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self.total_calls - self.total_failures - self.neutral

    @property
    def failed(self) -> int:
        """The same as `total_failures`, under the name that other statistics use."""
        return self.total_failures
