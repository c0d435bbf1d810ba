"""What a batcher counts: separately for each event loop, and added up over all loops."""

from __future__ import annotations

import threading

_WAITS_KEPT = 100
_ADDED_UP = ("requests", "rejected", "batches", "items", "answered", "failed", "left")


class Counters:
    """The counters of one event loop. Only that loop writes them, so they are exact without a lock."""

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
        "waiting_for_room",
        "waits",
    )

    def __init__(self) -> None:
        self.rejected = 0
        self.batches = 0  # sent
        self.items = 0  # in the batches sent
        self.unsent = 0  # items whose callers left before they were sent
        self.shared = 0  # calls for an item that another call had already added
        self.answered = 0
        self.failed = 0
        self.left = 0
        self.waiting_for_room = 0  # callers that wait for room in the queue
        self.waiting = 0  # items in batches that have not been sent yet
        self.running = 0  # batches
        self.waits: list[float] = []  # ring buffer: for the latest batches, seconds from first item to sending

    def waited(self, seconds: float) -> None:
        """
        Record how long a batch that is sent now has waited.

        Other threads may read meanwhile: a list can be copied at any moment, a deque only with a GIL.
        """
        waits = self.waits  # read once: `reset` replaces the list
        if len(waits) < _WAITS_KEPT:
            waits.append(seconds)
        else:
            waits[self.batches % _WAITS_KEPT] = seconds

    @property
    def requests(self) -> int:
        """Calls accepted. Computed, because counting them one by one would cost time in every call."""
        return self.items + self.waiting + self.waiting_for_room + self.unsent + self.shared


class TotalCounters:
    """The counters of all event loops that have called. Thread-safe."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may read the registry while its own thread holds the lock.
        self._lock = threading.RLock()
        self._by_loop: list[Counters] = []  # counters of loops that may still run
        self._past: dict[str, int] = dict.fromkeys(_ADDED_UP, 0)  # totals of loops that have ended
        self._before_reset: dict[str, int] = dict.fromkeys(_ADDED_UP, 0)

    def after_fork(self) -> None:
        """In a forked child: a free lock. Batches in flight belong to loops of the parent."""
        self._lock = threading.RLock()

    def of_new_loop(self) -> Counters:
        """Make the counters of a new loop."""
        counters = Counters()
        with self._lock:
            self._by_loop.append(counters)
        return counters

    def keep(self, counters: Counters) -> None:
        """Keep only the totals of a loop that has ended."""
        with self._lock:
            self._by_loop.remove(counters)
            for name in _ADDED_UP:
                self._past[name] += getattr(counters, name)

    def added_up(self) -> dict[str, int]:
        """The totals over all loops, since the last reset."""
        with self._lock:
            return {name: number - self._before_reset[name] for name, number in self.of_all_time().items()}

    def of_all_time(self) -> dict[str, int]:
        """The totals over all loops since the batcher was made; `reset` does not change them."""
        with self._lock:
            return {name: self._past[name] + self._sum(name) for name in _ADDED_UP}

    def waits(self) -> list[float]:
        """Seconds from first item to sending, for the latest batches of each loop."""
        with self._lock:
            return [seconds for counters in self._by_loop for seconds in counters.waits]

    def reset(self) -> None:
        """Start again from zero."""
        with self._lock:
            self._before_reset = self.of_all_time()  # only its loop writes to a counter
            for counters in self._by_loop:
                counters.waits = []

    def _sum(self, name: str) -> int:
        return sum(getattr(counters, name) for counters in self._by_loop)
