"""A retry in the registry."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle

from .state import RetryCounts, RetryState

if TYPE_CHECKING:
    from resilient_ai._core.state_store import StateStore

    from .rules import RetryConfig


@public("types")
@dataclass(frozen=True, slots=True)
class RetryStats:
    """
    The numbers of a retry since the last reset. Cancelled calls are not counted.

    Attributes:
        calls: Calls that have ended.
        attempts: Times the function below was called for them. With a failover below, one attempt may ask several
            endpoints; those requests are `attempts` in the failover's statistics.
        retries: Attempts after the first.
        recovered: Calls that a retry saved.
        given_up: Calls that failed in the end.
        error_counts: Failed attempts by error type.
        budget: Tokens left; None without a budget.
    """

    calls: int
    attempts: int
    retries: int
    recovered: int
    given_up: int
    error_counts: dict[str, int]
    budget: float | None

    @property
    def ok(self) -> int:
        """Calls that were answered, at once or by a retry."""
        return self.calls - self.given_up

    @property
    def failed(self) -> int:
        """The same as `given_up`, under the name that other statistics use."""
        return self.given_up


def _price(config: RetryConfig) -> float:
    return config.budget.price if config.budget is not None else 0.0


@public("types")
class Retry(StateHandle):
    """One retry in the registry: its numbers. Thread-safe."""

    __slots__ = ("_price", "_state", "name")

    def __init__(self, name: str, config: RetryConfig, registry: StateStore) -> None:
        self.name = name
        self._price = _price(config)
        self._state = RetryState(config.budget, registry.clock.now, registry)

    def _reconfigure(self, config: RetryConfig) -> None:
        """Use other settings from now on; the numbers and the budget's level stay."""
        self._state.reconfigure(config.budget)
        self._price = _price(config)

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._state.lock = threading.RLock()

    def stats(self) -> RetryStats:
        """The current numbers."""
        state = self._state
        with state.lock:
            ok, errors = state.good.ok + state.recovered, state.errors
            return RetryStats(
                calls=ok + state.given_up,
                attempts=ok + sum(errors.values()),
                retries=state.retries,
                recovered=state.recovered,
                given_up=state.given_up,
                error_counts=errors,
                budget=state.tokens(),
            )

    def counts(self) -> RetryCounts:
        """What it has counted since it was made; `reset()` does not change it."""
        return self._state.counts()

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        state = "" if stats.budget is None else f"budget {stats.budget:.0f}"
        empty = stats.budget is not None and stats.budget < self._price
        return Row(
            self.name,
            "classified_retry",
            state,
            stats.calls,
            stats.ok,
            stats.failed,
            retried=stats.retries,
            alarm=empty,
        )

    def reset(self) -> None:
        """Set the numbers to zero, and fill the budget."""
        self._state.clear()

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Retry {self.name!r}: {stats.calls} calls, {stats.retries} retries, {stats.given_up} given up>"
