"""Outcomes of the recent past, counted exactly: the last n calls, or the calls of the last n seconds."""

from __future__ import annotations

from collections import deque

_MOST_CALLS = 10_000  # a busier window of seconds keeps this many of its latest calls, so that memory has a bound


class Window:
    """
    A sliding window. Adding is O(1); every outcome leaves once.

    Args:
        seconds: Age at which an outcome is forgotten; one exactly this old is out. Not used with `calls`.
        calls: Remember so many outcomes instead.
    """

    __slots__ = ("_outcomes", "_seconds", "calls", "failures", "most", "slow")

    def __init__(self, *, seconds: float, calls: int | None = None) -> None:
        self._seconds = None if calls is not None else seconds
        self.most = calls if calls is not None else _MOST_CALLS
        self.clear()

    def clear(self) -> None:
        self._outcomes: deque[tuple[float, bool, bool]] = deque()
        self.calls = self.failures = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Remember one outcome."""
        self.forget(now)
        self._outcomes.append((now, failed, slow))
        self.calls += 1
        self.failures += failed
        self.slow += slow
        if self.calls > self.most:
            self._drop()

    def forget(self, now: float) -> None:
        """Let go of what is too old."""
        if self._seconds is not None:
            oldest = now - self._seconds
            while self._outcomes and self._outcomes[0][0] <= oldest:
                self._drop()

    def _drop(self) -> None:
        _, failed, slow = self._outcomes.popleft()
        self.calls -= 1
        self.failures -= failed
        self.slow -= slow
