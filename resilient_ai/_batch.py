"""
Batches of one event loop: which item waits in which batch, when a batch may leave, and who still waits for it.

Pure state: no await, no clock, no lock, no waiter that belongs to a backend. A `Line` is used by one loop only; its
`Ledger` holds plain numbers that other threads may read.

A batch is FILLING until it is full or due; RIPE while it wants a place among `max_concurrency` running ones;
RUNNING; ENDED. A batch that is due but finds no place stays open for more items until it is full: under load,
batches fill themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any

from ._checks import check_number

_WAITS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Settings that call sites of one name share. Times are in seconds."""

    _: KW_ONLY
    batch_size: int = 10
    batch_timeout: float = 0.1
    max_queue_size: int = 1000
    max_concurrency: int | None = None
    max_weight: float | None = None
    deduplicate: bool = False
    bisect: bool = False

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, least=1, whole=True)
        check_number("batch_timeout", self.batch_timeout, least=0)
        check_number("max_queue_size", self.max_queue_size, least=1, whole=True)
        check_number("max_concurrency", self.max_concurrency, least=1, whole=True, optional=True)
        check_number("max_weight", self.max_weight, above=0, optional=True)


class Phase(Enum):
    FILLING = "filling"
    RIPE = "ripe"
    RUNNING = "running"
    ENDED = "ended"


FILLING, RIPE, RUNNING, ENDED = Phase


class Item:
    """One item of a batch, and whoever waits for its result; several when equal items are sent once."""

    __slots__ = ("batch", "settled", "since", "twin", "value", "waiters", "weight")

    def __init__(self, batch: Batch, value: Any, since: float, weight: float, twin: Hashable) -> None:
        self.batch = batch
        self.value = value
        self.since = since
        self.weight = weight
        self.twin = twin
        self.waiters: list[Any] = []
        self.settled = False  # its outcome is known


class Batch:
    """Items that leave together. `cargo` is the shell's: what it needs to run them."""

    __slots__ = ("awaited", "cargo", "due", "group", "items", "phase", "weight")

    def __init__(self, group: Hashable, due: float) -> None:
        self.group = group
        self.due = due
        self.items: list[Item] = []
        self.weight = 0.0
        self.phase = FILLING
        self.awaited = 0  # while running: unsettled items that somebody waits for
        self.cargo: Any = None


class Ledger:
    """The numbers of one loop. Only that loop writes them, so they are exact without a lock."""

    __slots__ = (
        "answered",
        "batches",
        "failed",
        "items",
        "left",
        "rejected",
        "requests",
        "running",
        "waiting",
        "waits",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.rejected = 0
        self.batches = 0
        self.items = 0  # in those batches
        self.answered = 0
        self.failed = 0
        self.left = 0
        self.waiting = 0
        self.running = 0
        self.waits: deque[float] = deque(maxlen=_WAITS_KEPT)  # seconds of the items sent last


class Line:
    """
    The batches of one event loop.

    Methods that let batches run append them to `started`, which the caller empties.
    """

    __slots__ = ("_config", "_open", "_ripe", "_twins", "ledger", "running", "started")

    def __init__(self, config: BatchConfig, ledger: Ledger) -> None:
        self._config = config
        self.ledger = ledger
        self._open: dict[Hashable, Batch] = {}
        self._ripe: dict[Hashable, deque[Batch]] = {}  # groups in the order of their turn
        self._twins: dict[Hashable, Item] = {}
        self.running: set[Batch] = set()
        self.started: list[Batch] = []

    def join(
        self, group: Hashable, value: Any, waiter: Any, now: float, *, weight: float = 0.0, twin: Hashable = None
    ) -> Item | None:
        """
        Put an item into the open batch of its group.

        Args:
            group: Items of equal groups share batches.
            value: The item.
            waiter: Whoever waits for its result.
            now: Monotonic seconds.
            weight: Counts against `max_weight`.
            twin: Equal for equal items of a group, when those are sent once.

        Returns:
            The item in its batch; None when the queue is full.
        """
        config, ledger = self._config, self.ledger
        if twin is not None:
            twin = group, twin
            known = self._twins.get(twin)
            if known is not None:
                ledger.requests += 1
                known.waiters.append(waiter)
                return known
        if ledger.waiting >= config.max_queue_size:
            ledger.rejected += 1
            return None
        most = config.max_weight
        batch = self._open.get(group)
        if batch is not None and most is not None and batch.weight + weight > most:
            self._close(batch, now)
            batch = None
        if batch is None:
            batch = self._open[group] = Batch(group, now + config.batch_timeout)
        item = Item(batch, value, now, weight, twin)
        item.waiters.append(waiter)
        items = batch.items
        items.append(item)
        ledger.requests += 1
        ledger.waiting += 1
        if twin is not None:
            self._twins[twin] = item
        if most is not None:
            batch.weight += weight
            if batch.weight >= most:
                self._close(batch, now)
                return item
        if len(items) >= config.batch_size:
            self._close(batch, now)
        return item

    def due(self, batch: Batch, now: float) -> None:
        """The window of a batch is over: it runs, or takes more items until there is a place for it."""
        if batch.phase is FILLING:
            self._ripen(batch, now)

    def leave(self, item: Item, waiter: Any) -> bool:
        """
        A caller goes away. What was to be sent for nobody else is not sent.

        Returns:
            True when nobody waits for the batch any more: whatever the shell does for it has to end.
        """
        if item.settled:
            return False
        item.waiters.remove(waiter)
        self.ledger.left += 1
        if item.waiters:
            return False
        batch = item.batch
        self._forget(item)  # it may not be sent, so nobody may join it any more
        if batch.phase is RUNNING:
            batch.awaited -= 1
            return not batch.awaited
        if batch.phase is ENDED:
            return False
        batch.items.remove(item)
        batch.weight -= item.weight
        self.ledger.waiting -= 1
        if batch.items:
            return False
        self._drop(batch)
        return True

    def settle(self, items: Iterable[Item], *, failed: bool = False) -> None:
        """The outcome of these items is known; nobody can join or leave them any more."""
        callers = 0
        for item in items:
            if item.waiters:
                callers += len(item.waiters)
                item.batch.awaited -= 1
            item.settled = True
            if item.twin is not None:
                self._forget(item)
        if failed:
            self.ledger.failed += callers
        else:
            self.ledger.answered += callers

    def finish(self, batch: Batch, now: float) -> list[Item]:
        """
        A batch has come to its end, whichever; the next one gets its place.

        Returns:
            Items that have no outcome although somebody waits for them.
        """
        if batch.phase is ENDED:
            return []
        for item in batch.items:
            self._forget(item)
        if batch.phase is RUNNING:
            batch.phase = ENDED
            self.running.discard(batch)
            self.ledger.running -= 1
            self._next(now)
        else:
            self.ledger.waiting -= len(batch.items)
            self._drop(batch)
        return [item for item in batch.items if item.waiters and not item.settled]

    def is_empty(self) -> bool:
        """Whether nothing waits, nothing runs, and nothing is remembered."""
        return not (self._open or self._ripe or self._twins or self.running)

    # -- inside

    def _close(self, batch: Batch, now: float) -> None:
        """No more items."""
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        if batch.phase is FILLING:
            self._ripen(batch, now)

    def _ripen(self, batch: Batch, now: float) -> None:
        limit = self._config.max_concurrency
        if limit is None or len(self.running) < limit:
            self._start(batch, now)
        else:
            batch.phase = RIPE
            self._ripe.setdefault(batch.group, deque()).append(batch)

    def _next(self, now: float) -> None:
        """One place is free: the group whose turn it is sends its oldest batch and goes to the back."""
        if self._ripe:
            group = next(iter(self._ripe))
            batches = self._ripe.pop(group)
            batch = batches.popleft()
            if batches:
                self._ripe[group] = batches
            self._start(batch, now)

    def _start(self, batch: Batch, now: float) -> None:
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        batch.phase = RUNNING
        count = batch.awaited = len(batch.items)
        self.running.add(batch)
        ledger = self.ledger
        ledger.running += 1
        ledger.batches += 1
        ledger.items += count
        ledger.waiting -= count
        ledger.waits.extend([now - item.since for item in batch.items])
        self.started.append(batch)

    def _drop(self, batch: Batch) -> None:
        """Out of every queue, without having run."""
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        if batch.phase is RIPE:
            batches = self._ripe[batch.group]
            batches.remove(batch)
            if not batches:
                del self._ripe[batch.group]
        batch.phase = ENDED

    def _forget(self, item: Item) -> None:
        if self._twins.get(item.twin) is item:
            del self._twins[item.twin]
