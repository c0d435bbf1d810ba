"""
The circuit: a state machine without clock, lock, logger or task.

    closed ──── failures, rate or slow calls over a threshold, or quota gone ───▶ open
      ▲                                                                           │ recovery period over (inclusive)
      └── success_threshold successes ── half-open ◀──────────────────────────────┘
                                             └── one failure ──▶ open, for a longer period

Every call holds a ticket of one generation. Each transition starts a new generation. The result of a call of an earlier
generation changes only the count of late results.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from resilient_ai._core.backend import LOCK_FREE
from resilient_ai._core.clock import NEVER

from .by_fleet import RAMP_WAIT
from .following import FleetCircuit
from .record import CallRecord
from .tickets import DEAD, HEAD_START, UNRECORDED, CircuitState, Opening, Probing, Ticket, ticket_of
from .window import TICK, CallsWindow, SecondsWindow, Window

if TYPE_CHECKING:
    from .by_fleet import ByFleet
    from .config import CircuitConfig


def _window(config: CircuitConfig) -> Window | None:
    if config.window is None:
        return None
    return CallsWindow(config.window_calls) if config.window_calls is not None else SecondsWindow(config.window_seconds)


class Circuit(FleetCircuit):
    """
    One circuit. Methods that may change the state return the new state, or None if it did not change.

    In metrics_only, METRICS_ONLY is returned when a closed circuit would have opened.

    Attributes:
        config: Its settings.
        state: What it does with calls.
        failures: The failure count: up with a failure, down with a success.
        opening: Why it is open, or half-open.
        probing: Its probes, while it is half-open.
        record: The outcomes of its calls.
        answer_times: The list of the record, here for quick access on the fast path.
        open_ticket: Lets a call through without a decision; None: `admit` decides.
        fast_ticket: The open ticket, while a success with it changes only the times of good answers.
        refused_until: Before this time every call is refused without a decision, in monotonic seconds.
        by_fleet: The fleet's part in its state; None until the fleet first had one.
    """

    __slots__ = (
        "_window",
        "answer_times",
        "failures",
        "fast_ticket",
    )

    def __init__(self, config: CircuitConfig) -> None:
        self.config = config
        self._window = _window(config)
        self._generation = 0
        self.by_fleet: ByFleet | None = None
        self.clear()

    def clear(self) -> None:
        """Start over: closed, with all counts at zero."""
        # A good answer with `fast_ticket` appends two times to `answer_times` without a lock. So the ticket is
        # withdrawn before the list is replaced: an answer that still appends to the old list came before the reset.
        # (CPython does not switch threads between the two appends. If it did, two durations would be wrong.)
        self.fast_ticket: Ticket | None = None
        self.record = CallRecord()
        self.answer_times = self.record.answer_times
        self._enter(CircuitState.CLOSED)

    def _enter(self, state: CircuitState) -> CircuitState:
        self._generation += 1
        self.state = state
        self.failures = 0
        self.probing: Probing | None = None
        if self._window is not None:
            self._window.clear()
        if state is CircuitState.CLOSED:
            self._period = self.config.recovery_timeout
        if self.by_fleet is not None and state not in (CircuitState.OPEN, CircuitState.HALF_OPEN):
            self.by_fleet.let_go()
        if state is not CircuitState.OPEN and state is not CircuitState.HALF_OPEN:
            self.opening: Opening | None = None
        # `_open` sets it to the end of the period.
        self.refused_until = math.inf if state is CircuitState.FORCED_OPEN and LOCK_FREE else NEVER
        if state in (CircuitState.CLOSED, CircuitState.METRICS_ONLY):
            self.open_ticket: Ticket | None = ticket_of(self._generation)
        elif state is CircuitState.DISABLED:
            self.open_ticket = Ticket(UNRECORDED)
        else:
            self.open_ticket = None
        self._set_fast_ticket()
        return state

    def _set_fast_ticket(self) -> None:
        fast = LOCK_FREE and not self.failures and self._window is None and self.state is not CircuitState.DISABLED
        self.fast_ticket = self.open_ticket if fast else None

    def reconfigure(self, config: CircuitConfig) -> None:
        """
        Use other settings from now on.

        The counts stay, and so does the end of an open period. A window whose settings change starts empty, and the
        growth of the periods starts over.
        """
        before, self.config = self.config, config
        if config.window != before.window:
            self.fast_ticket = None  # from now on, good answers have to be counted in the window too
            self._window = _window(config)
        if config.recovery_timeout != before.recovery_timeout:
            self._period = config.recovery_timeout
        if config.max_recovery_timeout is not None:
            self._period = min(self._period, config.max_recovery_timeout)
        self._set_fast_ticket()

    # -- admission

    def admit(self, now: float, *, roll: float = 0.0, workers: int = 0) -> tuple[Ticket | None, CircuitState | None]:
        """
        A ticket, or None: do not call; and the new state, if the recovery period was over.

        Args:
            now: Monotonic seconds.
            roll: Random number in [0, 1), which decides which worker of a fleet probes.
            workers: Number of workers in the fleet; 0 without a fleet, or if it cannot be reached.
        """
        if self.open_ticket is not None:
            return self.open_ticket, None
        if (fleet := self.by_fleet) is not None:
            if fleet.ramp is not None:
                return self._admit_by_share(fleet.ramp, now)
            if fleet.holds and (decided := self._admit_by_lot(fleet, now, roll, workers)) is not None:
                return decided
        changed = None
        if self.state is CircuitState.OPEN and self.retry_after(now) == 0:
            usual = self.record.p95()
            changed = self._enter(CircuitState.HALF_OPEN)
            self.probing = Probing(usual if usual is not None else math.inf)
        if self.probing is not None:
            in_flight = [probe for probe in self.probing.in_flight if now + TICK < probe.lease_end]
            self.probing.in_flight = in_flight
            if not self.probing.is_full(now, self.config.probes_at_once):
                if not in_flight and not self.probing.successes and self.record.failed_in_a_row >= DEAD:
                    self.probing.alone_until = now + HEAD_START
                probe = Ticket(self._generation, now + self.config.probe_lease)
                in_flight.append(probe)
                return probe, changed
        self.record.rejected += 1
        return None, changed

    def refusal(self) -> str:
        """Why `admit` refused: "open", "half_open_full" or "forced_open"."""
        if self.state is CircuitState.OPEN:
            return "open"
        return "half_open_full" if self.state is CircuitState.HALF_OPEN else "forced_open"

    def retry_after(self, now: float) -> float | None:
        """
        Seconds until it is worth asking; 0 if a call would be let through, None if only an operator knows.

        While all probes are in flight: the usual time of a good answer, or until the first lease ends. During the head
        start of the first probe: until it ends.
        """
        if self.state is CircuitState.FORCED_OPEN:
            return None
        wait = 0.0
        if self.state is CircuitState.OPEN:
            wait = self.open_until - now
        elif (fleet := self.by_fleet) is not None and fleet.ramp is not None:
            wait = min(RAMP_WAIT, fleet.ramp.left(now))
        elif (probing := self.probing) is not None:
            wait = probing.wait(now, self.config.probes_at_once)
        return wait if wait > TICK else 0.0

    # -- results

    def succeed(self, ticket: Ticket, now: float, seconds: float, *, roll: float = 0.0) -> CircuitState | None:
        """Take in a good answer to the call of this ticket, after so many seconds; `roll` in [0, 1) is for jitter."""
        if ticket.generation != self._generation:
            if self._too_late(ticket):
                self.record.shows_life(now - seconds)
            return None
        self.record.answered(now, seconds)
        slow = self._count(now, seconds, failed=False)
        if (probing := self.probing) is not None:
            probing.give_back(ticket)
            if (fleet := self.by_fleet) is not None and fleet.holds:
                return self._fleet_probe_succeeded(fleet, now, roll)
            probing.successes += 1
            probing.alone_until = NEVER
            if probing.successes < self.config.success_threshold:
                return None
            if fleet is not None and fleet.alone:
                fleet.verdict, fleet.closed_at = "answered", now
            return self._enter(CircuitState.CLOSED)
        if (fleet := self.by_fleet) is not None and fleet.ramp is not None:
            fleet.ramp.answered(now, seconds)
        if self.failures:
            self.failures -= 1
            self._set_fast_ticket()
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
        """Take in a failure of the call of this ticket; `at_once` opens without regard to the counts."""
        if ticket.generation != self._generation:
            if self._too_late(ticket):
                self.record.shows_none(now)
            return None
        if self.open_ticket is not None and not self.failures:
            self.record.failed_in_a_row = 0  # answers on the fast path are not looked at
        self.record.failed(now)
        self._count(now, seconds, failed=True)
        if (fleet := self.by_fleet) is not None:
            fleet.believe(now)
            if fleet.holds:
                return self._fleet_probe_failed(fleet, now, retry_after)
            if fleet.ramp is not None:
                fleet.ramp.failed(now)
        if (probing := self.probing) is not None:
            dictated = at_once or retry_after is not None
            waits = self.config.wait_for_all_probes and not dictated
            if waits and probing.fail(ticket, now, now + self._period):
                return None
            self._grow()
            return self._open(now, "a probe failed", retry_after, roll)
        self.failures += 1
        self.fast_ticket = None
        reason = "quota exceeded" if at_once else self._breach()
        return self._open_if(reason, now, retry_after, roll, dictated=at_once)

    def release(self, ticket: Ticket) -> None:
        """End a call without an outcome (cancelled, or the caller's own mistake); a probe gives its slot back."""
        if ticket.generation != self._generation:
            self._too_late(ticket)
            return
        self.record.neutral += 1
        if self.probing is not None:
            self.probing.give_back(ticket)

    def counts(self, ticket: Ticket) -> bool:
        """Whether the outcome of this ticket's call would still count."""
        return ticket.generation == self._generation

    def holds(self, ticket: Ticket) -> bool:
        """Whether this is the ticket of a probe in flight."""
        return self.probing is not None and ticket in self.probing.in_flight

    def _too_late(self, ticket: Ticket) -> bool:
        """Count a result of an earlier generation; whether it is reported."""
        if ticket.generation == UNRECORDED:
            return False
        self.record.late += 1
        return True

    def _count(self, now: float, seconds: float, *, failed: bool) -> bool:
        """Add an outcome to the window; whether the call was slow."""
        limit = self.config.slow_call_seconds
        slow = limit is not None and seconds > limit
        self.record.slow += slow
        if self._window is not None:
            self._window.add(now, failed, slow)
        return slow

    # -- opening

    def _breach(self) -> str | None:
        """The rule that the counts breach, with its numbers; None if they breach none."""
        config, window = self.config, self._window
        if config.failure_threshold is not None and self.failures >= config.failure_threshold:
            return f"failure count reached {self.failures}"
        if window is None or window.calls < min(config.minimum_calls, window.most):
            return None
        rate = config.failure_rate_threshold
        if rate is not None and window.failures / window.calls >= rate:
            return f"{window.failures} of {window.calls} calls failed"
        if config.slow_call_seconds is not None and window.slow / window.calls >= config.slow_call_rate_threshold:
            return f"{window.slow} of {window.calls} calls were slow"
        return None

    def _open_if(
        self, reason: str | None, now: float, retry_after: float | None, roll: float, *, dictated: bool = False
    ) -> CircuitState | None:
        if self.state is CircuitState.METRICS_ONLY:
            news = reason is not None and self.opening is None  # each breach is reported once
            self.opening = Opening(reason, 0.0) if reason is not None else None
            return CircuitState.METRICS_ONLY if news else None
        return None if reason is None else self._open(now, reason, retry_after, roll, dictated=dictated)

    def _open(
        self, now: float, reason: str, retry_after: float | None, roll: float, *, dictated: bool = False
    ) -> CircuitState:
        until = now + self._open_seconds(retry_after, roll)
        if self.by_fleet is not None:
            self.by_fleet.let_go()
        return self._enter_open(Opening(reason, until, dictated=dictated or bool(retry_after)))

    def _enter_open(self, opening: Opening, *, again: bool = False) -> CircuitState:
        failures = self.failures
        self._enter(CircuitState.OPEN)
        self.failures = failures  # the count that opened it stays readable until it closes
        self.record.opened_count += not again
        self.opening = opening
        self._open_until(opening.until)
        return CircuitState.OPEN

    def _open_until(self, until: float) -> None:
        """Set the end of the open period; a trial against the fleet's vote may come sooner."""
        if self.opening is None:
            return
        self.opening.until = until
        if (fleet := self.by_fleet) is not None and fleet.holds:
            until = min(until, fleet.next_trial)
        if LOCK_FREE and self.state is CircuitState.OPEN:
            self.refused_until = until - TICK

    def _open_seconds(self, retry_after: float | None, roll: float) -> float:
        """
        Seconds that it stays open: the period, or the provider's wait if longer, but at most the cap.

        Jitter lengthens that by up to its share, so that processes that opened together do not probe together. At the
        cap, the spread is below the cap. It is never below the provider's wait, unless the cap itself is.
        """
        most = self.config.max_recovery_timeout
        most = math.inf if most is None else most
        floor = retry_after if retry_after is not None and math.isfinite(retry_after) else 0.0
        longest = min(max(self._period, floor) * (1 + self.config.recovery_jitter), most)
        shortest = longest / (1 + self.config.recovery_jitter)
        if floor <= most:
            shortest = max(shortest, floor)
        return shortest + (longest - shortest) * roll

    def _grow(self) -> None:
        if self.config.max_recovery_timeout is not None:
            self._period = min(self._period * 2, self.config.max_recovery_timeout)

    # -- the operator

    def trip(self, now: float, *, roll: float = 0.0) -> CircuitState | None:
        """Open it now, for a normal period; does nothing if it is open already."""
        if self.state in (CircuitState.DISABLED, CircuitState.METRICS_ONLY, CircuitState.FORCED_OPEN):
            raise ValueError(f"a circuit that is {self.state.value} cannot be tripped; call .reset() first")
        if self.state is CircuitState.OPEN and self.retry_after(now):
            return None
        self.record.failed_in_a_row = 0  # an operator's word is no news of the provider
        return self._open(now, "tripped by an operator", None, roll)

    def force(self, state: CircuitState) -> CircuitState | None:
        """Set a state that stays; None if it was set already. Closing it always starts the counts from zero."""
        if state is not self.state:
            return self._enter(state)
        if state is CircuitState.CLOSED:
            self._enter(state)
        return None

    # -- numbers

    @property
    def reason(self) -> str:
        """Why it is open; empty while it is not."""
        return self.opening.reason if self.opening is not None else ""

    @property
    def opened_by(self) -> Literal["local", "fleet"] | None:
        """Who opened it; None while it is closed, or if an operator has set its state."""
        if self.opening is None or self.state not in (CircuitState.OPEN, CircuitState.HALF_OPEN):
            return None
        return "fleet" if self.opening.by_fleet else "local"

    @property
    def open_until(self) -> float:
        """When it may be probed, in monotonic seconds; 0.0 while it is not open."""
        return self.opening.until if self.opening is not None else 0.0

    @property
    def probes_in_flight(self) -> int:
        return len(self.probing.in_flight) if self.probing is not None else 0

    def window(self, now: float) -> tuple[int, int, int]:
        """(calls, failures, slow) in the window; zeros without one."""
        if self._window is None:
            return 0, 0, 0
        self._window.forget(now)
        return self._window.calls, self._window.failures, self._window.slow
