"""
Timed actions in an asyncio loop, with one timer of the loop for all of them.

A timer of the loop for each call would cost ten bare awaits, and a call that ends in time, as nearly all do, would
leave a cancelled timer behind. Here it leaves a triple in a heap, until its time comes or the heap is too large.
"""

from __future__ import annotations

from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Protocol

from .deadline_queue import clock_of
from .per_loop import PerLoop

if TYPE_CHECKING:
    import asyncio  # noqa: TID251 - for its types
    from collections.abc import Callable

_LEAST = 64  # a heap is not cleaned up below so many entries


class TimedAction(Protocol):
    """A timed action."""

    @property
    def is_needed(self) -> bool:
        """Whether it is still needed."""
        ...

    def happen(self) -> None:
        """Do it, because its time has come. Called by the loop, outside all tasks."""


class TimedActions:
    """
    The timed actions of one loop.

    Args:
        loop: The loop.

    Attributes:
        now: The loop's clock.
    """

    __slots__ = ("_heap", "_most", "_timer", "_timer_ends", "loop", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        # The id of an object orders actions of the same time. It is unique, because the heap keeps the objects alive.
        self._heap: list[tuple[float, int, TimedAction]] = []
        self._most = _LEAST
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ends = 0.0

    def add(self, when: float, action: TimedAction) -> None:
        """Add an action at a time of the loop's clock."""
        heap = self._heap
        heappush(heap, (when, id(action), action))
        if self._timer is None or when < self._timer_ends:
            self._watch(when)
        elif len(heap) > self._most:
            heap[:] = [each for each in heap if each[2].is_needed]
            heapify(heap)
            self._most = max(_LEAST, 2 * len(heap))

    def _watch(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ends = when
        # In an empty context: the first caller's context would live as long as the timer.
        self._timer = self.loop.call_at(when, self._look, context=Context())

    def _look(self) -> None:
        heap, now = self._heap, self.loop.time()
        self._timer = None
        try:
            while heap and (heap[0][0] <= now or not heap[0][2].is_needed):
                action = heappop(heap)[2]
                if action.is_needed:
                    action.happen()
        finally:
            if heap:
                self._watch(heap[0][0])


_all: PerLoop[TimedActions] = PerLoop(TimedActions)


def timed_actions_of(loop: Any) -> TimedActions:
    """The timed actions of a running loop."""
    latest = _all.latest
    return latest if latest is not None and latest.loop is loop else _all.of(loop)
