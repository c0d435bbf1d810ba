"""A sum over the last hour, which slides in steps of a minute."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

Unit = Literal["usd", "tokens"]

MINUTE: Final = 60.0
HOUR: Final = 3600.0


class SlidingHour:
    """
    What was spent in the last hour.

    What is spent in one minute leaves the sum together, an hour after that minute began, so that the hour is up to a
    minute shorter than it says and 60 numbers are all that is kept.
    """

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: deque[tuple[float, float]] = deque()  # when each began, and what was spent in it

    def add(self, amount: float, now: float) -> None:
        """Spend so much now."""
        began = now // MINUTE * MINUTE
        if self._minutes and self._minutes[-1][0] >= began:
            latest, sum_of_it = self._minutes.pop()
            self._minutes.append((latest, sum_of_it + amount))
        else:
            self._minutes.append((began, amount))
        self._drop(now)

    def spent(self, now: float) -> float:
        """The sum."""
        self._drop(now)
        return sum(amount for _, amount in self._minutes)

    def wait(self, limit: float, now: float) -> float:
        """Seconds until the sum is below a limit; 0 where it is."""
        left, wait = self.spent(now), 0.0
        for began, amount in self._minutes:
            if left < limit:
                break
            left -= amount
            wait = began + HOUR - now
        return wait

    def clear(self) -> None:
        """Nothing spent."""
        self._minutes.clear()

    def _drop(self, now: float) -> None:
        while self._minutes and self._minutes[0][0] + HOUR <= now:
            self._minutes.popleft()


def amount(value: float, unit: Unit) -> str:
    """`$1.25` or `12,000 tokens`."""
    if unit == "tokens":
        return f"{value:,.0f} tokens"
    return f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"
