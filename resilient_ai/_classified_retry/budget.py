"""A bound on retries, so that retries cannot make an outage worse."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public


@public()
@dataclass(frozen=True, slots=True)
class RetryBudget:
    """
    Bounds the retries of one name, over all its calls.

    A bucket of tokens, full at first. A retry takes its price before it sleeps, and gets it back if it saves the call.
    So retries that help are free, and retries into an outage are not. A call that succeeds at its first attempt adds
    `per_success`. `per_second` is added in any case, so that a call site with little traffic can always retry a little.

    The proportions are those of the AWS SDKs' retry quota of 2026 (500 tokens, 14 for a transient error, 5 for a
    throttled one, 1 back per success), divided by 5; `per_second` is the minimum of Finagle's RetryBudget.

    Args:
        capacity: Tokens when full. Default 100.
        per_success: Tokens that a call adds if it succeeds at once. Default 0.2.
        per_second: Tokens added each second. Default 1.
        price: Tokens for a retry after an error that is a sign of trouble (overload, timeout, network, internal).
            Default 2.8.
        throttled_price: Tokens for a retry after a rate limit, where the provider is healthy and said when to retry.
            Default 1.

    Waiting for an open circuit is free: the call that follows is the first one sent.
    """

    capacity: float = 100.0
    per_success: float = 0.2
    per_second: float = 1.0
    price: float = 2.8
    throttled_price: float = 1.0

    def __post_init__(self) -> None:
        check_number("capacity", self.capacity, above=0)
        check_number("per_success", self.per_success, least=0)
        check_number("per_second", self.per_second, least=0)
        check_number("price", self.price, least=0)
        check_number("throttled_price", self.throttled_price, least=0)

    def price_of(self, error_type: ErrorType) -> float:
        """Tokens for one retry after an error of that type."""
        match ERROR_TYPES[error_type].price:
            case "full":
                return self.price
            case "throttled":
                return self.throttled_price
            case "free":
                return 0.0


class Bucket:
    """The tokens of one name. Not thread-safe; the caller holds a lock."""

    __slots__ = ("_budget", "_capacity", "_filled", "_per_second", "_tokens", "_workers")

    def __init__(self, budget: RetryBudget, now: float) -> None:
        self._budget = budget
        self._capacity, self._per_second = budget.capacity, budget.per_second
        self._workers = 1
        self._tokens = budget.capacity
        self._filled = now

    def divide(self, workers: int, now: float) -> None:
        """Use this process's part of a budget that `workers` processes share; one retry always becomes affordable."""
        if workers != self._workers:
            self._workers = workers
            self._divide(now)

    def _divide(self, now: float) -> None:
        budget, workers = self._budget, self._workers
        self._tokens, self._filled = self.level(now), now
        dearest = max(budget.price, budget.throttled_price)
        self._capacity = min(budget.capacity, max(budget.capacity / workers, dearest))
        self._per_second = budget.per_second / workers

    def level(self, now: float) -> float:
        """Tokens at the time `now`."""
        flown = max(0.0, now - self._filled) * self._per_second
        return min(self._capacity, self._tokens + flown)

    def change(self, budget: RetryBudget, now: float) -> None:
        """Use another budget; the tokens that are left stay, up to its capacity."""
        self._budget = budget
        self._divide(now)

    def take(self, now: float, price: float) -> bool:
        """Pay for one retry; False if there are too few tokens."""
        level = self.level(now)
        self._filled = now
        self._tokens = level - price if level >= price else level
        return level >= price

    def give_back(self, now: float, tokens: float) -> None:
        """Add tokens, of successes or of a retry that was not made after all."""
        self._tokens = min(self._capacity, self.level(now) + tokens)
        self._filled = now
