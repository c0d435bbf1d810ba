"""
Batches of one event loop: which item waits in which batch, when a batch may leave, and who still waits for it.

Pure state: no await, no clock, no lock. Waiters are opaque and hashable. A `Line` is used by one loop only; its
`Ledger` holds plain numbers that other threads may read.

A batch is FILLING until it is full or due; RIPE while it wants a place among `max_concurrency` running ones;
RUNNING; ENDED. A batch that is due but finds no place stays open for more items until it is full: under load,
batches fill themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any

from resilient_ai._core.checks import check_number

_WAITS_KEPT = 100


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


class Batch:
    """
    Items that leave together.

    `items` maps those who wait to what they wait for, in order of arrival. Whoever leaves or has an outcome is taken
    out, also while the batch runs. `cargo` is the shell's: what it needs to run the batch.
    """

    __slots__ = ("awaited", "cargo", "due", "group", "items", "line", "phase", "sent", "since", "weight", "weights")

    def __init__(self, line: Line, group: Hashable, now: float, due: float) -> None:
        self.line = line
        self.awaited: dict[Batch, int] | None = None  # by calls from inside this one, and by how many
        self.group = group
        self.since = now
        self.due = due
        self.items: dict[Any, Any] = {}
        self.phase = FILLING
        self.sent = 0  # items that it left with
        self.weight = 0.0
        self.weights: dict[Any, float] = {}
        self.cargo: Any = None

    def wait_for(self, other: Batch) -> None:
        """A call from inside this batch has joined the other."""
        if self.awaited is None:
            self.awaited = {}
        self.awaited[other] = self.awaited.get(other, 0) + 1

    def wait_no_more(self, other: Batch) -> None:
        """It has its outcome, or has left."""
        if self.awaited is not None and (times := self.awaited.pop(other, 0)) > 1:
            self.awaited[other] = times - 1

    @property
    def is_stuck(self) -> bool:
        """
        Whether it can never end, because it waits for places of batches that wait for it, along whatever way.

        Only a call from inside a batch can bring that about, by joining another one; whoever makes it asks here.
        """
        reached: dict[Batch, list[list[Batch]]] = {self: self._needs()}
        todo: list[Batch] = [self]
        while todo:
            for other in (other for group in reached[todo.pop()] for other in group):
                if other not in reached:
                    reached[other] = other._needs()
                    todo.append(other)
        # What can end, given that those which it needs can; until nothing more is found.
        ending: set[Batch] = set()
        found: list[Batch] | None = None
        while found != []:
            found = [
                batch
                for batch, needs in reached.items()
                if batch not in ending and all(any(other in ending for other in group) for group in needs)
            ]
            ending.update(found)
        return self not in ending

    def _needs(self) -> list[list[Batch]]:
        """Groups of batches, of each of which one has to end before this one can."""
        needs = [[other] for other in list(self.awaited or ()) if other.phase is not ENDED]
        if self.phase is not RUNNING and self.line.is_full:
            needs.append(list(self.line.running))
        return needs


class Ledger:
    """The numbers of one loop. Only that loop writes them, so they are exact without a lock."""

    __slots__ = (
        "answered",
        "batches",
        "failed",
        "items",
        "left",
        "rejected",
        "running",
        "shared",
        "unsent",
        "waiting",
        "waits",
    )

    def __init__(self) -> None:
        self.rejected = 0
        self.batches = 0
        self.items = 0  # in those batches
        self.unsent = 0  # items whose callers left before they were sent
        self.shared = 0  # calls for an item that another call had brought
        self.answered = 0
        self.failed = 0
        self.left = 0
        self.waiting = 0
        self.running = 0
        self.waits: deque[float] = deque(maxlen=_WAITS_KEPT)  # seconds of the batches sent last

    @property
    def requests(self) -> int:
        """Calls accepted: not counted one by one, because that would cost each of them."""
        return self.items + self.waiting + self.unsent + self.shared


class Line:
    """
    The batches of one event loop.

    Methods that let batches run append them to `started`, which the caller empties.
    """

    __slots__ = ("_config", "_open", "_ripe", "_room", "ledger", "running", "started")

    def __init__(self, config: BatchConfig, ledger: Ledger) -> None:
        self._config = config
        self._room = config.batch_size - 1 if config.max_weight is None else 0
        self.ledger = ledger
        self._open: dict[Hashable, Batch] = {}
        self._ripe: dict[Hashable, deque[Batch]] = {}  # groups in the order of their turn
        self.running: set[Batch] = set()
        self.started: list[Batch] = []

    def squeeze_in(self, group: Hashable, value: Any, waiter: Any) -> Batch | None:
        """`join` for the usual case: there is an open batch, and this item does not fill it. None: call `join`."""
        batch = self._open.get(group)
        if batch is None:
            return None
        items, ledger = batch.items, self.ledger
        if len(items) >= self._room or ledger.waiting >= self._config.max_queue_size:
            return None
        items[waiter] = value
        ledger.waiting += 1
        return batch

    def join(self, group: Hashable, value: Any, waiter: Any, now: float, weight: float = 0.0) -> Batch | None:
        """
        Put an item into the open batch of its group.

        Args:
            group: Items of equal groups share batches.
            value: The item.
            waiter: Whoever waits for its result.
            now: Monotonic seconds.
            weight: Counts against `max_weight`.

        Returns:
            The batch; None when the queue is full.
        """
        config, ledger = self._config, self.ledger
        if ledger.waiting >= config.max_queue_size:
            ledger.rejected += 1
            return None
        most = config.max_weight
        batch = self._open.get(group)
        if batch is not None and most is not None and batch.weight + weight > most:
            self._close(batch, now)
            batch = None
        if batch is None:
            batch = self._open[group] = Batch(self, group, now, now + config.batch_timeout)
        batch.items[waiter] = value
        ledger.waiting += 1
        if most is not None:
            batch.weights[waiter] = weight
            batch.weight += weight
        if len(batch.items) >= config.batch_size or (most is not None and batch.weight >= most):
            self._close(batch, now)
        return batch

    def due(self, batch: Batch, now: float) -> None:
        """The window of a batch is over: it runs, or takes more items until there is a place for it."""
        if batch.phase is FILLING:
            self._ripen(batch, now)

    def leave(self, batch: Batch, waiter: Any) -> bool:
        """
        A caller goes away. What was to be sent for it is not sent.

        Returns:
            True when nobody waits for the batch any more: whatever the shell does for it has to end.
        """
        if waiter not in batch.items:
            return False
        del batch.items[waiter]
        self.ledger.left += 1
        if batch.phase in (FILLING, RIPE):
            self.ledger.waiting -= 1
            self.ledger.unsent += 1
            batch.weight -= batch.weights.pop(waiter, 0.0)
            if not batch.items:
                self._drop(batch)
        return not batch.items

    def settle(self, batch: Batch, waiters: Collection[Any], *, failed: bool = False) -> None:
        """These have their outcome; they cannot leave any more."""
        items = batch.items
        before = len(items)
        if len(waiters) == batch.sent:
            items.clear()  # they are all that it left with
        else:
            for waiter in waiters:
                items.pop(waiter, None)
        if failed:
            self.ledger.failed += before - len(items)
        else:
            self.ledger.answered += before - len(items)

    def finish(self, batch: Batch, now: float) -> list[Any]:
        """
        A batch has come to its end, whichever; the next one gets its place.

        Returns:
            Those who wait for an outcome still.
        """
        if batch.phase is RUNNING:
            batch.phase = ENDED
            self.running.discard(batch)
            self.ledger.running -= 1
            self._next(now)
        elif batch.phase is not ENDED:
            self.ledger.waiting -= len(batch.items)
            self.ledger.unsent += len(batch.items)
            self._drop(batch)
        else:
            return []
        return list(batch.items)

    @property
    def is_full(self) -> bool:
        """Whether as many batches run as may."""
        limit = self._config.max_concurrency
        return limit is not None and len(self.running) >= limit

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not (self._open or self._ripe or self.running)

    # -- inside

    def _close(self, batch: Batch, now: float) -> None:
        """No more items."""
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        if batch.phase is FILLING:
            self._ripen(batch, now)

    def _ripen(self, batch: Batch, now: float) -> None:
        if not self.is_full:
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
        self.running.add(batch)
        ledger, count = self.ledger, len(batch.items)
        batch.sent = count
        ledger.running += 1
        ledger.batches += 1
        ledger.items += count
        ledger.waiting -= count
        ledger.waits.append(now - batch.since)
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
