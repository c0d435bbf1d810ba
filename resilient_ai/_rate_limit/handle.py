"""A rate limit as the registry shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._core.counts import added
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle

from .gate import RateGate, numbers_of
from .shared import SharedQuota

if TYPE_CHECKING:
    from resilient_ai._core.sharing import Leased, Sharing, Subject
    from resilient_ai._core.state_store import StateStore

    from .bucket import Bucket
    from .config import RateLimitConfig


@public("types")
class RateLimitCounts(NamedTuple):
    """
    What a rate limit has counted since it was made; `reset()` does not change it.

    Attributes:
        ok: Calls that were answered.
        failed: Calls that failed.
        neutral: Calls whose callers left before there was an answer.
        refused: Callers that were refused.
        tokens_used: Tokens of all calls whose usage is known.
    """

    ok: int
    failed: int
    neutral: int
    refused: int
    tokens_used: int


@public("types")
@dataclass(frozen=True, slots=True)
class RateLimitStats:
    """
    The numbers of a rate limit.

    Attributes:
        requests_per_minute: The limit of requests; None if requests are not limited.
        tokens_per_minute: The limit of tokens; None if tokens are not limited.
        requests_left: Requests that may be sent at once, at least 0. None if requests are not limited.
        tokens_left: Tokens that may be sent at once; below 0 after a call that took more than the bucket had.
            None if tokens are not limited.
        used: Share of the scarcer limit that was used in about the last minute; can be slightly above 1.
        factor: Share of the limits that is used; below 1 after the provider has refused a call.
        paused_for: Seconds for which nothing is sent, because the provider asked to wait; 0 otherwise.
        waiting: Callers in the queue.
        refused: Callers refused: not in time, too big for a minute, or the queue was full.
        tokens_used: Tokens of all calls whose usage is known.
        calls: Calls that were let through and have ended.
        ok: Those that were answered.
        failed: Those that failed.
        neutral: Those whose callers left before there was an answer.
        shared: Whether a fleet's server keeps the quota; then the units left are this worker's stock.
        part: This worker's part of the quota, 0 to 1, while the fleet's server cannot be asked; None otherwise.
    """

    requests_per_minute: float | None
    tokens_per_minute: float | None
    requests_left: int | None
    tokens_left: int | None
    used: float
    factor: float
    paused_for: float
    waiting: int
    refused: int
    tokens_used: int
    calls: int
    ok: int
    failed: int
    neutral: int
    shared: bool = False
    part: float | None = None


@public("types")
class RateLimit(StateHandle):
    """One rate limit in the registry. Thread-safe."""

    __slots__ = ("_gate", "_past", "name")

    def __init__(self, name: str, config: RateLimitConfig, registry: StateStore) -> None:
        self.name = name
        self._gate = gate = RateGate(name, config, registry)
        gate.shared = SharedQuota(gate, name)
        gate.want()  # otherwise the first callers would have a whole quota to themselves
        self._past: RateLimitCounts | None = None  # the counts at the latest reset

    def _after_fork(self) -> None:
        """In a forked child: a free lock and an empty queue."""
        self._gate.after_fork()
        self._gate.shared.leave()

    def _reconfigure(self, config: RateLimitConfig) -> None:
        """Use other settings from now on; the buckets keep their units, up to their new size."""
        self._gate.reconfigure(config)

    def _leased(self) -> Leased:
        """The part that a fleet shares."""
        return self._gate.shared

    def _fact_subject(self) -> Subject:
        """The subject of the facts that a fleet shares about it."""
        return self._gate.subject

    def _hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Take in a fact from the fleet; whether it changed anything."""
        return error_type is ErrorType.RATE_LIMIT and self._gate.hear(wait)

    def stats(self) -> RateLimitStats:
        """The current numbers."""
        now = self._gate.now()
        with self._gate.lock:
            quota = self._gate.quota
            used = quota.used_share(now)
            return RateLimitStats(
                requests_per_minute=None if quota.requests is None else quota.requests.per_minute,
                tokens_per_minute=None if quota.tokens is None else quota.tokens.per_minute,
                requests_left=_level(quota.requests),
                tokens_left=_level(quota.tokens),
                used=used,
                factor=quota.factor,
                paused_for=max(0.0, quota.paused_until - now),
                waiting=sum(not waiter.usage.has_ended() for waiter in quota.queue),
                refused=quota.refused,
                tokens_used=quota.tokens_used,
                calls=quota.succeeded + quota.failed + quota.left,
                ok=quota.succeeded,
                failed=quota.failed,
                neutral=quota.left,
                shared=quota.lease is not None and quota.lease.part is None,
                part=None if quota.lease is None else quota.lease.part,
            )

    def counts(self) -> RateLimitCounts:
        """What it has counted since it was made; `reset()` does not change it."""
        with self._gate.lock:
            quota = self._gate.quota
            latest = RateLimitCounts(quota.succeeded, quota.failed, quota.left, quota.refused, quota.tokens_used)
            return latest if self._past is None else added((self._past, latest))

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        shown = f"{stats.used:.0%} of {numbers_of(self._gate.quota)}"
        if stats.shared:
            shown += ", shared"
        elif stats.part is not None:
            shown += f", alone with {stats.part:.0%}"
        if stats.waiting:
            shown += f", {stats.waiting} waiting"
        if stats.paused_for:
            shown += f", paused {stats.paused_for:.1f} s"
        if stats.factor < 1:
            shown += f", at {stats.factor:.0%} of it"
        return Row(
            self.name,
            "rate_limit",
            shown,
            stats.calls,
            stats.ok,
            stats.failed,
            neutral=stats.neutral or None,
            alarm=stats.waiting > 0 or stats.paused_for > 0,
            more={"fleet": _fleet_cell(stats, self._gate.sharing)},
        )

    def reset(self) -> None:
        """Fill the buckets and forget what was learnt; queued callers stay in the queue."""
        with self._gate.lock:
            self._past = self.counts()
            self._gate.quota.clear(self._gate.now())
        self._gate.call_next()

    def __repr__(self) -> str:
        row = self.row()
        return f"<RateLimit {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"


def _fleet_cell(stats: RateLimitStats, sharing: Sharing | None) -> str | None:
    """This worker's part of the quota, for the registry's table; None if nothing is shared."""
    if sharing is None or not (sharing.shares("rate_limits") or sharing.shares("facts")):
        return None
    if stats.part is not None:
        return f"alone with {stats.part * 100:.0f} %"
    if not sharing.reachable:
        return "alone"
    if stats.paused_for:
        return f"pausing {stats.paused_for:.1f} s"
    return f"{stats.used * 100:.0f} % of quota" if stats.shared else "shared"


def _level(bucket: Bucket | None) -> int | None:
    return None if bucket is None else int(bucket.level)
