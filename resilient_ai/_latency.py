"""What is normal for a provider's answers: how long they take, and how much that varies."""

from __future__ import annotations

import math

_FULL_MEMORY = 100  # answers after which the oldest count for little
_LEARNED = 10  # answers before anything is called slow
_LEAST_RATIO = 2.0  # however regular the answers are, twice the typical time is the least that is slow


class Normal:
    """
    A running mean and deviation of the logarithm of seconds, because answers vary by factors and not by seconds.

    The estimator is that of TCP's retransmission timer (RFC 6298): a smoothed time plus a multiple of the smoothed
    absolute deviation. What lies above is slow, about 2 of 100 answers when nothing is wrong.
    """

    __slots__ = ("_deviation", "_mean", "seen", "slow_after")

    def __init__(self) -> None:
        self._mean = self._deviation = 0.0
        self.seen = 0
        self.slow_after = math.inf  # seconds

    @property
    def typical(self) -> float:
        """Seconds that a middling answer takes; 0.0 before the first."""
        return math.exp(self._mean) if self.seen else 0.0

    def add(self, seconds: float) -> None:
        """
        Learn from one answer.

        A slow one counts as just slow and a tenth of it: trouble must not become the new normal while it lasts,
        yet a provider that stays slower is believed in the end.
        """
        share = 1.0
        if seconds > self.slow_after:
            seconds, share = self.slow_after, 0.1
        value = math.log(max(seconds, 1e-6))
        if not self.seen:
            self._mean = value
        self.seen += 1
        gain = share / min(self.seen, _FULL_MEMORY)
        error = value - self._mean
        self._mean += gain * error
        self._deviation += gain * (abs(error) - self._deviation)
        if self.seen >= _LEARNED:
            # 2.5 mean absolute deviations are two standard deviations of a normal distribution.
            ratio = max(_LEAST_RATIO, math.exp(min(2.5 * self._deviation, 10.0)))
            self.slow_after = math.exp(self._mean) * ratio
