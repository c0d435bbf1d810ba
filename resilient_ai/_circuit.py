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

from array import array
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ._checks import check_number
from ._errors import ErrorType
from ._window import Window


class CircuitState(StrEnum):
    """What a circuit does with calls; the last three are set by an operator."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


# Neither failure nor success: the caller's own mistakes, and a limit that a healthy provider keeps.
NEUTRAL: tuple[ErrorType, ...] = (
    ErrorType.INVALID_REQUEST,
    ErrorType.CONTEXT_LENGTH,
    ErrorType.CONTENT_FILTER,
    ErrorType.NOT_FOUND,
    ErrorType.AUTHENTICATION,
    ErrorType.PERMISSION,
    ErrorType.RATE_LIMIT,
    ErrorType.CIRCUIT_OPEN,
)


@dataclass(frozen=True, slots=True)
class CircuitConfig:
    """Settings of a circuit, as `circuit_breaker` documents them. Times are in seconds."""

    failure_threshold: int | None = 5
    recovery_timeout: float = 60.0
    success_threshold: int = 3
    timeout_seconds: float | None = 30.0
    idle_timeout_seconds: float | None = 30.0
    failure_rate_threshold: float | None = None
    window_seconds: float = 60.0
    window_calls: int | None = None
    minimum_calls: int = 20
    slow_call_seconds: float | None = None
    slow_call_rate_threshold: float = 0.5
    half_open_max_calls: int | None = None
    max_recovery_timeout: float | None = None
    recovery_jitter: float = 0.0
    ignore: tuple[Any, ...] = NEUTRAL

    def __post_init__(self) -> None:
        check_number("failure_threshold", self.failure_threshold, least=1, whole=True, optional=True)
        check_number("recovery_timeout", self.recovery_timeout, least=0)
        check_number("success_threshold", self.success_threshold, least=1, whole=True)
        check_number("timeout_seconds", self.timeout_seconds, above=0, optional=True)
        check_number("idle_timeout_seconds", self.idle_timeout_seconds, above=0, optional=True)
        check_number("failure_rate_threshold", self.failure_rate_threshold, above=0, most=1, optional=True)
        check_number("window_seconds", self.window_seconds, above=0)
        check_number("window_calls", self.window_calls, least=1, whole=True, optional=True)
        check_number("minimum_calls", self.minimum_calls, least=1, whole=True)
        check_number("slow_call_seconds", self.slow_call_seconds, least=0, optional=True)
        check_number("slow_call_rate_threshold", self.slow_call_rate_threshold, above=0, most=1)
        check_number("half_open_max_calls", self.half_open_max_calls, least=1, whole=True, optional=True)
        check_number("max_recovery_timeout", self.max_recovery_timeout, least=self.recovery_timeout, optional=True)
        check_number("recovery_jitter", self.recovery_jitter, least=0, most=1)
        if self.failure_threshold is None and self.failure_rate_threshold is None and self.slow_call_seconds is None:
            raise ValueError(
                "a circuit needs a rule to open by: set failure_threshold, failure_rate_threshold or slow_call_seconds"
            )

    @property
    def probes_at_once(self) -> int:
        return self.half_open_max_calls if self.half_open_max_calls is not None else self.success_threshold

    @property
    def probe_lease(self) -> float:
        """Seconds after which a probe that has not answered gives its slot back."""
        return max(self.recovery_timeout, self.timeout_seconds or 0.0)


class Ticket:
    """One admission. Tickets of the closed state are one shared object; a probe has its own."""

    __slots__ = ("era", "lease_end")

    def __init__(self, era: int, lease_end: float | None = None) -> None:
        self.era = era
        self.lease_end = lease_end  # None: not a probe


_NO_RECORD = -1  # era of tickets whose results nobody wants
_RECENT = 100  # calls
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
        "_window",
        "cause",
        "failures",
        "late",
        "neutral",
        "ok_seconds",
        "ok_times",
        "open_pass",
        "open_until",
        "opened_count",
        "quiet_pass",
        "reason",
        "rejected",
        "slow",
        "state",
        "successes",
        "total_failures",
    )

    def __init__(self, rules: CircuitConfig) -> None:
        self._rules = rules
        rated = rules.failure_rate_threshold is not None or rules.slow_call_seconds is not None
        self._window = Window(seconds=rules.window_seconds, calls=rules.window_calls) if rated else None
        self._era = 0
        # Successes are two appends, which no thread can come between; everything else here is under the shell's lock.
        self.ok_times = array("d")  # when, the latest up to 200
        self.ok_seconds = array("f")  # how long they took
        self._failure_times = array("d")
        self.clear()

    def clear(self) -> None:
        """The first day again: closed, every count zero."""
        self.total_failures = self.neutral = self.slow = 0
        self.rejected = self.late = self.opened_count = 0
        self._ok_before = 0
        for times in (self.ok_times, self.ok_seconds, self._failure_times):
            del times[:]
        self._enter(CircuitState.CLOSED)

    def _enter(self, state: CircuitState) -> CircuitState:
        self._era += 1
        self.state = state
        self.failures = self.successes = 0
        self._probes: list[Ticket] = []
        self._announced = False  # metrics_only: each breach is told once
        if self._window is not None:
            self._window.clear()
        if state is CircuitState.CLOSED:
            self._period = self._rules.recovery_timeout
        if state is not CircuitState.OPEN and state is not CircuitState.HALF_OPEN:
            self.cause: BaseException | None = None
            self.reason = ""
            self.open_until = 0.0
        # The pass that lets a call through without asking further. None: somebody has to decide.
        if state in (CircuitState.CLOSED, CircuitState.METRICS_ONLY):
            self.open_pass: Ticket | None = Ticket(self._era)
        elif state is CircuitState.DISABLED:
            self.open_pass = Ticket(_NO_RECORD)
        else:
            self.open_pass = None
        self._set_quiet()
        return state

    def _set_quiet(self) -> None:
        # While this pass is set, a success that holds it changes nothing but the times of good answers.
        quiet = not self.failures and self._window is None and self.state is not CircuitState.DISABLED
        self.quiet_pass = self.open_pass if quiet else None

    # -- admission

    def admit(self, now: float) -> tuple[Ticket | None, CircuitState | None]:
        """A ticket, or None: do not call. Beside it the new state, if the recovery period was over."""
        if self.open_pass is not None:
            return self.open_pass, None
        changed = None
        if self.state is CircuitState.OPEN and now >= self.open_until:
            changed = self._enter(CircuitState.HALF_OPEN)
        if self.state is CircuitState.HALF_OPEN:
            self._probes = [probe for probe in self._probes if probe.lease_end is None or now < probe.lease_end]
            if len(self._probes) < self._rules.probes_at_once:
                probe = Ticket(self._era, now + self._rules.probe_lease)
                self._probes.append(probe)
                return probe, changed
        self.rejected += 1
        return None, changed

    def refusal(self) -> str:
        """Why `admit` said no: "open", "half_open_full" or "forced_open"."""
        return "half_open_full" if self.state is CircuitState.HALF_OPEN else self.state.value

    def retry_after(self, now: float) -> float | None:
        """Seconds until it is worth asking; 0 when a call would be let through, None when only an operator knows."""
        if self.state is CircuitState.OPEN:
            return max(0.0, self.open_until - now)
        if self.state is CircuitState.HALF_OPEN and len(self._probes) >= self._rules.probes_at_once:
            return max(0.0, min(probe.lease_end or now for probe in self._probes) - now)
        return None if self.state is CircuitState.FORCED_OPEN else 0.0

    # -- results

    def succeed(self, ticket: Ticket, now: float, seconds: float, *, roll: float = 0.0) -> CircuitState | None:
        """The call of this ticket gave a good answer after so many seconds."""
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
        return self._open_if_due(now, None, None, roll) if slow else None

    def fail(
        self,
        ticket: Ticket,
        now: float,
        seconds: float,
        *,
        error: BaseException | None = None,
        retry_after: float | None = None,
        at_once: bool = False,
        roll: float = 0.0,
    ) -> CircuitState | None:
        """The call of this ticket failed; `at_once` opens whatever the counts say; `roll` in [0, 1) is for jitter."""
        if ticket.era != self._era:
            self._too_late(ticket)
            return None
        self._record(now, seconds, failed=True)
        if self.state is CircuitState.HALF_OPEN:
            self._return(ticket)
            self._grow()
            return self._open(now, "a probe failed", error, retry_after, roll)
        self.failures += 1
        self.quiet_pass = None
        if at_once and self.state is CircuitState.CLOSED:
            return self._open(now, "quota exceeded", error, retry_after, roll)
        return self._open_if_due(now, error, retry_after, roll)

    def release(self, ticket: Ticket) -> None:
        """The call ended without news (cancelled, or the caller's own fault); a probe gives its slot back."""
        if ticket.era == self._era:
            self.neutral += 1
            self._return(ticket)
        else:
            self._too_late(ticket)

    def _too_late(self, ticket: Ticket) -> None:
        if ticket.era != _NO_RECORD:
            self.late += 1

    def _return(self, ticket: Ticket) -> None:
        if ticket in self._probes:
            self._probes.remove(ticket)

    def _record(self, now: float, seconds: float, *, failed: bool) -> bool:
        if failed:
            self.total_failures += 1
            self._failure_times.append(now)
            del self._failure_times[:-_RECENT]
        else:
            self.ok_times.append(now)
            self.ok_seconds.append(seconds)
            self.trim()
        limit = self._rules.slow_call_seconds
        slow = limit is not None and seconds > limit
        self.slow += slow
        if self._window is not None:
            self._window.add(now, failed=failed, slow=slow)
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

    def _open_if_due(
        self, now: float, error: BaseException | None, retry_after: float | None, roll: float
    ) -> CircuitState | None:
        reason = self._breach()
        if self.state is CircuitState.METRICS_ONLY:
            first, self._announced = reason is not None and not self._announced, reason is not None
            self.reason = reason or ""
            return CircuitState.METRICS_ONLY if first else None
        if reason is None:
            return None
        return self._open(now, reason, error, retry_after, roll)

    def _open(
        self, now: float, reason: str, error: BaseException | None, retry_after: float | None, roll: float = 0.0
    ) -> CircuitState:
        # Up to recovery_jitter longer, so that a fleet which opened together does not probe together.
        period = max(self._period * (1 + self._rules.recovery_jitter * roll), retry_after or 0.0)
        if self._rules.max_recovery_timeout is not None:
            period = min(period, self._rules.max_recovery_timeout)
        failures = self.failures
        self._enter(CircuitState.OPEN)
        self.failures = failures  # what opened it stays readable until it closes
        self.opened_count += 1
        self.open_until = now + period
        self.reason, self.cause = reason, error
        return CircuitState.OPEN

    def _grow(self) -> None:
        if self._rules.max_recovery_timeout is not None:
            self._period = min(self._period * 2, self._rules.max_recovery_timeout)

    # -- the operator

    def trip(self, now: float) -> CircuitState | None:
        """Open now, for a normal period; nothing if it is open already."""
        if self.state in (CircuitState.DISABLED, CircuitState.METRICS_ONLY, CircuitState.FORCED_OPEN):
            raise ValueError(f"a circuit that is {self.state.value} cannot be tripped; call .reset() first")
        if self.state is CircuitState.OPEN and now < self.open_until:
            return None
        return self._open(now, "tripped by an operator", None, None)

    def force(self, state: CircuitState) -> CircuitState | None:
        """Go to a state and stay; None if it was there already."""
        if state is self.state:
            return None
        return self._enter(state)

    # -- numbers

    @property
    def probes_in_flight(self) -> int:
        return len(self._probes)

    @property
    def total_calls(self) -> int:
        return self._ok_before + len(self.ok_times) + self.total_failures + self.neutral

    def trim(self) -> None:
        """Keep the memory of good answers bounded."""
        if len(self.ok_times) >= 2 * _RECENT:
            self._ok_before += _RECENT
            del self.ok_times[:_RECENT], self.ok_seconds[:_RECENT]

    def recent(self, now: float) -> tuple[int, int]:
        """(calls, successes) of the last 5 minutes, of the last 100 calls at most."""
        outcomes = [(when, True) for when in self.ok_times[-_RECENT:]]
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
        seconds = sorted(self.ok_seconds[-_RECENT:])
        return seconds[int(0.95 * (len(seconds) - 1))] if seconds else None
