"""One number of a quota as a token bucket: it fills evenly, and what is sent is taken out of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .supply import Supply

_ENOUGH = 1e-6  # share of the need that sums of floats may be off by
_LITTLE = 0.1  # share of the provider's limit below which what is left of it is little
_LITTLE_SECONDS = 2.0  # seconds' worth of the rate that is never little
_QUICK = 0.05  # share of the burst's seconds in which calls are let through without a look at the time
_LEAST_SHARE = 0.05  # of the rate is kept however little the provider has left


class Bucket:
    """
    What may be sent now, of requests or of tokens.

    A call that needs more than the bucket holds takes it when it is full, and leaves it below 0 for a while.

    Attributes:
        per_minute: How much it gains in a minute.
        most: What it holds.
        level: What may be sent now.
        part: Of what the quota gains in time, this process gains so much by itself: all, unless others share it.
        quick: Seconds in which units may be taken without a look at the time.
        taken: So much was taken in that way since the latest look.
        supply: Fills it in place of time, while a fleet's server keeps the quota; None: time does.
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
        """Full, unless others share it, and nothing heard from the provider."""
        if self.supply is None:
            self.level, self.taken = self.most, 0
        self._share = 1.0  # of the rate that is used since the provider has told how little is left
        self._recovers = 1.0  # seconds from then on in which it comes back by itself
        self._told_at = 0.0

    def set_rate(self, per_minute: float, burst: float) -> None:
        """Fill at another rate from now on, and hold so many seconds of it."""
        self.per_minute = per_minute
        self.quick = _QUICK * burst
        self.most = max(1.0, per_minute / 60 * burst)
        if self.supply is None:
            self.level = min(self.level, self.most)

    def take_back(self, part: float, burst: float) -> None:
        """Fill by time again, at a part of the rate, and hold so many seconds of that."""
        self.supply, self.part = None, part
        self.most = max(1.0, self.per_minute / 60 * part * burst)
        self.level = min(self.level, self.most)

    def rate(self, now: float, factor: float) -> float:
        """What it gains in a second at this moment."""
        share = self._share
        if share < 1:  # a new window may have begun, or the other users have stopped
            share = self._share = min(1.0, share + max(0.0, now - self._told_at) / self._recovers)
            self._told_at = now
        return self.per_minute / 60 * factor * share * self.part

    def fill(self, seconds: float, now: float, factor: float) -> None:
        """Gain what comes in so many seconds, or what was leased."""
        if self.supply is not None:
            self.level += self.supply.take_over(now)
            self.taken = 0
            return
        rate = self.rate(now, factor)
        if self.taken:
            # A full bucket gains nothing until something is taken, which was soon, but nobody has looked when.
            soon = min(seconds, self.quick)
            self.level = min(self.level + soon * rate, self.most - self.taken)
            seconds, self.taken = seconds - soon, 0
        self.level = min(self.level + seconds * rate, self.most)

    def has(self, need: float) -> bool:
        """Whether a call that needs so much may be sent now."""
        if self.supply is None:
            need = min(need, self.most)
        return self.level >= need * (1 - _ENOUGH)

    def wait(self, ahead: float, need: float, now: float, factor: float) -> float:
        """Seconds until a call may be sent that needs so much, behind others who need so much together."""
        if self.supply is not None:
            missing = ahead + need - self.level
            return self.supply.wait(missing, now) if missing > 0 else 0.0
        missing = ahead + min(need, self.most) - self.level
        return missing / self.rate(now, factor) if missing > 0 else 0.0

    def take(self, amount: float) -> None:
        """Send so much."""
        self.level -= amount

    def give_back(self, amount: float) -> None:
        """So much was not sent after all; below 0, it was more than had been thought."""
        self.level += amount
        if self.supply is None:
            self.level = min(self.level, self.most)

    def told(self, left: float, limit: float | None, since: float, now: float) -> tuple[float, float]:
        """
        The provider says how much was left when a call was sent.

        Little is left below a tenth of its limit, at most two seconds' worth: then the bucket fills more slowly, so
        that others who use the same quota are met softly. It comes back in the time in which so little is gained.

        Args:
            left: Of its limit, whatever length of time that is for.
            limit: Its limit; None where it does not say.
            since: When the call was sent.
            now: The moment.

        Returns:
            What may be left now, and the share of the rate that is used.
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
