"""A token bucket for one number of a quota: it fills evenly, and each call takes units out of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .supply import Supply

_ENOUGH = 1e-6  # relative error allowed for sums of floats
_LITTLE = 0.1  # less than this share of the provider's limit counts as little left
_LITTLE_SECONDS = 2.0  # what the rate gives in so many seconds is never little
_QUICK = 0.05  # share of the burst time in which calls are let through without reading the clock
_LEAST_SHARE = 0.05  # of the rate that is kept, however little the provider has left


class Bucket:
    """
    How many requests, or tokens, may be sent now.

    A call that needs more than the bucket holds is sent when the bucket is full, and leaves it below 0 for a while.

    Attributes:
        per_minute: Units that it gains in a minute.
        most: Units that it holds at most.
        level: Units that may be sent now.
        part: This process's part of the quota's rate, 0 to 1; 1 unless other processes share the quota.
        quick: Seconds in which units may be taken without reading the clock.
        taken: Units taken in that way since the clock was last read.
        supply: Fills the bucket while a fleet's server keeps the quota; None: it fills with time.
    """

    __slots__ = ("_recovers", "_share", "_told_at", "level", "most", "part", "per_minute", "quick", "supply", "taken")

    def __init__(self, per_minute: float, burst: float) -> None:
        self.level = math.inf
        self.taken = 0
        self.part = 1.0
        self.supply: Supply | None = None
        self.set_rate(per_minute, burst)
        self.clear()

    def clear(self) -> None:
        """Fill the bucket, unless a fleet shares the quota, and forget what the provider said."""
        if self.supply is None:
            self.level, self.taken = self.most, 0
        self._share = 1.0  # of the rate that is used since the provider said that little is left
        self._recovers = 1.0  # seconds in which the share grows from 0 to 1
        self._told_at = 0.0

    def set_rate(self, per_minute: float, burst: float) -> None:
        """Fill at another rate from now on, and hold at most `burst` seconds of it."""
        self.per_minute = per_minute
        self.quick = _QUICK * burst
        self.most = max(1.0, per_minute / 60 * burst)
        if self.supply is None:
            self.level = min(self.level, self.most)

    def take_back(self, part: float, burst: float) -> None:
        """Fill with time again, at a part of the rate, and hold at most `burst` seconds of that."""
        self.supply, self.part = None, part
        self.most = max(1.0, self.per_minute / 60 * part * burst)
        self.level = min(self.level, self.most)

    def rate(self, now: float, factor: float) -> float:
        """Units that it gains in a second at this moment."""
        share = self._share
        if share < 1:  # the provider may have begun a new window, or other users may have stopped
            share = self._share = min(1.0, share + max(0.0, now - self._told_at) / self._recovers)
            self._told_at = now
        return self.per_minute / 60 * factor * share * self.part

    def fill(self, seconds: float, now: float, factor: float) -> None:
        """Gain what comes in so many seconds, or the units that were leased."""
        if self.supply is not None:
            self.level += self.supply.take_over(now)
            self.taken = 0
            return
        rate = self.rate(now, factor)
        if self.taken:
            # A full bucket gains nothing until units are taken. That happened within `quick` seconds, but the exact
            # time was not read.
            soon = min(seconds, self.quick)
            self.level = min(self.level + soon * rate, self.most - self.taken)
            seconds, self.taken = seconds - soon, 0
        self.level = min(self.level + seconds * rate, self.most)

    def has(self, need: float) -> bool:
        """Whether a call that needs so many units may be sent now."""
        if self.supply is None:
            need = min(need, self.most)
        return self.level >= need * (1 - _ENOUGH)

    def wait(self, ahead: float, need: float, now: float, factor: float) -> float:
        """Seconds until a call that needs `need` units may be sent, after callers that need `ahead` units together."""
        if self.supply is not None:
            missing = ahead + need - self.level
            return self.supply.wait(missing, now) if missing > 0 else 0.0
        missing = ahead + min(need, self.most) - self.level
        return missing / self.rate(now, factor) if missing > 0 else 0.0

    def take(self, amount: float) -> None:
        """Take units for a call."""
        self.level -= amount

    def give_back(self, amount: float) -> None:
        """Return units that were not used after all; a negative amount takes more."""
        self.level += amount
        if self.supply is None:
            self.level = min(self.level, self.most)

    def told(self, left: float, limit: float | None, since: float, now: float) -> tuple[float, float]:
        """
        Take in how much the provider said was left when a call was sent.

        Little is left if it is less than a tenth of the provider's limit, and less than two seconds of the rate. Then
        the bucket fills more slowly, because others use the same quota. Its rate recovers in the time in which that
        amount is gained.

        Args:
            left: What is left of the provider's limit, which may be for a minute, a day or any other window.
            limit: The provider's limit; None if it does not say.
            since: When the call was sent, in monotonic seconds.
            now: Monotonic seconds.

        Returns:
            The estimate of what is left now, and the share of the rate to use.
        """
        a_second = self.per_minute / 60
        left_now = left + (now - since) * a_second
        self.level = min(self.level, left_now)
        little = _LITTLE_SECONDS * a_second
        if limit is not None:
            little = min(little, _LITTLE * limit)
        if left < little:
            share = max(_LEAST_SHARE, left / little) + (now - since) * a_second / little
            self._share, self._recovers, self._told_at = min(1.0, share), little / a_second, now
        else:
            self._share = 1.0
        return left_now, self._share
