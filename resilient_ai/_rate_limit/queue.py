"""Callers who wait for the quota, in order of arrival, and what they need together."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai._core.event_loops import LoopUsage


class Waiter:
    """
    One caller who waits. The gate's own subclass knows how to wake its task.

    Attributes:
        tokens: That its call needs.
        ends: When the caller will wait no longer.
        usage: The event loop in which it waits.
    """

    __slots__ = ("ends", "tokens", "usage")

    def __init__(self, tokens: float, ends: float, usage: LoopUsage) -> None:
        self.tokens = tokens
        self.ends = ends
        self.usage = usage


class WaitQueue:
    """
    First come, first served.

    Attributes:
        tokens: That all who wait need together.
    """

    __slots__ = ("_waiters", "tokens")

    def __init__(self) -> None:
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.tokens = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters)

    @property
    def first(self) -> Waiter | None:
        """Whose turn it is."""
        return next(iter(self._waiters), None)

    def join(self, waiter: Waiter) -> None:
        """Wait behind all others."""
        self._waiters[waiter] = None
        self.tokens += waiter.tokens

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer, served or not; leaving twice changes nothing."""
        if waiter in self._waiters:
            del self._waiters[waiter]
            # Exactly 0 for nobody: sums of floats drift.
            self.tokens = self.tokens - waiter.tokens if self._waiters else 0.0

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """The tasks of a closed loop wait no longer."""
        for waiter in [each for each in self._waiters if each.usage is usage]:
            self.leave(waiter)
