"""Settings of `@batched` that call sites of one name share."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeAlias, get_args

from resilient_ai._core.checks import check_number

WhenFull: TypeAlias = Literal["raise", "wait"]


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """The settings, as `batched` documents them. Times are in seconds."""

    _: KW_ONLY
    batch_size: int = 10
    batch_timeout: float = 0.1
    max_queue_size: int = 1000
    when_full: WhenFull = "raise"
    max_concurrency: int | None = None
    max_weight: float | None = None
    deduplicate: bool = False
    bisect: bool = False

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, least=1, whole=True)
        check_number("batch_timeout", self.batch_timeout, least=0)
        check_number("max_queue_size", self.max_queue_size, least=1, whole=True)
        if self.when_full not in get_args(WhenFull):
            raise ValueError(f'when_full must be "raise" or "wait", got {self.when_full!r}')
        check_number("max_concurrency", self.max_concurrency, least=1, whole=True, optional=True)
        check_number("max_weight", self.max_weight, above=0, optional=True)
