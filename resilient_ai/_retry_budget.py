"""A bound on retries, so that they cannot multiply an outage."""

from __future__ import annotations

from dataclasses import dataclass

from ._checks import check_number


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """
    How many retries one name may spend, over all its calls.

    A bucket of tokens: each retry takes one, each first attempt that succeeds puts `per_success` back, and
    `per_second` flow in whatever happens, so that a quiet call site can always retry a little. After Finagle's
    RetryBudget (20 % of the traffic, 10 a second) and gRPC's retry throttling.

    Args:
        capacity: Tokens when full; the bucket begins full. Default 100.
        per_success: Tokens that a success puts back. Default 0.2.
        per_second: Tokens that flow in each second. Default 1.
    """

    capacity: float = 100.0
    per_success: float = 0.2
    per_second: float = 1.0

    def __post_init__(self) -> None:
        check_number("capacity", self.capacity, above=0)
        check_number("per_success", self.per_success, least=0)
        check_number("per_second", self.per_second, least=0)


class Bucket:
    """The tokens of one name. Not locked; the shell does that."""

    __slots__ = ("_budget", "_filled", "_tokens")

    def __init__(self, budget: RetryBudget, now: float) -> None:
        self._budget = budget
        self._tokens = budget.capacity
        self._filled = now

    def level(self, now: float) -> float:
        """Tokens at that moment."""
        flown = max(0.0, now - self._filled) * self._budget.per_second
        return min(self._budget.capacity, self._tokens + flown)

    def take(self, now: float) -> bool:
        """One token for one retry; False when there is none."""
        level = self.level(now)
        self._filled = now
        self._tokens = level - 1 if level >= 1 else level
        return level >= 1

    def give_back(self, now: float, tokens: float) -> None:
        """Tokens of a success, or of a retry that was not made after all."""
        self._tokens = min(self._budget.capacity, self.level(now) + tokens)
        self._filled = now
