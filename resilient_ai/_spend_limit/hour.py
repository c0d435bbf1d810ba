"""A sum over the last hour, which slides in steps of a minute."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

Unit = Literal["usd", "tokens"]

MINUTE: Final = 60.0
HOUR: Final = 3600.0


class SlidingHour:
    """
    The amount spent in the last hour.

    The amounts of one minute leave the sum together, an hour after that minute began. So the hour is up to a minute too
    short, and only 60 numbers are kept.
    """

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: deque[tuple[float, float]] = deque()  # begin of each minute, and the amount spent in it

    def add(self, amount: float, now: float) -> None:
        """Add an amount."""
        began = now // MINUTE * MINUTE
        if self._minutes and self._minutes[-1][0] >= began:
            latest, sum_of_it = self._minutes.pop()
            self._minutes.append((latest, sum_of_it + amount))
        else:
            self._minutes.append((began, amount))
        self._drop(now)

    def spent(self, now: float) -> float:
        """The sum of the last hour."""
        self._drop(now)
        return sum(amount for _, amount in self._minutes)

    def wait(self, limit: float, now: float) -> float:
        """Seconds until the sum is below a limit; 0 if it already is."""
        left, wait = self.spent(now), 0.0
        for began, amount in self._minutes:
            if left < limit:
                break
            left -= amount
            wait = began + HOUR - now
        return wait

    def clear(self) -> None:
        """Set the sum to zero."""
        self._minutes.clear()

    def _drop(self, now: float) -> None:
        while self._minutes and self._minutes[0][0] + HOUR <= now:
            self._minutes.popleft()


def amount(value: float, unit: Unit) -> str:
    """An amount as text: `$1.25` or `12,000 tokens`."""
    if unit == "tokens":
        return f"{value:,.0f} tokens"
    return f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"
