"""What one name of a failover has counted, and what it may still spend."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from resilient_ai._core.report import SuccessCount

if TYPE_CHECKING:
    from .hedge import HedgeBudget, HedgeDelay

TOKENS_PER_ANSWER = 0.2
MOST_TOKENS = 10.0


class FailoverState:
    """
    The numbers and the budgets of one name. Thread-safe.

    Args:
        name: Call sites of one name share it.
        budget: Bounds the hedges.
        delay: When to hedge.

    Attributes:
        good: Calls that were answered.
        failures: Calls that no endpoint answered.
        moves: Times a call went on to another endpoint.
        hedges: Times a second endpoint was asked because the first was slow.
        hedges_won: Those that answered first.
    """

    __slots__ = (
        "_lock",
        "_paid_for",
        "_tokens",
        "budget",
        "delay",
        "failures",
        "good",
        "hedges",
        "hedges_won",
        "moves",
        "name",
    )

    def __init__(self, name: str, budget: HedgeBudget, delay: HedgeDelay) -> None:
        self.name = name
        self.budget = budget
        self.delay = delay
        self._lock = threading.RLock()  # reentrant: a signal handler may read the registry while its thread is in here
        self._tokens = MOST_TOKENS
        self.good = SuccessCount()
        self._paid_for = self.failures = self.moves = self.hedges = self.hedges_won = 0

    def after_fork(self) -> None:
        """In a forked child: a free lock."""
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Every number at zero."""
        with self._lock:
            self._tokens = MOST_TOKENS
            self.good.ok = self._paid_for = self.failures = self.moves = self.hedges = self.hedges_won = 0
            self.budget.clear()
            self.delay.clear()

    def may_force(self) -> bool:
        """Takes a token for one more call to a resting endpoint; every good answer has put a fifth of one in."""
        with self._lock:
            self._tokens = min(MOST_TOKENS, self._tokens + TOKENS_PER_ANSWER * (self.good.ok - self._paid_for))
            self._paid_for = self.good.ok
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def moved(self) -> None:
        """A call went on to another endpoint."""
        with self._lock:
            self.moves += 1

    def failed(self) -> None:
        """No endpoint answered a call."""
        with self._lock:
            self.failures += 1

    def hedged(self, *, won: bool) -> None:
        """A second endpoint was asked."""
        with self._lock:
            self.hedges += 1
            self.hedges_won += won
