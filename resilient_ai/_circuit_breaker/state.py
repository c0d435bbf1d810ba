"""
The circuit: a state machine without clock, lock, logger or task.

    closed ──── failures, rate or slow calls over a threshold, or quota gone ───▶ open
      ▲                                                                           │ recovery period over (inclusive)
      └── success_threshold successes ── half-open ◀──────────────────────────────┘
                                             └── one failure ──▶ open, for a longer period

Every admission is a ticket of one era. A transition starts a new era, and what comes back from an earlier one
changes nothing but the count of late results.
"""

from __future__ import annotations

import math
from array import array
from enum import StrEnum
from typing import TYPE_CHECKING

from resilient_ai._core.backend import LOCK_FREE
from resilient_ai._core.public import public
from resilient_ai._core.quantiles import quantile
from resilient_ai._core.stand_in import StandIn

from .window import TICK, CallsWindow, SecondsWindow, Window

if TYPE_CHECKING:
    from .config import CircuitConfig


@public()
class CircuitState(StrEnum):
    """What a circuit does with calls; the last three are set by an operator."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Ticket:
    """One admission. Tickets of the closed state are one shared object; a probe has its own."""

    __slots__ = ("era", "lease_end")

    def __init__(self, era: int, lease_end: float = math.inf) -> None:
        self.era = era
        self.lease_end = lease_end


_NO_PROBES: list[Ticket] = []  # never filled: who admits a probe makes a new list
_NO_RECORD = -1  # era of tickets whose results nobody wants
PART = Ticket(_NO_RECORD)  # for a call within a probe on the same circuit: that one tells how it went
_RECENT = 100  # calls
MOST_ANSWER_TIMES = 400  # of good answers, two each, before the older half goes
_RECENT_SECONDS = 300.0


class Circuit:
    """
    One circuit. Methods that may change the state return the new state if they did, else None.

    In metrics_only, METRICS_ONLY is returned when a closed circuit would have opened.
    """

    __slots__ = (
        "_announced",
        "_era",
        "_failure_times",
        "_ok_before",
        "_period",
        "_probes",
        "_rules",
        "_usual",
        "_window",
        "answer_times",
        "cause",
        "failures",
        "fast_ticket",
        "late",
        "neutral",
        "open_ticket",
        "open_until",
        "opened_count",
        "reason",
        "refused_until",
        "rejected",
        "slow",
        "state",
        "successes",
        "total_failures",
    )

    def __init__(self, rules: CircuitConfig) -> None:
        self._rules = rules
        rated = rules.failure_rate_threshold is not None or rules.slow_call_seconds is not None
        self._window: Window | None = None
        if rated and rules.window_calls is not None:
            self._window = CallsWindow(rules.window_calls)
        elif rated:
            self._window = SecondsWindow(rules.window_seconds)
        self._era = 0
        self.clear()

    def clear(self) -> None:
        """The first day again: closed, every count zero."""
        # Good answers: when each ended, when it had begun, and so on by turns. One may be no more than two appends to
        # the list, under no lock, by whoever took hold of it and then still sees its pass here. So the pass goes first
        # and the list is replaced: what is appended to the old one was before this. (Between the two appends no other
        # thread comes in CPython; did one come, it would bend how long two answers took, by as long as they took.)
        # An array would need a quarter of the room, and three times as long for an append.
        self.fast_ticket: Ticket | None = None
        self.answer_times: list[float] = []
        self._failure_times: array[float] | tuple[()] = ()  # most circuits of a keyed breaker never see a failure
        self._ok_before = 0
        self.total_failures = self.neutral = self.slow = 0
        self.rejected = self.late = self.opened_count = 0
        self._enter(CircuitState.CLOSED)

    def _enter(self, state: CircuitState) -> CircuitState:
        self._era += 1
        self.state = state
        self.failures = self.successes = 0
        self._probes = _NO_PROBES
        self._announced = False  # metrics_only: each breach is told once
        if self._window is not None:
            self._window.clear()
        if state is CircuitState.CLOSED:
            self._period = self._rules.recovery_timeout
        if state is not CircuitState.OPEN and state is not CircuitState.HALF_OPEN:
            self.cause: StandIn | None = None
            self.reason = ""
            self.open_until = 0.0
        # Until then every call is refused, and there is nothing to decide; OPEN sets it when it knows its period.
        self.refused_until = math.inf if state is CircuitState.FORCED_OPEN and LOCK_FREE else -math.inf
        # The pass that lets a call through without asking further. None: somebody has to decide.
        if state in (CircuitState.CLOSED, CircuitState.METRICS_ONLY):
            self.open_ticket: Ticket | None = Ticket(self._era)
        elif state is CircuitState.DISABLED:
            self.open_ticket = Ticket(_NO_RECORD)
        else:
            self.open_ticket = None
        self._set_quiet()
        return state

    def _set_quiet(self) -> None:
        # While this pass is set, a success that holds it changes nothing but the times of good answers.
        quiet = LOCK_FREE and not self.failures and self._window is None and self.state is not CircuitState.DISABLED
        self.fast_ticket = self.open_ticket if quiet else None

    # -- admission

    def admit(self, now: float) -> tuple[Ticket | None, CircuitState | None]:
        """A ticket, or None: do not call. Beside it the new state, if the recovery period was over."""
        if self.open_ticket is not None:
            return self.open_ticket, None
        changed = None
        if self.state is CircuitState.OPEN and self.retry_after(now) == 0:
            usual = self.p95()
            self._usual = usual if usual is not None else math.inf
            changed = self._enter(CircuitState.HALF_OPEN)
        if self.state is CircuitState.HALF_OPEN:
            self._probes = [probe for probe in self._probes if now + TICK < probe.lease_end]
            if len(self._probes) < self._rules.probes_at_once:
                probe = Ticket(self._era, now + self._rules.probe_lease)
                self._probes.append(probe)
                return probe, changed
        self.rejected += 1
        return None, changed

    def refusal(self) -> str:
        """Why `admit` said no: "open", "half_open_full" or "forced_open"."""
        if self.state is CircuitState.OPEN:
            return "open"
        return "half_open_full" if self.state is CircuitState.HALF_OPEN else "forced_open"

    def retry_after(self, now: float) -> float | None:
        """
        Seconds until it is worth asking; 0 when a call would be let through, None when only an operator knows.

        While all probes are in flight: as long as a good answer usually takes, or until the first lease is over.
        """
        if self.state is CircuitState.OPEN:
            wait = self.open_until - now
        elif self.state is CircuitState.HALF_OPEN and len(self._probes) >= self._rules.probes_at_once:
            wait = min(self._usual, min(probe.lease_end for probe in self._probes) - now)
        else:
            return None if self.state is CircuitState.FORCED_OPEN else 0.0
        return wait if wait > TICK else 0.0

    # -- results

    def succeed(self, ticket: Ticket, now: float, seconds: float, *, roll: float = 0.0) -> CircuitState | None:
        """The call of this ticket gave a good answer after so many seconds; `roll` in [0, 1) is for jitter."""
        if ticket.era != self._era:
            self._too_late(ticket)
            return None
        slow = self._record(now, seconds, failed=False)
        if self.state is CircuitState.HALF_OPEN:
            self._return(ticket)
            self.successes += 1
            return self._enter(CircuitState.CLOSED) if self.successes >= self._rules.success_threshold else None
        if self.failures:
            self.failures -= 1
            self._set_quiet()
        return self._open_if(self._breach(), now, None, roll) if slow else None

    def fail(
        self,
        ticket: Ticket,
        now: float,
        seconds: float,
        *,
        retry_after: float | None = None,
        at_once: bool = False,
        roll: float = 0.0,
    ) -> CircuitState | None:
        """The call of this ticket failed; `at_once` opens whatever the counts say."""
        if ticket.era != self._era:
            self._too_late(ticket)
            return None
        self._record(now, seconds, failed=True)
        if self.state is CircuitState.HALF_OPEN:
            self._grow()
            return self._open(now, "a probe failed", retry_after, roll)
        self.failures += 1
        self.fast_ticket = None
        return self._open_if("quota exceeded" if at_once else self._breach(), now, retry_after, roll)

    def release(self, ticket: Ticket) -> None:
        """The call ended without news (cancelled, or the caller's own fault); a probe gives its slot back."""
        if ticket.era == self._era:
            self.neutral += 1
            self._return(ticket)
        else:
            self._too_late(ticket)

    def holds(self, ticket: Ticket) -> bool:
        """Whether this is a probe under way."""
        return ticket in self._probes

    def _too_late(self, ticket: Ticket) -> None:
        if ticket.era != _NO_RECORD:
            self.late += 1

    def _return(self, ticket: Ticket) -> None:
        if ticket in self._probes:
            self._probes.remove(ticket)

    def _record(self, now: float, seconds: float, *, failed: bool) -> bool:
        if failed:
            self.total_failures += 1
            times = self._failure_times or array("d")
            times.append(now)
            del times[:-_RECENT]
            self._failure_times = times
        else:
            self.answer_times.append(now)
            self.answer_times.append(now - seconds)
            if len(self.answer_times) >= MOST_ANSWER_TIMES:
                del self.answer_times[: MOST_ANSWER_TIMES // 2]
                self._ok_before += MOST_ANSWER_TIMES // 4
        limit = self._rules.slow_call_seconds
        slow = limit is not None and seconds > limit
        self.slow += slow
        if self._window is not None:
            self._window.add(now, failed, slow)
        return slow

    # -- opening

    def _breach(self) -> str | None:
        rules, window = self._rules, self._window
        if rules.failure_threshold is not None and self.failures >= rules.failure_threshold:
            return f"failure count reached {self.failures}"
        if window is None or window.calls < min(rules.minimum_calls, window.most):
            return None
        rate = rules.failure_rate_threshold
        if rate is not None and window.failures / window.calls >= rate:
            return f"{window.failures} of {window.calls} calls failed"
        if rules.slow_call_seconds is not None and window.slow / window.calls >= rules.slow_call_rate_threshold:
            return f"{window.slow} of {window.calls} calls were slow"
        return None

    def _open_if(self, reason: str | None, now: float, retry_after: float | None, roll: float) -> CircuitState | None:
        if self.state is CircuitState.METRICS_ONLY:
            first, self._announced = reason is not None and not self._announced, reason is not None
            self.reason = reason or ""
            return CircuitState.METRICS_ONLY if first else None
        if reason is None:
            return None
        return self._open(now, reason, retry_after, roll)

    def _open(self, now: float, reason: str, retry_after: float | None, roll: float) -> CircuitState:
        period = self._open_seconds(retry_after, roll)
        failures = self.failures
        self._enter(CircuitState.OPEN)
        self.failures = failures  # what opened it stays readable until it closes
        self.opened_count += 1
        self.open_until = now + period
        if LOCK_FREE:
            self.refused_until = self.open_until - TICK
        self.reason, self.cause = reason, None  # the handle names the cause, once it has let go of its lock
        return CircuitState.OPEN

    def _open_seconds(self, retry_after: float | None, roll: float) -> float:
        """
        How long it stays open: the period, or the provider's wait if longer, but never above the cap.

        With jitter up to that share longer, so that a fleet which opened together does not probe together. At the
        cap the spread lies below it; below what the provider asked for only where the cap is below that already.
        """
        most = self._rules.max_recovery_timeout
        most = math.inf if most is None else most
        floor = retry_after if retry_after is not None and math.isfinite(retry_after) else 0.0
        longest = min(max(self._period, floor) * (1 + self._rules.recovery_jitter), most)
        shortest = longest / (1 + self._rules.recovery_jitter)
        if floor <= most:
            shortest = max(shortest, floor)
        return shortest + (longest - shortest) * roll

    def _grow(self) -> None:
        if self._rules.max_recovery_timeout is not None:
            self._period = min(self._period * 2, self._rules.max_recovery_timeout)

    # -- the operator

    def trip(self, now: float, *, roll: float = 0.0) -> CircuitState | None:
        """Open now, for a normal period; nothing if it is open already."""
        if self.state in (CircuitState.DISABLED, CircuitState.METRICS_ONLY, CircuitState.FORCED_OPEN):
            raise ValueError(f"a circuit that is {self.state.value} cannot be tripped; call .reset() first")
        if self.state is CircuitState.OPEN and self.retry_after(now):
            return None
        return self._open(now, "tripped by an operator", None, roll)

    def force(self, state: CircuitState) -> CircuitState | None:
        """Go to a state and stay; None if it was there already. Closed by force starts from zero in any case."""
        if state is not self.state:
            return self._enter(state)
        if state is CircuitState.CLOSED:
            self._enter(state)
        return None

    # -- numbers

    @property
    def probes_in_flight(self) -> int:
        return len(self._probes)

    @property
    def total_calls(self) -> int:
        return self._ok_before + len(self.answer_times) // 2 + self.total_failures + self.neutral

    def _answers(self) -> list[tuple[float, float]]:
        """(when, seconds) of the last hundred good answers."""
        answer_times = self.answer_times[: len(self.answer_times) // 2 * 2][-2 * _RECENT :]  # others may be appending
        return [
            (ended, max(0.0, ended - began)) for ended, began in zip(answer_times[::2], answer_times[1::2], strict=True)
        ]

    def recent(self, now: float) -> tuple[int, int]:
        """(calls, successes) of the last 5 minutes, of the last 100 calls at most."""
        outcomes = [(when, True) for when, _ in self._answers()]
        outcomes += [(when, False) for when in self._failure_times]
        fresh = [good for when, good in sorted(outcomes)[-_RECENT:] if now - when <= _RECENT_SECONDS]
        return len(fresh), sum(fresh)

    def window(self, now: float) -> tuple[int, int, int]:
        """(calls, failures, slow) in the window; zeros without one."""
        if self._window is None:
            return 0, 0, 0
        self._window.forget(now)
        return self._window.calls, self._window.failures, self._window.slow

    def p95(self) -> float | None:
        """Seconds that 95 of 100 of the last good answers took at most."""
        return quantile((seconds for _, seconds in self._answers()), 0.95)
