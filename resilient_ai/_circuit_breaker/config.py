"""The settings of a circuit, and the error types that are neutral by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.checks import check_number, together
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.plain_settings import Default

# Neither failure nor success: the caller's own mistakes, answers that do not fit, and rate limits, which a healthy
# provider has too.
NEUTRAL: tuple[ErrorType, ...] = tuple(kind for kind, row in ERROR_TYPES.items() if row.circuit == "neutral")


DEFAULT_TIMEOUT: Final = Default(30.0)


@dataclass(frozen=True, slots=True)
class CircuitConfig:
    """Settings of a circuit, as `circuit_breaker` documents them. Times are in seconds."""

    timeouts: ClassVar[tuple[str, ...]] = ("timeout_seconds", "idle_timeout_seconds")

    failure_threshold: int | None = 5
    recovery_timeout: float = 60.0
    success_threshold: int = 3
    timeout_seconds: float | None = DEFAULT_TIMEOUT
    idle_timeout_seconds: float | None = DEFAULT_TIMEOUT
    failure_rate_threshold: float | None = None
    window_seconds: float = 60.0
    window_calls: int | None = None
    minimum_calls: int = 20
    slow_call_seconds: float | None = None
    slow_call_rate_threshold: float = 0.5
    half_open_max_calls: int | None = None
    max_recovery_timeout: float | None = None
    recovery_jitter: float = 0.0
    wait_for_all_probes: bool = False
    ignore: tuple[Any, ...] = NEUTRAL
    plain: bool = field(default=False, repr=False)  # for a plain function, which has no timeouts

    def __post_init__(self) -> None:
        check_number("failure_threshold", self.failure_threshold, least=1, whole=True, optional=True)
        check_number("recovery_timeout", self.recovery_timeout, least=0)
        check_number("success_threshold", self.success_threshold, least=1, whole=True)
        check_number("timeout_seconds", self.timeout_seconds, above=0, optional=True)
        check_number("idle_timeout_seconds", self.idle_timeout_seconds, above=0, optional=True)
        check_number("failure_rate_threshold", self.failure_rate_threshold, above=0, most=1, optional=True)
        check_number("window_seconds", self.window_seconds, above=0)
        check_number("window_calls", self.window_calls, least=1, whole=True, optional=True)
        check_number("minimum_calls", self.minimum_calls, least=1, whole=True)
        check_number("slow_call_seconds", self.slow_call_seconds, least=0, optional=True)
        check_number("slow_call_rate_threshold", self.slow_call_rate_threshold, above=0, most=1)
        check_number("half_open_max_calls", self.half_open_max_calls, least=1, whole=True, optional=True)
        least = self.recovery_timeout
        check_number("max_recovery_timeout", self.max_recovery_timeout, least=least, optional=True, relative=True)
        check_number("recovery_jitter", self.recovery_jitter, least=0, most=1)
        rules = (self.failure_threshold, self.failure_rate_threshold, self.slow_call_seconds)
        if together() and all(rule is None for rule in rules):
            raise ValueError(
                "a circuit needs a rule to open by: set failure_threshold, failure_rate_threshold or slow_call_seconds"
            )

    @property
    def window(self) -> tuple[object, ...] | None:
        """The settings that the window of outcomes depends on; None if no rule needs a window."""
        if self.failure_rate_threshold is None and self.slow_call_seconds is None:
            return None
        calls = self.window_calls
        return calls, None if calls is not None else self.window_seconds, self.slow_call_seconds

    @property
    def probes_at_once(self) -> int:
        return self.half_open_max_calls if self.half_open_max_calls is not None else self.success_threshold

    @property
    def probe_lease(self) -> float:
        """Seconds after which a probe without an answer gives its slot back."""
        # With recovery_timeout=0 and no timeout, the lease would be 0 s, and every caller would be a probe.
        return max(self.recovery_timeout, self.timeout_seconds or 0.0) or 30.0
