"""Settings of a failover, which check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from resilient_ai._core.checks import check_number

from .strategy import STRATEGIES


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """Settings that call sites of one name share, as `failover` documents them. Times are in seconds."""

    endpoints: tuple[str, ...]
    strategy: Any = "round_robin"
    health_check: Any = None
    health_check_interval: float = 30.0
    max_endpoints: int | None = None
    hedge_after: float | Literal["p95"] | None = None
    hedge_budget: float = 0.05
    idempotent: Any = True

    def __post_init__(self) -> None:
        if not callable(self.strategy) and self.strategy not in tuple(STRATEGIES):
            known = ", ".join(repr(each) for each in STRATEGIES)
            raise ValueError(f"strategy must be {known} or a callable, got {self.strategy!r}")
        if self.health_check not in (None, False) and not callable(self.health_check):
            raise ValueError(f"health_check must be an async function, None or False, got {self.health_check!r}")
        check_number("health_check_interval", self.health_check_interval, least=0)
        check_number("max_endpoints", self.max_endpoints, least=1, whole=True, optional=True)
        if isinstance(self.hedge_after, str) and self.hedge_after != "p95":
            raise ValueError(f"hedge_after must be seconds, 'p95' or None, got {self.hedge_after!r}")
        if not isinstance(self.hedge_after, str):
            check_number("hedge_after", self.hedge_after, least=0, optional=True)
        check_number("hedge_budget", self.hedge_budget, least=0, most=1)
        if not isinstance(self.idempotent, bool) and not callable(self.idempotent):
            raise ValueError(f"idempotent must be True, False or a function, got {self.idempotent!r}")
