"""The units that a fleet's server holds for one number of a quota, and those it has promised to this worker."""

from __future__ import annotations

import math

from resilient_ai._core.clock import NEVER


class Supply:
    """Fills a bucket with leased units, in place of time."""

    __slots__ = ("_due", "_expected", "_free", "_free_at", "_most", "_promised", "_rate")

    def __init__(self) -> None:
        self._rate = self._expected = 1.0
        self._most = math.inf
        self._free, self._free_at = 0.0, NEVER
        self._promised, self._due = 0.0, math.inf

    def set_rate(self, rate: float, burst: float, expected: float) -> None:
        """
        Expect other rates from now on.

        Args:
            rate: Units a second of the whole quota.
            burst: Seconds of that rate that the server holds.
            expected: Units a second that this worker may count on.
        """
        self._rate, self._most, self._expected = rate, rate * burst, expected

    def promise(self, units: float, due: float) -> None:
        """Note that so many units may be used from `due` on, in monotonic seconds."""
        self._promised, self._due = units, due

    @property
    def due(self) -> float:
        """When promised units may be used, in monotonic seconds; inf without a promise."""
        return self._due

    def take_over(self, now: float) -> float:
        """Take the promised units that are due by now; each is given out once."""
        if now < self._due:
            return 0.0
        units, self._promised, self._due = self._promised, 0.0, math.inf
        return units

    def told(self, free: float, now: float) -> None:
        """Take in how many units the server has free; below 0, it has promised more than it has."""
        self._free, self._free_at = free, now

    def wait(self, missing: float, now: float) -> float:
        """Seconds, roughly, until this worker has so many more units."""
        missing -= self._promised
        if missing <= 0:
            return max(0.0, self._due - now)
        free = min(self._most, self._free + (now - self._free_at) * self._rate)  # full if it was not asked for long
        return max(0.0, -free) / self._rate + max(0.0, missing - max(0.0, free)) / self._expected
