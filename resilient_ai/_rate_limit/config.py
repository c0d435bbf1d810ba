"""Settings of a rate limit."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.checks import check_number, together


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """Settings of a rate limit, as `rate_limit` documents them. Times are in seconds."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_wait: float | None = None
    burst: float = 5.0
    max_queue_size: int = 1000

    def __post_init__(self) -> None:
        check_number("requests_per_minute", self.requests_per_minute, above=0, optional=True)
        check_number("tokens_per_minute", self.tokens_per_minute, above=0, optional=True)
        check_number("max_wait", self.max_wait, least=0, optional=True)
        check_number("burst", self.burst, above=0, most=60)
        check_number("max_queue_size", self.max_queue_size, least=0, whole=True)
        if together() and self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("rate_limit needs a number to keep: requests_per_minute=, tokens_per_minute= or both")
