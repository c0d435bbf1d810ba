"""
The batches of one event loop: which item waits in which batch, when a batch may start, and who still waits for it.

Pure state: no await, no clock, no lock. Waiters are opaque and hashable. A `BatchQueue` is used by one loop only; its
`Counters` hold plain numbers that other threads may read.

A batch is FILLING until it is full or its `batch_timeout` is over; READY while `max_concurrency` other batches run;
then RUNNING, then ENDED. A READY batch takes more items until it is full, so that batches grow under load.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable
from enum import Enum
from typing import Any

from .config import BatchConfig
from .counters import Counters


class Phase(Enum):
    FILLING = "filling"
    READY = "ready"
    RUNNING = "running"
    ENDED = "ended"


FILLING, READY, RUNNING, ENDED = Phase


class Batch:
    """
    Items that are sent together.

    Attributes:
        queue: The queue of its loop.
        group: Items of equal groups share batches.
        since: When its first item came, in monotonic seconds.
        due: When it may start although it is not full, in monotonic seconds.
        items: The item of each waiter, in order of arrival. A waiter that leaves or has its outcome is removed, also
            while the batch runs.
        phase: Its phase, see above.
        sent: Number of items that it started with.
        weight: Total weight of its items.
        weights: Weight of each waiter's item, if there is a `max_weight`.
        awaited: The batches and full queues that calls from inside this batch wait for, with the number of calls.
        takes_slot: Whether it counts against `max_concurrency`: there was a bound when it started.
        run: What the runner needs to run the batch; opaque here.
    """

    __slots__ = (
        "awaited",
        "due",
        "group",
        "items",
        "phase",
        "queue",
        "run",
        "sent",
        "since",
        "takes_slot",
        "weight",
        "weights",
    )

    def __init__(self, queue: BatchQueue, group: Hashable, now: float, due: float) -> None:
        self.queue = queue
        self.group = group
        self.since = now
        self.due = due
        self.items: dict[Any, Any] = {}
        self.phase = FILLING
        self.sent = 0
        self.weight = 0.0
        self.weights: dict[Any, float] = {}
        self.awaited: dict[Batch | BatchQueue, int] | None = None
        self.takes_slot = False
        self.run: Any = None


class BatchQueue:
    """
    The batches of one event loop.

    Args:
        config: The settings.
        counters: The counters of this loop.

    Attributes:
        running: Batches that were sent and have not ended.
        started: Batches that have started since the caller emptied this list; every method may append to it.
    """

    __slots__ = (
        "_config",
        "_open",
        "_ready",
        "_room_for_fast",
        "_slots_taken",
        "_waiters",
        "counters",
        "running",
        "started",
    )

    def __init__(self, config: BatchConfig, counters: Counters) -> None:
        self.reconfigure(config)
        self.counters = counters
        self._open: dict[Hashable, Batch] = {}
        self._ready: dict[Hashable, deque[Batch]] = {}  # groups in the order of their turn
        self._waiters: OrderedDict[Any, None] = OrderedDict()  # callers that wait for room, first come first
        self.running: set[Batch] = set()
        self._slots_taken = 0  # by batches that started while there was a bound
        self.started: list[Batch] = []

    def reconfigure(self, config: BatchConfig) -> None:
        """Use other settings from now on. May be called from any thread."""
        self._config = config
        self._room_for_fast = config.batch_size - 1 if config.max_weight is None else 0

    def add_fast(self, group: Hashable, value: Any, waiter: Any) -> Batch | None:
        """`add` for the usual item, which joins an open batch and does not fill it. None: call `add`."""
        batch = self._open.get(group)
        if batch is None:
            return None
        items, counters = batch.items, self.counters
        if len(items) >= self._room_for_fast or counters.waiting >= self._config.max_queue_size:
            return None
        items[waiter] = value
        counters.waiting += 1
        return batch

    def add(self, group: Hashable, value: Any, waiter: Any, now: float, weight: float = 0.0) -> Batch | None:
        """
        Put an item into the open batch of its group.

        Args:
            group: Items of equal groups share batches.
            value: The item.
            waiter: The caller that waits for its result.
            now: Monotonic seconds.
            weight: Weight of the item, which counts against `max_weight`.

        Returns:
            The batch; None when `max_queue_size` items wait. Then the caller may call `wait_for_room`.
        """
        config, counters = self._config, self.counters
        if counters.waiting >= config.max_queue_size:
            return None
        most = config.max_weight
        batch = self._open.get(group)
        if batch is not None and most is not None and batch.weight + weight > most:
            self._close(batch, now)
            batch = None
        if batch is None:
            batch = self._open[group] = Batch(self, group, now, now + config.batch_timeout)
        batch.items[waiter] = value
        counters.waiting += 1
        if most is not None:
            batch.weights[waiter] = weight
            batch.weight += weight
        if len(batch.items) >= config.batch_size or (most is not None and batch.weight >= most):
            self._close(batch, now)
        return batch

    def wait_for_room(self, waiter: Any) -> None:
        """Let a caller wait for room, behind those that came before it."""
        self._waiters[waiter] = None
        self.counters.waiting_for_room += 1

    def first_with_room(self) -> Any | None:
        """The caller that has waited for room the longest; None if there is no room or nobody waits."""
        if not self._waiters or self.counters.waiting >= self._config.max_queue_size:
            return None
        return next(iter(self._waiters))

    def let_in(self, waiter: Any) -> None:
        """Take a caller out of those that wait for room: it adds its item now."""
        del self._waiters[waiter]
        self.counters.waiting_for_room -= 1

    def stop_waiting(self, waiter: Any) -> None:
        """A caller leaves; does nothing if it does not wait for room any more."""
        if waiter in self._waiters:
            self.let_in(waiter)
            self.counters.left += 1
            self.counters.unsent += 1

    def time_is_over(self, batch: Batch, now: float) -> None:
        """The `batch_timeout` of a batch is over: it starts, or takes more items until it can."""
        if batch.phase is FILLING:
            self._start_or_wait(batch, now)

    def leave(self, batch: Batch, waiter: Any) -> bool:
        """
        A caller leaves. Its item is not sent if that has not happened yet.

        Returns:
            Whether this caller was the last one of the batch. Then the batch has to end.
        """
        if waiter not in batch.items:
            return False
        del batch.items[waiter]
        self.counters.left += 1
        if batch.phase in (FILLING, READY):
            self.counters.waiting -= 1
            self.counters.unsent += 1
            batch.weight -= batch.weights.pop(waiter, 0.0)
            if not batch.items:
                self._drop(batch)
        return not batch.items

    def settle(self, batch: Batch, waiters: Collection[Any], *, failed: bool = False) -> None:
        """Note that these waiters have their outcome; they cannot leave any more."""
        items = batch.items
        before = len(items)
        if len(waiters) == batch.sent:
            items.clear()  # these are all waiters that it was sent with
        else:
            for waiter in waiters:
                items.pop(waiter, None)
        if failed:
            self.counters.failed += before - len(items)
        else:
            self.counters.answered += before - len(items)

    def finish(self, batch: Batch, now: float) -> list[Any]:
        """
        A batch has ended, well or not; the next one may start.

        Returns:
            Waiters without an outcome.
        """
        if batch.phase is RUNNING:
            batch.phase = ENDED
            self.running.discard(batch)
            self._slots_taken -= batch.takes_slot
            self.counters.running -= 1
            self._start_next(now)
        elif batch.phase is not ENDED:
            self.counters.waiting -= len(batch.items)
            self.counters.unsent += len(batch.items)
            self._drop(batch)
        else:
            return []
        return list(batch.items)

    @property
    def is_busy(self) -> bool:
        """Whether `max_concurrency` batches run."""
        limit = self._config.max_concurrency
        return limit is not None and self._slots_taken >= limit

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not (self._open or self._ready or self.running or self._waiters)

    def _close(self, batch: Batch, now: float) -> None:
        """Let a batch take no more items."""
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        if batch.phase is FILLING:
            self._start_or_wait(batch, now)

    def _start_or_wait(self, batch: Batch, now: float) -> None:
        if not self.is_busy:
            self._start(batch, now)
        else:
            batch.phase = READY
            self._ready.setdefault(batch.group, deque()).append(batch)

    def _start_next(self, now: float) -> None:
        """While a slot is free, start the oldest batch of the first group, and move that group to the back."""
        while self._ready and not self.is_busy:  # several slots are free if the bound was raised meanwhile
            group = next(iter(self._ready))
            batches = self._ready.pop(group)
            batch = batches.popleft()
            if batches:
                self._ready[group] = batches
            self._start(batch, now)

    def _start(self, batch: Batch, now: float) -> None:
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        batch.phase = RUNNING
        batch.takes_slot = self._config.max_concurrency is not None
        self._slots_taken += batch.takes_slot
        self.running.add(batch)
        counters, count = self.counters, len(batch.items)
        batch.sent = count
        counters.running += 1
        counters.batches += 1
        counters.items += count
        counters.waiting -= count
        counters.waited(now - batch.since)
        self.started.append(batch)

    def _drop(self, batch: Batch) -> None:
        """Remove a batch that has not started from the queue."""
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        if batch.phase is READY:
            batches = self._ready[batch.group]
            batches.remove(batch)
            if not batches:
                del self._ready[batch.group]
        batch.phase = ENDED
