"""The counts of one fallback."""

from __future__ import annotations

import threading
from typing import NamedTuple

from resilient_ai._core.counts import added, one_more
from resilient_ai._core.public import public
from resilient_ai._core.report import SuccessCount


@public("types")
class DegradeCounts(NamedTuple):
    """
    The counts of a fallback since it was made; `reset()` does not change them.

    Attributes:
        ok: Calls answered by the function itself.
        misses: Calls that failed because every rung passed.
        passed: Calls whose error was not degraded.
        by_rung: Answers by rung.
    """

    ok: int
    misses: int
    passed: int
    by_rung: dict[str, int]


class DegradeState:
    """
    The counts of one fallback. Thread-safe.

    Attributes:
        name: Name of the fallback.
        good: Calls answered by the function itself.
        misses: Calls that failed because every rung passed.
        passed: Calls whose error was not degraded: the caller's mistake, or a bug.
        forgotten: Answers that were dropped because an async memory was too slow.
    """

    __slots__ = (
        "_answers",
        "_past",
        "_rung_failures",
        "forgotten",
        "good",
        "lock",
        "misses",
        "name",
        "passed",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()  # reentrant: a signal handler may read the registry while its thread has it
        self.good = SuccessCount()
        self.misses = self.passed = self.forgotten = 0
        self._answers: dict[str, int] | None = None
        self._rung_failures: dict[str, int] | None = None
        self._past: DegradeCounts | None = None  # the counts at the latest reset

    def clear(self) -> None:
        """Set all counts to zero."""
        with self.lock:
            self._past = self._counts(self.good.take())
            self.misses = self.passed = self.forgotten = 0
            self._answers = self._rung_failures = None

    @property
    def by_rung(self) -> dict[str, int]:
        """Calls that a rung answered, by rung."""
        with self.lock:
            return dict(self._answers or ())

    @property
    def rung_failures(self) -> dict[str, int]:
        """Times a rung raised or ran out of time, by rung."""
        with self.lock:
            return dict(self._rung_failures or ())

    def counts(self) -> DegradeCounts:
        """The counts since it was made."""
        with self.lock:
            return self._counts(self.good.ok)

    def _counts(self, good: int) -> DegradeCounts:
        latest = DegradeCounts(good, self.misses, self.passed, self.by_rung)
        return latest if self._past is None else added((self._past, latest))

    def count_answer(self, rung: str) -> None:
        """Count an answer of a rung."""
        with self.lock:
            self._answers = one_more(self._answers, rung)

    def count_miss(self) -> None:
        """Count a call that no rung answered."""
        with self.lock:
            self.misses += 1

    def count_passed(self) -> None:
        """Count a call whose error was not degraded."""
        with self.lock:
            self.passed += 1

    def count_rung_failure(self, rung: str) -> None:
        """Count a rung that raised or ran out of time."""
        with self.lock:
            self._rung_failures = one_more(self._rung_failures, rung)

    def count_forgotten(self) -> None:
        """Count an answer that was dropped because its memory was too slow."""
        with self.lock:
            self.forgotten += 1
