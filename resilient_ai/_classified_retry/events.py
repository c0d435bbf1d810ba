"""The events of a retry."""

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """
    One attempt below a retry failed.

    Attributes:
        function: The decorated function.
        attempt: Its number in this call, from 1.
        error_type: The value of the `ErrorType`.
        error_message: The error's text, scrubbed.
        args_hash: Identifies repeated requests without showing them; salted per process.
        endpoint: The endpoint that was asked, if this retry is below a choice of endpoints; else None.
        seconds: Duration of the attempt.
    """

    log_name: ClassVar[str] = "resilient_ai.attempt_failed"

    function: str
    attempt: int
    error_type: str
    error_message: str
    args_hash: str
    endpoint: str | None = None  # pyright: ignore[reportIncompatibleMethodOverride]
    seconds: float = 0.0


@public("events")
@dataclass(frozen=True, slots=True)
class QuotaExceeded(AttemptFailed):
    """A failed attempt for which no retry can help: a person has to pay or to raise a limit."""

    log_name: ClassVar[str] = "resilient_ai.quota_exceeded"
    level: ClassVar[Level] = "critical"
    logged_once: ClassVar[bool] = True


@public("events")
@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """
    A further attempt will be made.

    Attributes:
        attempt: Number of the attempt that failed, from 1.
        error_type: The value of the `ErrorType`.
        delay: Seconds until the next attempt.
    """

    log_name: ClassVar[str] = "resilient_ai.retry_scheduled"

    attempt: int
    error_type: str
    delay: float


@public("events")
@dataclass(frozen=True, slots=True)
class RetriesExhausted(Event):
    """
    No further attempt is made; the caller gets an `AIServiceError`.

    Attributes:
        attempts: Calls made, including the first.
        elapsed: Seconds from the first call to giving up.
        error_type: The value of the `ErrorType` of the last failure.
        reason: Why there is no further attempt.
    """

    log_name: ClassVar[str] = "resilient_ai.retries_exhausted"

    attempts: int
    elapsed: float
    error_type: str
    reason: str
