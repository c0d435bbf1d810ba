"""What a fallback has done: its numbers, and its row in the registry's table."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from resilient_ai._core.public import public
from resilient_ai._core.report import Row, SuccessCount

from .fallback import Rung


@public("types")
@dataclass(frozen=True, slots=True)
class DegradeStats:
    """
    What a fallback has done.

    Attributes:
        calls: Calls that have ended, cancelled ones not counted.
        degraded: Those that a rung answered.
        degraded_share: Their share, 0.0 without calls.
        by_rung: Answers by rung.
        misses: Calls that failed because every rung passed.
        passed: Calls whose error was not degraded: the caller's mistake, or a bug.
        rung_failures: Times a rung raised or ran out of time, by rung.
        forgotten: Answers that were dropped because an async memory was too slow to take them.
        rungs: What the rungs say of themselves, for those with `stats()`.
    """

    calls: int
    degraded: int
    degraded_share: float
    by_rung: dict[str, int]
    misses: int
    passed: int
    rung_failures: dict[str, int]
    forgotten: int
    rungs: dict[str, Any]

    @property
    def ok(self) -> int:
        """Calls that were answered from below."""
        return self.calls - self.degraded - self.failed

    @property
    def failed(self) -> int:
        """Calls that raised."""
        return self.misses + self.passed


@public("types")
class Degradation:
    """The numbers of one fallback. Thread-safe."""

    __slots__ = ("_by_rung", "_forgotten", "_lock", "_misses", "_passed", "_rung_failures", "_rungs", "good", "name")

    def __init__(self, name: str, rungs: tuple[Rung, ...]) -> None:
        self.name = name
        self._rungs = rungs
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`
        self.good = SuccessCount()
        self.reset()

    def reset(self) -> None:
        """Numbers at zero. What rungs remember stays: this may be the middle of an outage."""
        with self._lock:
            self.good.ok = self._misses = self._passed = self._forgotten = 0
            self._by_rung: Counter[str] = Counter()
            self._rung_failures: Counter[str] = Counter()

    def answered(self, rung: str) -> None:
        with self._lock:
            self._by_rung[rung] += 1

    def missed(self) -> None:
        with self._lock:
            self._misses += 1

    def passed(self) -> None:
        with self._lock:
            self._passed += 1

    def rung_failed(self, rung: str) -> None:
        with self._lock:
            self._rung_failures[rung] += 1

    def forgot(self) -> None:
        with self._lock:
            self._forgotten += 1

    def stats(self) -> DegradeStats:
        """The numbers of this moment."""
        counting = [rung for rung in self._rungs if callable(getattr(rung.given, "stats", None))]
        own = {rung.name: _own_stats(rung) for rung in counting}
        with self._lock:
            degraded = self._by_rung.total()
            calls = self.good.ok + degraded + self._misses + self._passed
            return DegradeStats(
                calls=calls,
                degraded=degraded,
                degraded_share=degraded / calls if calls else 0.0,
                by_rung=dict(self._by_rung),
                misses=self._misses,
                passed=self._passed,
                rung_failures=dict(self._rung_failures),
                forgotten=self._forgotten,
                rungs=own,
            )

    def row(self) -> Row:
        with self._lock:
            degraded, failed = self._by_rung.total(), self._misses + self._passed
        calls = self.good.ok + degraded + failed
        state = f"{degraded / calls:.0%} degraded" if degraded else ""
        return Row(self.name, "degrade_to", state, calls, self.good.ok, failed, degraded=degraded)

    def __repr__(self) -> str:
        row = self.row()
        return f"<Degradation {self.name!r}: {row.calls} calls, {row.degraded} degraded, {row.failed} failed>"


def _own_stats(rung: Rung) -> Any:
    try:
        stats = rung.given.stats()
    except Exception as error:  # noqa: BLE001 - a memory of the user's must not hide everybody's numbers
        return f"{type(error).__name__} while reading its stats()"
    return asdict(stats) if is_dataclass(stats) and not isinstance(stats, type) else stats
