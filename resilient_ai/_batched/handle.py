"""The state of one `@batched` name: its batches in each event loop, and the numbers over all loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resilient_ai._core.per_loop import PerLoop
from resilient_ai._core.public import public
from resilient_ai._core.quantiles import quantile
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle

from .config import BatchConfig
from .counters import TotalCounters
from .loop_batches import LoopBatches
from .queue import BatchQueue


@public("types")
class BatchCounts(NamedTuple):
    """
    What a batcher has counted since it was made; `reset()` does not change it.

    Attributes:
        ok: Calls that got their result.
        failed: Calls that got an exception.
        neutral: Calls whose callers left before there was a result.
        rejected: Calls refused because the queue was full.
        batches: Batches sent.
        items: Number of items in them.
    """

    ok: int
    failed: int
    neutral: int
    rejected: int
    batches: int
    items: int


@public("types")
@dataclass(frozen=True, slots=True)
class BatchStats:
    """
    The numbers of a batcher since the last reset.

    Attributes:
        total_requests: Calls accepted.
        total_batches: Batches sent. Retries below, and the halves of `bisect`, are part of their batch.
        avg_batch_size: Items per batch sent, 0.0 without any.
        queue_size: Items that wait to be sent.
        waiting_for_room: Calls that wait for room in the queue, with `when_full="wait"`.
        in_flight: Batches that are running.
        ok: Calls that got their result.
        failed: Calls that got an exception.
        neutral: Calls whose callers were cancelled or timed out before there was a result.
        rejected: Calls refused because the queue was full.
        is_running: Whether anything waits or runs.
        wait_p50: Median seconds from a batch's first item to its sending, over the last 100 batches of each loop;
            None without any.
        wait_p95: The same as a 95th percentile: one batch in twenty waited longer.
    """

    total_requests: int
    total_batches: int
    avg_batch_size: float
    queue_size: int
    waiting_for_room: int
    in_flight: int
    ok: int
    failed: int
    neutral: int
    rejected: int
    is_running: bool
    wait_p50: float | None
    wait_p95: float | None

    @property
    def calls(self) -> int:
        """Calls that have ended."""
        return self.ok + self.failed + self.neutral


@public("types")
class Batcher(StateHandle):
    """One batcher in the registry. Thread-safe: every event loop has batches of its own, and the numbers add up."""

    def __init__(self, name: str, config: BatchConfig) -> None:
        self.name = name
        self._total = total = TotalCounters()
        self._of_new_loops = of_new_loops = [config]
        self._per_loop: PerLoop[LoopBatches] = PerLoop(
            # Neither refers to the batcher, so that a batcher is freed without the cycle collector.
            lambda loop: LoopBatches(loop, BatchQueue(of_new_loops[0], total.of_new_loop())),
            lambda batches: total.keep(batches.queue.counters),
        )

    def _reconfigure(self, config: BatchConfig) -> None:
        """Use other settings from now on; open and running batches end with the ones they began with."""
        self._of_new_loops[0] = config
        for batches in self._per_loop.live():
            batches.queue.reconfigure(config)

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._total.after_fork()

    def stats(self) -> BatchStats:
        """The current numbers."""
        count, waits = self._total.added_up(), self._total.waits()
        live = [batches.queue.counters for batches in self._per_loop.live()]
        waiting, running = sum(each.waiting for each in live), sum(each.running for each in live)
        waiting_for_room = sum(each.waiting_for_room for each in live)
        return BatchStats(
            total_requests=count["requests"],
            total_batches=count["batches"],
            avg_batch_size=count["items"] / count["batches"] if count["batches"] else 0.0,
            queue_size=waiting,
            waiting_for_room=waiting_for_room,
            in_flight=running,
            ok=count["answered"],
            failed=count["failed"],
            neutral=count["left"],
            rejected=count["rejected"],
            is_running=bool(waiting or running or waiting_for_room),
            wait_p50=quantile(waits, 0.5),
            wait_p95=quantile(waits, 0.95),
        )

    def counts(self) -> BatchCounts:
        """What it has counted since it was made; `reset()` does not change it."""
        count = self._total.of_all_time()
        return BatchCounts(
            count["answered"], count["failed"], count["left"], count["rejected"], count["batches"], count["items"]
        )

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        state = f"{stats.avg_batch_size:.1f} per batch"
        if stats.is_running:
            state += f", {stats.queue_size} waiting, {stats.in_flight} in flight"
        if stats.waiting_for_room:
            state += f", {stats.waiting_for_room} waiting for room"
        neutral = stats.neutral or None
        return Row(self.name, "batched", state, stats.calls, stats.ok, stats.failed, neutral=neutral)

    def reset(self) -> None:
        """Set the counts to zero. Batches that wait or run are not affected."""
        self._total.reset()

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Batcher {self.name!r}: {stats.total_requests} requests in {stats.total_batches} batches>"
