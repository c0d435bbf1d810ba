"""The state of one `@batched` name: a lane for every event loop that calls, and the numbers of all of them."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._core.public import public
from resilient_ai._core.quantiles import quantile
from resilient_ai._core.report import Row
from resilient_ai._core.tasks import Promise, is_closed, promise_class

from .queue import Batch, BatchConfig, Ledger, Line
from .results import Failure

if TYPE_CHECKING:
    from collections.abc import Hashable


@public("types")
@dataclass(frozen=True, slots=True)
class BatchStats:
    """
    What a batcher has seen.

    Attributes:
        total_requests: Calls accepted.
        total_batches: Batches sent. Retries below, and the halves of `bisect`, are part of their batch.
        avg_batch_size: Items per batch sent, 0.0 without any.
        queue_size: Items that wait to be sent.
        in_flight: Batches that run now.
        answered: Calls that got their result.
        failed: Calls that got an exception.
        left: Calls whose callers were cancelled or timed out before there was a result.
        rejected: Calls refused because the queue was full.
        is_running: Whether anything waits or runs.
        wait_p50: Seconds from a batch's first item to its leaving, of the last 100 batches of each loop; None
            without any.
        wait_p95: Same; one batch in twenty waited longer.
    """

    total_requests: int
    total_batches: int
    avg_batch_size: float
    queue_size: int
    in_flight: int
    answered: int
    failed: int
    left: int
    rejected: int
    is_running: bool
    wait_p50: float | None
    wait_p95: float | None


class Lane:
    """One loop's batches, and how that loop makes promises. It does not keep the loop alive."""

    __slots__ = ("__weakref__", "crowds", "line", "loop", "promise")

    def __init__(self, loop: Any, line: Line) -> None:
        self.loop = weakref.ref(loop)
        self.line = line
        self.promise = promise_class(loop)
        self.crowds: dict[Hashable, Crowd] = {}  # by group and item, when equal items are sent once

    def leave(self, batch: Batch, crowd: Crowd, promise: Promise) -> bool:
        """`Line.leave` for one of a crowd: the item goes with the last."""
        if promise not in crowd.promises:
            return False
        if len(crowd.promises) > 1:
            crowd.promises.remove(promise)
            self.line.ledger.left += 1
            return False
        del self.crowds[crowd.twin]
        crowd.promises.clear()
        return self.line.leave(batch, crowd)

    def is_closed(self) -> bool:
        loop = self.loop()
        return loop is None or is_closed(loop)


class Crowd:
    """Callers that wait for one item; to its batch they are one."""

    __slots__ = ("batch", "lane", "promises", "twin")

    def __init__(self, lane: Lane, twin: Hashable, first: Promise) -> None:
        self.lane = lane
        self.twin = twin
        self.promises = [first]
        self.batch: Batch

    def done(self) -> bool:
        return not self.promises

    def set_result(self, result: Any, /) -> None:
        promises, ledger = self.promises[:], self.lane.line.ledger
        del self.lane.crowds[self.twin]
        self.promises.clear()
        others = len(promises) - 1  # the batch has counted one
        if type(result) is Failure:
            ledger.failed += others
            result = Failure(result.error, shared=result.shared or others > 0)
        else:
            ledger.answered += others
        for promise in promises:
            if not promise.done():
                promise.set_result(result)


_COUNTS = ("requests", "rejected", "batches", "items", "answered", "failed", "left")


@public("types")
class Batcher:
    """One batcher in the registry. Thread-safe: every loop has its own lane, numbers add up."""

    def __init__(self, name: str, config: BatchConfig) -> None:
        self.name = name
        self._config = config
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`
        self._lanes: weakref.WeakKeyDictionary[Any, Lane] = weakref.WeakKeyDictionary()
        self._ledgers: list[tuple[weakref.ref[Any], Ledger]] = []  # of loops that may still run
        self._past = dict.fromkeys(_COUNTS, 0)  # of loops that are gone, minus what was before a reset
        self.recent: Lane | None = None  # of the call before

    def lane(self, loop: Any) -> Lane:
        """The lane of a running loop."""
        lane = self.recent
        if lane is None or lane.loop() is not loop:
            with self._lock:
                lane = self._lanes.get(loop) or self._open_lane(loop)
            self.recent = lane
        return lane

    def _open_lane(self, loop: Any) -> Lane:
        # A closed loop with callers waiting would live on in their futures. Its callers are gone for good.
        for each in [each for each in self._lanes if is_closed(each)]:
            del self._lanes[each]
        for ref, ledger in self._ledgers[:]:
            known = ref()
            if known is None or is_closed(known):
                self._ledgers.remove((ref, ledger))
                for name in _COUNTS:
                    self._past[name] += getattr(ledger, name)
        ledger = Ledger()
        self._ledgers.append((weakref.ref(loop), ledger))
        lane = self._lanes[loop] = Lane(loop, Line(self._config, ledger))
        return lane

    def stats(self) -> BatchStats:
        """The numbers of this moment."""
        with self._lock:
            count = {
                name: self._past[name] + sum(getattr(ledger, name) for _, ledger in self._ledgers) for name in _COUNTS
            }
            live = [ledger for ref, ledger in self._ledgers if (loop := ref()) is not None and not is_closed(loop)]
            waits = [wait for _, ledger in self._ledgers for wait in ledger.waits.copy()]
        waiting, running = sum(each.waiting for each in live), sum(each.running for each in live)
        return BatchStats(
            total_requests=count["requests"],
            total_batches=count["batches"],
            avg_batch_size=count["items"] / count["batches"] if count["batches"] else 0.0,
            queue_size=waiting,
            in_flight=running,
            answered=count["answered"],
            failed=count["failed"],
            left=count["left"],
            rejected=count["rejected"],
            is_running=bool(waiting or running),
            wait_p50=quantile(waits, 0.5),
            wait_p95=quantile(waits, 0.95),
        )

    def row(self) -> Row:
        stats = self.stats()
        state = f"{stats.avg_batch_size:.1f} per batch"
        if stats.is_running:
            state += f", {stats.queue_size} waiting, {stats.in_flight} in flight"
        return Row(self.name, "batched", state, stats.total_requests, stats.answered, stats.failed, p95=stats.wait_p95)

    def reset(self) -> None:
        """Counts at zero. What waits or runs goes on."""
        with self._lock:
            # Only its own loop writes a ledger, so what it has counted is taken off here.
            for name in _COUNTS:
                self._past[name] = -sum(getattr(ledger, name) for _, ledger in self._ledgers)
            for _, ledger in self._ledgers:
                ledger.waits.clear()

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Batcher {self.name!r}: {stats.total_requests} requests in {stats.total_batches} batches>"
