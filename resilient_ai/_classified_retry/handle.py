"""What one name of `classified_retry` has seen, and the tokens it may still spend."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_ai._core.public import public
from resilient_ai._core.report import Row, Tally

from .budget import Bucket

if TYPE_CHECKING:
    from resilient_ai._core.errors import ErrorType
    from resilient_ai._core.state_store import StateStore

    from .rules import RetryConfig


@public("types")
@dataclass(frozen=True, slots=True)
class RetryStats:
    """
    What a retry has seen. Cancelled calls are in none of the numbers.

    Attributes:
        calls: Calls that have ended.
        attempts: Times the function was called for them.
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


@public("types")
class Retry:
    """The counts and the budget of one name. Thread-safe."""

    __slots__ = (
        "_bucket",
        "_config",
        "_errors",
        "_given_up",
        "_lock",
        "_paid_in",
        "_recovered",
        "_registry",
        "_retries",
        "good",
        "name",
    )

    def __init__(self, name: str, config: RetryConfig, registry: StateStore) -> None:
        self.name = name
        self._config = config
        self._registry = registry
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`
        self.good = Tally()
        self.reset()

    def reset(self) -> None:
        """Numbers at zero, budget full."""
        with self._lock:
            # Those of calls that succeeded at once. What they put into the budget is reckoned when somebody wants to
            # take something out.
            self.good.ok = self._paid_in = 0
            self._retries = self._recovered = self._given_up = 0
            self._errors: Counter[str] = Counter()
            budget = self._config.budget
            self._bucket = Bucket(budget, self._registry.clock.now()) if budget is not None else None

    def _pay_in(self, now: float) -> None:
        ok = self.good.ok
        if self._bucket is not None and self._config.budget is not None:
            self._bucket.give_back(now, (ok - self._paid_in) * self._config.budget.per_success)
        self._paid_in = ok

    def recovered(self, price: float) -> None:
        """A retry saved the call: its price comes back."""
        with self._lock:
            self._recovered += 1
            if self._bucket is not None:
                self._bucket.give_back(self._registry.clock.now(), price)

    def failed(self, error_type: ErrorType) -> None:
        with self._lock:
            self._errors[error_type.value] += 1

    def may_retry(self, now: float, error_type: ErrorType) -> float | None:
        """Pays for one retry; the price, or None when the budget does not reach."""
        with self._lock:
            price = 0.0
            if self._bucket is not None and self._config.budget is not None:
                self._pay_in(now)
                price = self._config.budget.price_of(error_type)
                if not self._bucket.take(now, price):
                    return None
            self._retries += 1
            return price

    def not_retried(self, now: float, price: float) -> None:
        """The caller left during the wait: the price goes back."""
        with self._lock:
            self._retries -= 1
            self.refund(now, price)

    def refund(self, now: float, price: float) -> None:
        """The retry was not sent after all: its price goes back."""
        with self._lock:
            if self._bucket is not None:
                self._bucket.give_back(now, price)

    def gave_up(self) -> None:
        with self._lock:
            self._given_up += 1

    def stats(self) -> RetryStats:
        """The numbers of this moment."""
        with self._lock:
            ok, failed, now = self.good.ok + self._recovered, sum(self._errors.values()), self._registry.clock.now()
            self._pay_in(now)
            return RetryStats(
                calls=ok + self._given_up,
                attempts=ok + failed,
                retries=self._retries,
                recovered=self._recovered,
                given_up=self._given_up,
                error_counts=dict(self._errors),
                budget=self._bucket.level(now) if self._bucket is not None else None,
            )

    def row(self) -> Row:
        stats = self.stats()
        state = "" if stats.budget is None else f"budget {stats.budget:.0f}"
        return Row(
            self.name,
            "classified_retry",
            state,
            stats.calls,
            stats.calls - stats.given_up,
            stats.given_up,
            stats.retries,
        )

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Retry {self.name!r}: {stats.calls} calls, {stats.retries} retries, {stats.given_up} given up>"
