"""What a batcher counts: in each event loop by itself, and added up over all loops."""

from __future__ import annotations

import threading

_WAITS_KEPT = 100
_ADDED_UP = ("requests", "rejected", "batches", "items", "answered", "failed", "left")


class Counters:
    """The numbers of one event loop. Only that loop writes them, so they are exact without a lock."""

    __slots__ = (
        "answered",
        "batches",
        "failed",
        "items",
        "left",
        "lined_up",
        "rejected",
        "running",
        "shared",
        "unsent",
        "waiting",
        "waits",
    )

    def __init__(self) -> None:
        self.rejected = 0
        self.batches = 0  # sent
        self.items = 0  # in the batches sent
        self.unsent = 0  # items whose callers left before they were sent
        self.shared = 0  # calls for an item that another call had brought
        self.answered = 0
        self.failed = 0
        self.left = 0
        self.lined_up = 0  # callers that wait for room in the queue
        self.waiting = 0  # items in batches that were not sent yet
        self.running = 0  # batches
        self.waits: list[float] = []  # seconds from first item to leaving, of the last batches; a ring

    def waited(self, seconds: float) -> None:
        """A batch has left. Others may read meanwhile: a list can be copied at any moment, a deque only with a GIL."""
        waits = self.waits  # once: `reset` puts another in its place
        if len(waits) < _WAITS_KEPT:
            waits.append(seconds)
        else:
            waits[self.batches % _WAITS_KEPT] = seconds

    @property
    def requests(self) -> int:
        """Calls accepted: worked out, because to count them one by one would cost each of them."""
        return self.items + self.waiting + self.lined_up + self.unsent + self.shared


class TotalCounters:
    """The counters of all event loops that have called. Thread-safe."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may read the registry while its own thread is in here.
        self._lock = threading.RLock()
        self._by_loop: list[Counters] = []  # of loops that may still run
        self._past: dict[str, int] = dict.fromkeys(_ADDED_UP, 0)  # of loops that have ended
        self._before_reset: dict[str, int] = dict.fromkeys(_ADDED_UP, 0)

    def after_fork(self) -> None:
        """In a forked child: a free lock. Batches in flight belong to loops of the parent."""
        self._lock = threading.RLock()

    def of_new_loop(self) -> Counters:
        """Counters for one more loop."""
        counters = Counters()
        with self._lock:
            self._by_loop.append(counters)
        return counters

    def keep(self, counters: Counters) -> None:
        """The loop of these has ended: its totals are all that is kept of it."""
        with self._lock:
            self._by_loop.remove(counters)
            for name in _ADDED_UP:
                self._past[name] += getattr(counters, name)

    def added_up(self) -> dict[str, int]:
        """Each number that adds up over loops, since the last reset."""
        with self._lock:
            return {name: number - self._before_reset[name] for name, number in self.of_all_time().items()}

    def of_all_time(self) -> dict[str, int]:
        """Each number that adds up over loops, whatever was reset."""
        with self._lock:
            return {name: self._past[name] + self._sum(name) for name in _ADDED_UP}

    def waits(self) -> list[float]:
        """Seconds from first item to leaving, of the last batches of each loop."""
        with self._lock:
            return [seconds for counters in self._by_loop for seconds in counters.waits]

    def reset(self) -> None:
        """Start again from zero."""
        with self._lock:
            self._before_reset = self.of_all_time()  # a loop alone writes its counters, so they are not set to zero
            for counters in self._by_loop:
                counters.waits = []

    def _sum(self, name: str) -> int:
        return sum(getattr(counters, name) for counters in self._by_loop)
