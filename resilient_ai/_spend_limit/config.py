"""Settings of a spend limit."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.checks import check_number, together


@dataclass(frozen=True, slots=True)
class SpendConfig:
    """Settings of a spend limit, as `spend_limit` documents them."""

    usd_per_hour: float | None = None
    tokens_per_hour: float | None = None
    warn_at: float = 0.8

    def __post_init__(self) -> None:
        check_number("usd_per_hour", self.usd_per_hour, above=0, optional=True)
        check_number("tokens_per_hour", self.tokens_per_hour, above=0, optional=True)
        check_number("warn_at", self.warn_at, above=0, most=1)
        if together() and self.usd_per_hour is None and self.tokens_per_hour is None:
            raise ValueError("spend_limit needs a number to keep: usd_per_hour=, tokens_per_hour= or both")
