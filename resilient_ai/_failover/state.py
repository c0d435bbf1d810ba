"""The counts of one failover name, and its budgets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from resilient_ai._core.counts import added
from resilient_ai._core.report import SuccessCount

from .stats import FailoverCounts

if TYPE_CHECKING:
    from .hedge import HedgeBudget, HedgeDelay

TOKENS_PER_ANSWER = 0.2
MOST_TOKENS = 10.0


class FailoverState:
    """
    The counts and the budgets of one name. Thread-safe.

    Args:
        name: The name, which call sites share.
        budget: The budget of hedges.
        delay: The delay before a hedge.

    Attributes:
        good: Calls that were answered.
        failures: Calls that no endpoint answered.
        lost_attempts: Times an endpoint failed, or was slower than a hedge.
        moves: Times a call went on to another endpoint.
        hedges: Times a second endpoint was asked because the first was slow.
        hedges_won: Those that answered first.
    """

    __slots__ = (
        "_lock",
        "_paid_for",
        "_past",
        "_tokens",
        "budget",
        "delay",
        "failures",
        "good",
        "hedges",
        "hedges_won",
        "lost_attempts",
        "moves",
        "name",
    )

    def __init__(self, name: str, budget: HedgeBudget, delay: HedgeDelay) -> None:
        self.name = name
        self.budget = budget
        self.delay = delay
        self._lock = threading.RLock()  # reentrant: a signal handler may read the registry while its thread has it
        self._tokens = MOST_TOKENS
        self.good = SuccessCount()
        self._paid_for = self.failures = self.lost_attempts = self.moves = self.hedges = self.hedges_won = 0
        self._past: FailoverCounts | None = None  # the counts at the latest reset

    def reconfigure(self, hedge_after: float | Literal["p95"] | None, hedge_budget: float) -> None:
        """Use other settings from now on; the counts stay."""
        with self._lock:
            self.delay.change(hedge_after)
            self.budget.change(hedge_budget)

    def after_fork(self) -> None:
        """In a forked child: a free lock."""
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Set all counts to zero."""
        with self._lock:
            self._past = self._counts(self.good.take())
            self._tokens = MOST_TOKENS
            self._paid_for = self.failures = self.moves = self.hedges = self.hedges_won = 0
            self.lost_attempts = 0
            self.budget.clear()
            self.delay.clear()

    def may_force(self) -> bool:
        """Take a token for one more call to a resting endpoint, if there is one; every good answer adds a fifth."""
        with self._lock:
            self._tokens = min(MOST_TOKENS, self._tokens + TOKENS_PER_ANSWER * (self.good.ok - self._paid_for))
            self._paid_for = self.good.ok
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def counts(self) -> FailoverCounts:
        """The counts since it was made."""
        with self._lock:
            return self._counts(self.good.ok)

    def _counts(self, good: int) -> FailoverCounts:
        attempts = good + self.lost_attempts
        latest = FailoverCounts(good, self.failures, attempts, self.moves, self.hedges, self.hedges_won)
        return latest if self._past is None else added((self._past, latest))

    def attempt_lost(self) -> None:
        """Count an endpoint that failed, or was slower than a hedge."""
        with self._lock:
            self.lost_attempts += 1

    def moved(self) -> None:
        """Count a call that moved on to another endpoint."""
        with self._lock:
            self.moves += 1

    def failed(self) -> None:
        """Count a call that no endpoint answered."""
        with self._lock:
            self.failures += 1

    def hedged(self, *, won: bool) -> None:
        """Count a hedge."""
        with self._lock:
            self.hedges += 1
            self.hedges_won += won
