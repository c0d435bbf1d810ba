"""Callers that wait for a permit, in order of arrival."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai._core.event_loops import LoopUsage

    from .permit import Permit


class Waiter:
    """
    One caller in the queue. The handle's own subclass knows how to wake its task.

    Attributes:
        ends: When the caller will wait no longer.
        deadline: When its whole call must be over.
        usage: The event loop in which it waits.
        outer: The permit of this limit that it holds already, when its call is made inside another one.
    """

    __slots__ = ("deadline", "ends", "outer", "usage")

    def __init__(self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None = None) -> None:
        self.ends = ends
        self.deadline = deadline
        self.usage = usage
        self.outer = outer


class WaitQueue:
    """
    First come, first served.

    Attributes:
        waiters: Those who wait, in order. An ordered dict, because the first and any other may leave.
        nested: How many of them hold a permit of the same limit.
    """

    __slots__ = ("_since", "nested", "waiters")

    def __init__(self) -> None:
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.nested = 0
        self._since = -math.inf  # when the first waiter joined an empty queue

    def __len__(self) -> int:
        return len(self.waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self.waiters)

    @property
    def first(self) -> Waiter | None:
        """Whose turn it is."""
        return next(iter(self.waiters), None)

    def standing(self, now: float) -> float:
        """Seconds for which the queue has not been empty."""
        return now - self._since if self.waiters else 0.0

    def join(self, waiter: Waiter, now: float) -> None:
        """Wait behind all others."""
        if not self.waiters:
            self._since = now
        self.waiters[waiter] = None
        self.nested += waiter.outer is not None

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer, with a permit or without; leaving twice changes nothing."""
        if waiter in self.waiters:
            del self.waiters[waiter]
            self.nested -= waiter.outer is not None

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """The tasks of a closed loop wait no longer."""
        for waiter in [each for each in self.waiters if each.usage is usage]:
            self.leave(waiter)
