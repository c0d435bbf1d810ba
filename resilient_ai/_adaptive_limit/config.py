"""Settings of an adaptive limit."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.checks import check_number


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """Settings of a limit, as `adaptive_limit` documents them. Times are in seconds."""

    initial: int = 20
    min_limit: int = 1
    max_limit: int = 1000
    pace: bool = True
    max_wait: float | None = None
    max_queue_size: int = 1000

    def __post_init__(self) -> None:
        check_number("min_limit", self.min_limit, least=1, whole=True)
        check_number("max_limit", self.max_limit, least=self.min_limit, whole=True, relative=True)
        check_number("initial", self.initial, least=self.min_limit, most=self.max_limit, whole=True, relative=True)
        check_number("max_wait", self.max_wait, least=0, optional=True)
        check_number("max_queue_size", self.max_queue_size, least=0, whole=True)
        if not isinstance(self.pace, bool):
            raise ValueError(f"pace must be True or False, got {self.pace!r}")
