"""Callers that wait for the quota, in order of arrival, and the tokens they need together."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai._core.event_loops import LoopUsage


class Waiter:
    """
    One waiting caller. The gate has a subclass that can wake its task.

    Attributes:
        tokens: Tokens that its call needs.
        ends: When the caller stops waiting, in monotonic seconds.
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
        tokens: Tokens that all waiting callers need together.
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
        """The waiter whose turn it is; None if nobody waits."""
        return next(iter(self._waiters), None)

    def join(self, waiter: Waiter) -> None:
        """Add a waiter at the end."""
        self._waiters[waiter] = None
        self.tokens += waiter.tokens

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter, served or not; a second time changes nothing."""
        if waiter in self._waiters:
            del self._waiters[waiter]
            # Exactly 0 for an empty queue: sums of floats drift.
            self.tokens = self.tokens - waiter.tokens if self._waiters else 0.0

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Remove the waiters of a closed loop."""
        for waiter in [each for each in self._waiters if each.usage is usage]:
            self.leave(waiter)
