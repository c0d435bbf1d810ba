"""A fallback in the registry."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle

from .fallback import Rung
from .state import DegradeCounts, DegradeState


@public("types")
@dataclass(frozen=True, slots=True)
class DegradeStats:
    """
    The numbers of a fallback since the last reset.

    Attributes:
        calls: Calls that have ended, without cancelled ones.
        degraded: Those that a rung answered.
        degraded_share: The share of those, 0 to 1; 0.0 without calls.
        by_rung: Answers by rung.
        misses: Calls that failed because every rung passed.
        passed: Calls whose error was not degraded: the caller's mistake, or a bug.
        rung_failures: Times a rung raised or ran out of time, by rung.
        forgotten: Answers that were dropped because an async memory was too slow.
        rungs: The own numbers of each rung that has `stats()`.
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
        """Calls answered by the function itself."""
        return self.calls - self.degraded - self.failed

    @property
    def failed(self) -> int:
        """Calls that raised."""
        return self.misses + self.passed


@public("types")
class Degradation(StateHandle):
    """One fallback in the registry: its numbers. Thread-safe."""

    __slots__ = ("_rungs", "_state", "name")

    def __init__(self, name: str, rungs: tuple[Rung, ...]) -> None:
        self.name = name
        self._rungs = rungs
        self._state = DegradeState(name)

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._state.lock = threading.RLock()

    def stats(self) -> DegradeStats:
        """The current numbers."""
        counting = [rung for rung in self._rungs if callable(getattr(rung.given, "stats", None))]
        own = {rung.name: _own_stats(rung) for rung in counting}
        state = self._state
        with state.lock:
            by_rung = state.by_rung
            degraded = sum(by_rung.values())
            calls = state.good.ok + degraded + state.misses + state.passed
            return DegradeStats(
                calls=calls,
                degraded=degraded,
                degraded_share=degraded / calls if calls else 0.0,
                by_rung=by_rung,
                misses=state.misses,
                passed=state.passed,
                rung_failures=state.rung_failures,
                forgotten=state.forgotten,
                rungs=own,
            )

    def counts(self) -> DegradeCounts:
        """The counts since it was made; `reset()` does not change them. Asks no rung, unlike `stats()`."""
        counts = self._state.counts()
        return counts._replace(by_rung={**dict.fromkeys((rung.name for rung in self._rungs), 0), **counts.by_rung})

    def row(self) -> Row:
        """The row in the registry's table."""
        state = self._state  # not `stats()`: the numbers of a rung may need a request to a server
        with state.lock:
            ok, degraded, failed = state.good.ok, sum(state.by_rung.values()), state.misses + state.passed
        calls = ok + degraded + failed
        shown = f"{degraded / calls:.0%} degraded" if degraded else ""
        return Row(self.name, "degrade_to", shown, calls, ok, failed, degraded=degraded)

    def reset(self) -> None:
        """Set the numbers to zero. The memories of the rungs stay: there may be an outage right now."""
        self._state.clear()

    def __repr__(self) -> str:
        row = self.row()
        return f"<Degradation {self.name!r}: {row.calls} calls, {row.degraded} degraded, {row.failed} failed>"


def _own_stats(rung: Rung) -> Any:
    try:
        stats = rung.given.stats()
    except Exception as error:  # noqa: BLE001 - a memory of the user's must not hide everybody's numbers
        return f"{type(error).__name__} while reading its stats()"
    return asdict(stats) if is_dataclass(stats) and not isinstance(stats, type) else stats
