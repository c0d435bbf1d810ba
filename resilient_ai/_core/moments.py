"""
Moments at which something is to happen in a loop of asyncio, with one timer of the loop's for all of them.

A timer of the loop for each call would take ten bare awaits, and a call that ends in time, as nearly all do, would
leave a cancelled one behind. Here it leaves a triple in a heap, until its moment comes or the heap is too large.
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

_LEAST = 64  # entries of a heap that are kept in any case


class Awaited(Protocol):
    """Something that is to happen."""

    @property
    def is_due(self) -> bool:
        """Whether it has not become needless meanwhile."""
        ...

    def happen(self) -> None:
        """Its moment has come. Called by the loop, in no task."""


class Moments:
    """
    Those of one loop.

    Args:
        loop: The loop.

    Attributes:
        now: The loop's clock.
    """

    __slots__ = ("_heap", "_most", "_timer", "_timer_ends", "loop", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        # The number of an object tells those of one moment apart; both are in the heap, so that no number comes twice.
        self._heap: list[tuple[float, int, Awaited]] = []
        self._most = _LEAST
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ends = 0.0

    def add(self, moment: float, awaited: Awaited) -> None:
        """Let something happen at a moment of the loop's clock."""
        heap = self._heap
        heappush(heap, (moment, id(awaited), awaited))
        if self._timer is None or moment < self._timer_ends:
            self._watch(moment)
        elif len(heap) > self._most:
            heap[:] = [each for each in heap if each[2].is_due]
            heapify(heap)
            self._most = max(_LEAST, 2 * len(heap))

    def _watch(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ends = moment
        # In a context of its own: that of the first caller would live as long as the timer.
        self._timer = self.loop.call_at(moment, self._look, context=Context())

    def _look(self) -> None:
        heap, now = self._heap, self.loop.time()
        self._timer = None
        try:
            while heap and (heap[0][0] <= now or not heap[0][2].is_due):
                awaited = heappop(heap)[2]
                if awaited.is_due:
                    awaited.happen()
        finally:
            if heap:
                self._watch(heap[0][0])


_all: PerLoop[Moments] = PerLoop(Moments)


def moments_of(loop: Any) -> Moments:
    """Those of a running loop."""
    latest = _all.latest
    return latest if latest is not None and latest.loop is loop else _all.of(loop)
