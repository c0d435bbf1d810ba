"""A spend limit in the registry."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._core.counts import added
from resilient_ai._core.events import CallRejected
from resilient_ai._core.public import public
from resilient_ai._core.report import Row, SuccessCount
from resilient_ai._core.state_name import StateHandle

from .error import SpendLimitReachedError
from .events import SpendStopped, SpendUnknown, SpendWarned
from .hour import amount
from .state import SpendState, Warned

if TYPE_CHECKING:
    from resilient_ai._core.state_store import StateStore
    from resilient_ai._usage.book import Answer

    from .config import SpendConfig


@public("types")
class SpendCounts(NamedTuple):
    """
    The counts of a spend limit since it was made; `reset()` does not change them.

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
class SpendStats:
    """
    The numbers of a spend limit.

    Attributes:
        usd_spent: USD spent in the last hour; None if money is not limited.
        usd_per_hour: The limit of USD; None if not limited.
        tokens_spent: Tokens spent in the last hour; None if they are not limited.
        tokens_per_hour: The limit of tokens; None if not limited.
        retry_after: Seconds until calls are let through again; None while they are.
        refused: Callers that were refused.
        without_usage: Answers whose tokens are unknown or incomplete. The sums contain the known tokens.
        without_price: Answers with tokens but without a price, if money is limited. The sums do not contain them.
        calls: Calls that were let through and have ended.
        ok: Those that were answered.
        failed: Those that failed.
        neutral: Those whose callers left before there was an answer.
    """

    usd_spent: float | None
    usd_per_hour: float | None
    tokens_spent: int | None
    tokens_per_hour: float | None
    retry_after: float | None
    refused: int
    without_usage: int
    without_price: int
    calls: int
    ok: int
    failed: int
    neutral: int


@public("types")
class SpendLimit(StateHandle):
    """One spend limit in the registry: its numbers. Thread-safe."""

    __slots__ = ("_config", "_good", "_lock", "_past", "_registry", "_state", "failed", "name", "neutral")

    def __init__(self, name: str, config: SpendConfig, registry: StateStore) -> None:
        self.name = name
        self._config = config
        self._registry = registry
        self._state = SpendState(config)
        self._lock = threading.RLock()  # reentrant: a signal handler may read the numbers
        self._past: SpendCounts | None = None  # the counts at the latest reset
        self._good = SuccessCount()
        self._clear()

    def _clear(self) -> None:
        self._good.ok = self.failed = self.neutral = 0
        self._state.clear()

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self._good.ok

    def _after_fork(self) -> None:
        """In a forked child: a free lock; what was spent stays."""
        self._lock = threading.RLock()

    def _reconfigure(self, config: SpendConfig) -> None:
        """Use other limits from now on; what was spent stays."""
        with self._lock:
            self._config = config
            self._state.reconfigure(config)

    def _enter(self) -> None:
        """Let a call through; raises `SpendLimitReachedError` if the limit is reached."""
        with self._lock:
            refusal = self._state.admit(self._registry.clock.now())
        if refusal is None:
            return
        unit, spent, limit, wait, first = refusal
        registry = self._registry
        if first and registry.hears(SpendStopped):
            registry.emit(SpendStopped(self.name, unit, spent, limit, wait))
        if registry.hears(CallRejected):
            registry.emit(CallRejected(self.name, "spent", wait))
        raise SpendLimitReachedError(self.name, spent=spent, limit=limit, unit=unit, retry_after=wait)

    def _ended(self, outcome: str) -> None:
        """Count the outcome of a call that was let through: "ok", "failed" or "neutral"."""
        with self._lock:
            if outcome == "ok":
                self._good.ok += 1
            else:
                setattr(self, outcome, getattr(self, outcome) + 1)

    def _answer(self, answer: Answer) -> None:
        """Add the cost of an answer."""
        usage = answer.usage
        tokens = None if usage is None else usage.input_tokens + usage.output_tokens
        with self._lock:
            now = self._registry.clock.now()
            news = self._state.spend(tokens, answer.cost, answer.model, now, whole=answer.whole)
        for each in news:
            event = SpendWarned(self.name, *each) if isinstance(each, Warned) else SpendUnknown(self.name, *each)
            if self._registry.hears(type(event)):
                self._registry.emit(event)

    def stats(self) -> SpendStats:
        """The current numbers."""
        with self._lock:
            now, state = self._registry.clock.now(), self._state
            refusal, tokens = state.reached(now), state.spent("tokens", now)
            return SpendStats(
                usd_spent=state.spent("usd", now),
                usd_per_hour=self._config.usd_per_hour,
                tokens_spent=None if tokens is None else int(tokens),
                tokens_per_hour=self._config.tokens_per_hour,
                retry_after=None if refusal is None else refusal.retry_after,
                refused=state.refused,
                without_usage=state.without_usage,
                without_price=state.without_price,
                calls=self.ok + self.failed + self.neutral,
                ok=self.ok,
                failed=self.failed,
                neutral=self.neutral,
            )

    def counts(self) -> SpendCounts:
        """The counts since it was made; `reset()` does not change them."""
        with self._lock:
            latest = SpendCounts(self.ok, self.failed, self.neutral, self._state.refused)
            return latest if self._past is None else added((self._past, latest))

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        shown: list[str] = []
        if stats.usd_spent is not None and stats.usd_per_hour is not None:
            shown.append(f"{amount(stats.usd_spent, 'usd')} of {amount(stats.usd_per_hour, 'usd')}")
        if stats.tokens_spent is not None and stats.tokens_per_hour is not None:
            shown.append(f"{stats.tokens_spent:,} of {amount(stats.tokens_per_hour, 'tokens')}")
        text = ", ".join(shown) + " in an hour"
        if unknown := stats.without_usage + stats.without_price:
            text += f", {unknown:,} unknown"
        alarm = stats.retry_after is not None
        return Row(
            self.name,
            "spend_limit",
            f"{text}, stopped" if alarm else text,
            stats.calls,
            stats.ok,
            stats.failed,
            neutral=stats.neutral or None,
            alarm=alarm,
        )

    def reset(self) -> None:
        """Set the spending to zero, so that calls are let through again."""
        with self._lock:
            self._past = self.counts()
            self._clear()

    def __repr__(self) -> str:
        row = self.row()
        return f"<SpendLimit {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"
