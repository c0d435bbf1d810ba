"""How long answers take, so that no caller waits until too little time is left for its answer."""

from __future__ import annotations


class AnswerTime:
    """
    The mean answer time and its mean deviation, kept as TCP keeps them for its timeout (RFC 6298).

    Attributes:
        slow: Seconds that an unusually slow answer takes; 0 before the first.
    """

    __slots__ = ("_mean", "_spread", "slow")

    def __init__(self) -> None:
        self._mean = self._spread = self.slow = 0.0

    def add(self, seconds: float) -> None:
        """Take in an answer that took so many seconds."""
        if self.slow == 0:
            self._mean, self._spread = seconds, seconds / 2
        else:
            self._spread += (abs(seconds - self._mean) - self._spread) / 4
            self._mean += (seconds - self._mean) / 8
        self.slow = self._mean + 4 * self._spread
