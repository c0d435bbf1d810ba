"""The queue of deadlines of one layer in one asyncio event loop, and the timer that watches its head."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its tasks are cancelled and its loop's timers used
import time
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .forks import in_child
from .tasks import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The clock of a loop, without the call of asyncio's `time` method."""
    plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if plain else loop.time


class DeadlineQueue:
    """
    The calls of one layer in one loop; the first to come is the first to be due.

    Args:
        seconds: Most seconds that each may take.
        renewal: Most seconds after the latest sign of life; None without signs of life.
        items: Whether each waits for an item.
        loop: The loop.
    """

    __slots__ = ("calls", "expired", "items", "loop", "now", "renewed", "seconds", "timer")

    def __init__(self, seconds: float, renewal: float | None, items: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        self.seconds = seconds
        self.items = items
        # Renewed waits have a queue of their own, because they are due in the order of their renewal.
        self.renewed: DeadlineQueue | None = None
        if renewal is not None:
            self.renewed = self if renewal == seconds else DeadlineQueue(renewal, renewal, items, loop)
        # By task: when the call is due (the loop's time), how many cancellations the task had when the call began, and
        # the function.
        self.calls: dict[asyncio.Task[Any], tuple[float, int, Any]] = {}
        # Calls cancelled by the timer that have not ended yet, without the due time.
        self.expired: dict[asyncio.Task[Any], tuple[int, Any]] = {}
        self.timer: asyncio.TimerHandle | None = None  # kept when a call ends: the next call needs a timer too

    def leave(self, task: asyncio.Task[Any], fn: Any) -> DeadlineQueue | None:
        """Remove a call of `fn` that is not in `calls`; returns the queue in which it timed out, if it did."""
        if task in self.expired:
            return self
        if (later := self.renewed) is None:
            return None
        # Otherwise it belongs to the call around this one.
        if (entry := later.calls.get(task)) is not None and entry[2] is fn:
            del later.calls[task]
        return later if (over := later.expired.get(task)) is not None and over[1] is fn else None

    def renew(self, task: asyncio.Task[Any]) -> None:
        """Restart the wait of a call."""
        later, (_, cancelling, fn) = self.renewed or self, self.calls.pop(task)
        if later is not self and task in later.calls:
            return  # the wait of the call around this one restarts too: both would be due at once
        if task in later.expired:  # the call around this one has timed out, and is in its clean-up
            later = self
        later.calls[task] = self.loop.time() + later.seconds, cancelling, fn
        if later.timer is None:
            later.watch()

    def watch(self) -> None:
        """Start the timer."""
        # In an empty context: the first caller's context would live as long as the timer.
        self.timer = self.loop.call_later(self.seconds, self.expire_due, context=Context())
        busy.add(self)

    def give_up(self) -> None:
        """Stop the timers, because there will be no more calls. May run in any thread, from the garbage collector."""
        for queue in (self, self.renewed):
            if queue is None or (timer := queue.timer) is None or queue.calls:
                continue
            queue.timer = None
            busy.discard(queue)
            if running_loop() is self.loop:
                timer.cancel()
            else:
                with suppress(RuntimeError):  # the loop is closed
                    self.loop.call_soon_threadsafe(timer.cancel)

    def expire_due(self) -> None:
        """Cancel the calls that are due, and set the timer for the next."""
        now = self.loop.time()
        self.timer = None
        while self.calls:
            task, (due, cancelling, fn) = next(iter(self.calls.items()))
            if due > now:
                self.timer = self.loop.call_at(due, self.expire_due, context=Context())
                return
            del self.calls[task]
            self.expired[task] = cancelling, fn
            task.cancel()
        busy.discard(self)


busy: set[DeadlineQueue] = set()  # those with a timer running
in_child(busy.clear)


def forget(_queue: DeadlineQueue) -> None:
    """Forget all queues of closed loops, in which no deadline can pass any more."""
    busy.difference_update([each for each in list(busy) if each.loop.is_closed()])
