"""What one fallback has counted."""

from __future__ import annotations

import threading
from collections import Counter

from resilient_ai._core.report import SuccessCount


class DegradeState:
    """
    The numbers of one fallback. Thread-safe.

    Attributes:
        name: Of the fallback.
        good: Calls that were answered from below.
        by_rung: Calls that a rung answered, by rung.
        misses: Calls that failed because every rung passed.
        passed: Calls whose error is not answered: the caller's mistake, or a bug.
        rung_failures: Times a rung raised or ran out of time, by rung.
        forgotten: Answers that an async memory was too slow to take.
    """

    __slots__ = ("by_rung", "forgotten", "good", "lock", "misses", "name", "passed", "rung_failures")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()  # reentrant: a signal handler may read the registry while its thread is in here
        self.good = SuccessCount()
        self.clear()

    def clear(self) -> None:
        """Numbers at zero."""
        with self.lock:
            self.good.ok = self.misses = self.passed = self.forgotten = 0
            self.by_rung: Counter[str] = Counter()
            self.rung_failures: Counter[str] = Counter()

    def count_answer(self, rung: str) -> None:
        """A rung answered."""
        with self.lock:
            self.by_rung[rung] += 1

    def count_miss(self) -> None:
        """No rung answered."""
        with self.lock:
            self.misses += 1

    def count_passed(self) -> None:
        """The error is not one that is answered."""
        with self.lock:
            self.passed += 1

    def count_rung_failure(self, rung: str) -> None:
        """A rung raised or ran out of time."""
        with self.lock:
            self.rung_failures[rung] += 1

    def count_forgotten(self) -> None:
        """An answer is not kept, because its memory was too slow."""
        with self.lock:
            self.forgotten += 1
