"""The numbers of a circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from resilient_ai._core.public import public

from .tickets import CircuitState


@public("types")
class CircuitCounts(NamedTuple):
    """
    What a circuit has counted since it was made; `reset()` does not change it. Cheap to read, unlike `CircuitStats`.

    Attributes:
        ok: Calls that were answered.
        failed: Those that failed.
        neutral: Those that said nothing about the provider.
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
    What a circuit has seen.

    Attributes:
        state: Half-open begins with the first call after the recovery period; until then it reads open.
        total_calls: Calls that were let through and have ended, without the late ones.
        total_failures: Those that failed.
        neutral: Those that said nothing about the provider: cancelled, rate limited, the caller's own mistake.
        failure_rate: Share of failures among calls that were not neutral, 0.0 without any.
        recent_success_rate: Of the last 5 minutes, at most 100 calls; 1.0 when there were none.
        current_failure_count: Up with a failure, down with a success.
        rejected: Calls refused.
        late: Results that came back after the state had changed; they change nothing else.
        slow: Calls longer than slow_call_seconds.
        opened_count: Times it opened.
        probes_in_flight: Probes that hold a slot now.
        window_calls: Calls in the sliding window, 0 when no rate is watched.
        window_failures: Failures among them.
        window_slow: Slow calls among them.
        retry_after: Seconds until a probe is allowed; None when not open or when only an operator knows.
        p95: Seconds, over the last 100 good answers; None without any.
        opened_by: "local", or "fleet" where the workers of a fleet have voted; None while it is closed.
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
        """`total_calls`, under the name that statistics of other kinds have for it."""
        return self.total_calls

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self.total_calls - self.total_failures - self.neutral

    @property
    def failed(self) -> int:
        """`total_failures`, likewise."""
        return self.total_failures
