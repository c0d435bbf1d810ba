"""Sliding windows of outcomes: the last n calls, or the calls of the last n seconds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

_SLICES = 10_000  # most counts in a window of seconds, which bounds its memory
TICK = 1e-6  # seconds; sums of floats for the same moment differ by less


class Window(ABC):
    """
    A sliding window. Adding takes O(1) time; every outcome leaves once.

    Attributes:
        calls: Outcomes inside.
        failures: Failures among them.
        slow: Slow calls among them.
        most: Most outcomes that it can hold; inf if unlimited.
    """

    __slots__ = ("calls", "failures", "most", "slow")

    def __init__(self, most: float) -> None:
        self.most = most
        self.clear()

    def clear(self) -> None:
        """Remove all outcomes."""
        self.calls = self.failures = self.slow = 0

    @abstractmethod
    def add(self, now: float, failed: bool, slow: bool) -> None:
        """Add one outcome."""

    @abstractmethod
    def forget(self, now: float) -> None:
        """Remove outcomes that are too old."""


class CallsWindow(Window):
    """The last so many calls, one byte each."""

    __slots__ = ("_next", "_ring")

    def __init__(self, calls: int) -> None:
        super().__init__(calls)

    def clear(self) -> None:
        super().clear()
        self._ring = bytearray()
        self._next = 0  # position of the oldest outcome, when the ring is full

    def add(self, now: float, failed: bool, slow: bool) -> None:  # noqa: ARG002 - age does not matter here
        ring, outcome = self._ring, failed | slow << 1
        self.failures += failed
        self.slow += slow
        if self.calls < self.most:
            self.calls += 1
            ring.append(outcome)
            return
        oldest = ring[self._next]
        self.failures -= oldest & 1
        self.slow -= oldest >> 1
        ring[self._next] = outcome
        self._next = (self._next + 1) % self.calls

    def forget(self, now: float) -> None:
        """Does nothing: only newer calls replace older ones."""


class SecondsWindow(Window):
    """
    The calls of the last so many seconds; a call of exactly that age no longer counts.

    Outcomes less than a ten-thousandth of the window apart leave together, with the first of them.
    """

    __slots__ = ("_seconds", "_slice_seconds", "_slices")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._slice_seconds = seconds / _SLICES
        super().__init__(math.inf)

    def clear(self) -> None:
        super().clear()
        self._slices: deque[_Slice] = deque()

    def add(self, now: float, failed: bool, slow: bool) -> None:
        self.forget(now)
        self.calls += 1
        self.failures += failed
        self.slow += slow
        latest = self._slices[-1] if self._slices else None
        if latest is not None and now - latest.when < self._slice_seconds:
            latest.calls += 1
            latest.failures += failed
            latest.slow += slow
        else:
            self._slices.append(_Slice(now, failed, slow))

    def forget(self, now: float) -> None:
        oldest = now - self._seconds + TICK
        while self._slices and self._slices[0].when <= oldest:
            gone = self._slices.popleft()
            self.calls -= gone.calls
            self.failures -= gone.failures
            self.slow -= gone.slow


class _Slice:
    __slots__ = ("calls", "failures", "slow", "when")

    def __init__(self, when: float, failed: bool, slow: bool) -> None:
        self.when = when
        self.calls = 1
        self.failures = int(failed)
        self.slow = int(slow)
