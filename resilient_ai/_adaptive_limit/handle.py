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
    The counts of a limit since it was created, which `reset()` does not set back.

    Attributes:
        ok: Calls that were answered.
        failed: Calls that failed.
        neutral: Calls whose callers left before there was an answer.
        refused: Callers that were refused.
    """

    ok: int
    failed: int
    neutral: int
    refused: int


@public("types")
@dataclass(frozen=True, slots=True)
class LimitStats:
    """
    The current numbers of a limit.

    Attributes:
        limit: How many calls may be under way at a time.
        in_flight: Calls that are under way.
        waiting: Callers in the queue.
        rate: Calls per second that are sent after a rate limit; None while nothing limits them.
        refused: Callers that were refused because they could not be served in time or the queue was full.
        calls: Calls that were let through and have ended.
        ok: Those that were answered.
        failed: Those that failed.
        neutral: Those whose callers left before there was an answer.
        normal_seconds: What a typical answer takes (a stream: its first item), at least 0.001; None before the first.
        slow_seconds: From how many seconds on an answer is unusually slow; None until that is known.
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
    """One limit in the registry, with its numbers. Thread-safe."""

    __slots__ = ("_gate", "_now", "_past", "name")

    def __init__(self, name: str, config: LimitConfig, registry: StateStore) -> None:
        self.name = name
        self._gate = LimitGate(name, config, registry)
        self._now = registry.clock.now
        self._past: LimitCounts | None = None  # the counts before the latest reset

    def _after_fork(self) -> None:
        """Reset the locks and the calls in flight in a forked child."""
        self._gate.after_fork()

    def _reconfigure(self, config: LimitConfig) -> None:
        """Change the settings; what was learnt is kept, within their bounds."""
        self._gate.reconfigure(config)

    def stats(self) -> LimitStats:
        """Return the current numbers."""
        with self._gate.lock:
            state, closed = self._gate.state, self._gate.closed_loops()
            state.look_closely()
            latency = state.latency
            return LimitStats(
                limit=state.most,
                in_flight=state.in_flight.count - state.in_flight.count_in(closed),
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
        """Return the counts since it was created, which `reset()` does not set back."""
        with self._gate.lock:
            state = self._gate.state
            state.look_closely()
            latest = LimitCounts(state.succeeded, state.failed, state.left, state.refused)
            return latest if self._past is None else added((self._past, latest))

    def row(self) -> Row:
        """Return what the registry's table shows."""
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
        """Forget everything that was learnt; calls under way and callers in the queue are kept."""
        with self._gate.lock:
            self._past = self.counts()
            self._gate.state.clear()
        self._gate.call_next()

    def __repr__(self) -> str:
        row = self.row()
        return f"<AdaptiveLimit {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"
