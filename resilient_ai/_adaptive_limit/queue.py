"""Callers that wait for a permit, in the order of their deadlines."""

from __future__ import annotations

from bisect import bisect_left, insort_right
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai._core.event_loops import LoopUsage

    from .permit import Permit


class Waiter:
    """
    One caller in the queue. The handle's own subclass knows how to wake its task.

    Attributes:
        ends: When the caller stops waiting.
        deadline: When its whole call must end.
        usage: The event loop in which it waits.
        outer: The permit of this limit that it already holds, if its call is made inside another one.
    """

    __slots__ = ("deadline", "ends", "outer", "usage")

    def __init__(self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None = None) -> None:
        self.ends = ends
        self.deadline = deadline
        self.usage = usage
        self.outer = outer


def _deadline(waiter: Waiter) -> float:
    return waiter.deadline


class WaitQueue:
    """
    The earliest deadline is served first; among equal deadlines, and without one, the caller that came first.

    So callers that allow the same time are served in the order in which they came, except those that come back from a
    failed call: they have little time left, and the others can wait longer. (EDF; Liu and Layland, JACM 20-1.)

    Attributes:
        waiters: The waiting callers, in order.
        nested: How many of them already hold a permit of the same limit.
    """

    __slots__ = ("_since", "nested", "waiters")

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.nested = 0
        self._since = NEVER  # when the first waiter joined an empty queue

    def __len__(self) -> int:
        return len(self.waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self.waiters)

    @property
    def first(self) -> Waiter | None:
        """Return the caller whose turn it is."""
        return self.waiters[0] if self.waiters else None

    def standing(self, now: float) -> float:
        """Return the seconds for which the queue has not been empty."""
        return now - self._since if self.waiters else 0.0

    def join(self, waiter: Waiter, now: float) -> None:
        """Add a caller behind all those whose deadlines are no later."""
        if not self.waiters:
            self._since = now
        insort_right(self.waiters, waiter, key=_deadline)
        self.nested += waiter.outer is not None

    def leave(self, waiter: Waiter) -> None:
        """Remove a caller, with a permit or without; a second time changes nothing."""
        place = bisect_left(self.waiters, waiter.deadline, key=_deadline)
        while place < len(self.waiters) and self.waiters[place].deadline == waiter.deadline:
            if self.waiters[place] is waiter:
                del self.waiters[place]
                self.nested -= waiter.outer is not None
                return
            place += 1

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Remove the tasks of a closed loop."""
        for waiter in [each for each in self.waiters if each.usage is usage]:
            self.leave(waiter)
