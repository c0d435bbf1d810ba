"""An adaptive limit as the registry shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._core.counts import added
from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle

from .gate import LimitGate

if TYPE_CHECKING:
    from resilient_ai._core.state_store import StateStore

    from .config import LimitConfig


@public("types")
class LimitCounts(NamedTuple):
    """
    What a limit has counted since it was made; `reset()` takes nothing back.

    Attributes:
        ok: Calls that were answered.
        failed: Calls that failed.
        neutral: Calls whose callers left before there was an answer.
        refused: Callers turned away.
    """

    ok: int
    failed: int
    neutral: int
    refused: int


@public("types")
@dataclass(frozen=True, slots=True)
class LimitStats:
    """
    What a limit has learnt and seen.

    Attributes:
        limit: Calls that may be under way at a time.
        in_flight: Calls that are under way.
        waiting: Callers in the queue.
        rate: Calls a second that are sent after a rate limit; None while nothing limits them.
        refused: Callers turned away because they could not be served in time, or because the queue was full.
        calls: Calls that were let through and have ended.
        ok: Those that were answered.
        failed: Those that failed.
        neutral: Those whose callers left before there was an answer.
        normal_seconds: What a middling answer takes (a stream: its first item); None before the first.
        slow_seconds: From where on an answer is unusually slow; None until that is known.
    """

    limit: int
    in_flight: int
    waiting: int
    rate: float | None
    refused: int
    calls: int
    ok: int
    failed: int
    neutral: int
    normal_seconds: float | None
    slow_seconds: float | None


@public("types")
class AdaptiveLimit(StateHandle):
    """One limit in the registry: its numbers. Thread-safe."""

    __slots__ = ("_gate", "_now", "_past", "name")

    def __init__(self, name: str, config: LimitConfig, registry: StateStore) -> None:
        self.name = name
        self._gate = LimitGate(name, config, registry)
        self._now = registry.clock.now
        self._past: LimitCounts | None = None  # what was counted up to the latest reset

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._gate.after_fork()

    def _reconfigure(self, config: LimitConfig) -> None:
        """Go on with other settings, what was learnt within their bounds."""
        self._gate.reconfigure(config)

    def stats(self) -> LimitStats:
        """The numbers of this moment."""
        with self._gate.lock:
            state, closed = self._gate.state, self._gate.closed_loops()
            state.look_closely()
            latency = state.latency
            return LimitStats(
                limit=state.most,
                in_flight=state.in_flight.count - sum(usage.in_flight for usage in closed),
                waiting=sum(waiter.usage not in closed for waiter in state.queue),
                rate=state.pace.rate(self._now()),
                refused=state.refused,
                calls=state.succeeded + state.failed + state.left,
                ok=state.succeeded,
                failed=state.failed,
                neutral=state.left,
                normal_seconds=latency.typical if latency.seen else None,
                slow_seconds=latency.slow_after if latency.slow_after < math.inf else None,
            )

    def counts(self) -> LimitCounts:
        """What it has counted since it was made; `reset()` takes nothing back."""
        with self._gate.lock:
            state = self._gate.state
            latest = LimitCounts(state.succeeded, state.failed, state.left, state.refused)
            return latest if self._past is None else added((self._past, latest))

    def row(self) -> Row:
        """What the registry's table shows."""
        stats = self.stats()
        shown = f"{stats.in_flight} of {stats.limit}"
        if stats.waiting:
            shown += f", {stats.waiting} waiting"
        if stats.rate is not None:
            shown += f", {stats.rate:.2g} a second"
        return Row(
            self.name,
            "adaptive_limit",
            shown,
            stats.calls,
            stats.ok,
            stats.failed,
            neutral=stats.neutral or None,
            alarm=stats.rate is not None or stats.waiting > 0,
        )

    def reset(self) -> None:
        """Forget everything that was learnt; calls under way and callers in the queue stay where they are."""
        with self._gate.lock:
            self._past = self.counts()
            self._gate.state.clear()
        self._gate.call_next()

    def __repr__(self) -> str:
        row = self.row()
        return f"<AdaptiveLimit {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"
