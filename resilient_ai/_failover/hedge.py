"""Hedging: when a second endpoint is asked because the first is slow, and how many extra calls are allowed."""

from __future__ import annotations

from collections import deque
from typing import Literal

from resilient_ai._core.quantiles import quantile

ENOUGH_SAMPLES = 20
FREE_HEDGES = 3
REMEMBERED_CALLS = 2_000


class HedgeBudget:
    """Allows extra calls up to a small share of all calls; the first few are free, so that rare calls can be hedged."""

    __slots__ = ("_calls", "_share", "_spent")

    def __init__(self, share: float) -> None:
        self._share = share
        self.clear()

    @property
    def off(self) -> bool:
        """Whether nothing is hedged at all."""
        return not self._share

    def clear(self) -> None:
        self._calls = 0.0
        self._spent = 0.0

    def change(self, share: float) -> None:
        """Use another share, also for the calls so far."""
        self._share = share

    def called(self) -> None:
        """Count one more call that could have been hedged."""
        self._calls += 1
        if self._calls > REMEMBERED_CALLS:  # halve the old counts, so that the share is that of recent calls
            self._calls /= 2
            self._spent /= 2

    def take(self) -> bool:
        """Whether one extra call may be made now; if so, it is counted."""
        if self._spent + 1 > max(float(FREE_HEDGES), self._calls * self._share) or not self._share:
            return False
        self._spent += 1
        return True

    def give_back(self) -> None:
        """Return an extra call that was not made after all."""
        self._spent -= 1


class HedgeDelay:
    """Seconds to wait for the first endpoint: given, or learned from answer times."""

    __slots__ = ("_fixed", "_known", "_learned", "_samples")

    def __init__(self, after: float | Literal["p95"] | None) -> None:
        self.change(after)
        self.clear()

    def change(self, after: float | Literal["p95"] | None) -> None:
        """Use another delay; the learned answer times stay."""
        self._fixed = None if isinstance(after, str) else float(after or 0.0)

    def clear(self) -> None:
        self._samples: deque[float] = deque(maxlen=200)
        self._known = 0
        self._learned: float | None = None

    def learn(self, seconds: float) -> None:
        """Take in the seconds that an answer of a first endpoint took, or took at least."""
        if self._fixed is None:
            self._samples.append(seconds)
            self._known += 1
            if self._known >= ENOUGH_SAMPLES and (self._learned is None or self._known % 10 == 0):
                self._learned = quantile(self._samples, 0.95)

    def seconds(self) -> float | None:
        """The delay in seconds; None while too few answers are known."""
        return self._fixed if self._fixed is not None else self._learned
