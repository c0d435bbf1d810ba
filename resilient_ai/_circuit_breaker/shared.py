"""One circuit shared by all calls of its name: its lock, and its events in the order in which they happened."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.checks import check_listener
from resilient_ai._core.clock import NEVER
from resilient_ai._core.counts import added
from resilient_ai._core.errors import CircuitOpenError
from resilient_ai._core.events import CallRejected
from resilient_ai._core.fast_path import MOST_ANSWER_TIMES
from resilient_ai._core.measurements import ATTEMPT, CALL, Series, TimeSource
from resilient_ai._core.stand_in import stand_in
from resilient_ai._core.state_name import part_of

from .events import CircuitClosed, CircuitModeSet
from .nested import is_inside_probe_of
from .notices import Notices, change_of
from .state import Circuit
from .stats import CircuitCounts, CircuitStats
from .tickets import NESTED_PROBE, CircuitState, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.events import Event
    from resilient_ai._core.sharing import Evidence, Ruling
    from resilient_ai._core.state_store import StateStore

    from .config import CircuitConfig

_MOST_EVENTS = 100  # sent in one go: a listener that undoes every change must not block a call for ever


class SharedCircuit:
    """One circuit, as policies, its handle and its fleet use it. Thread-safe."""

    kind = "circuit_breaker"

    __slots__ = (
        "_lock",
        "_notices",
        "_past",
        "_registry",
        "_served",
        "circuit",
        "in_flight",
        "last_used",
        "name",
    )

    def __init__(self, name: str, config: CircuitConfig, registry: StateStore) -> None:
        self.name = name
        self.circuit = Circuit(config)
        self._registry = registry
        self._served: str | None = None  # the call site that uses it on a fast path, if there is one
        # Reentrant: a signal handler may print the registry while its own thread holds the lock.
        self._lock = threading.RLock()
        self._notices: Notices | None = None  # made for the first event; most circuits have none
        self._past: CircuitCounts | None = None  # the counts at the latest reset
        self.last_used = registry.clock.now()
        self.in_flight = 0  # calls and streams of a keyed circuit, which must not be dropped meanwhile

    def entered(self) -> None:
        """Count a call of this key that begins."""
        with self._lock:
            self.in_flight += 1
            self.last_used = self._registry.clock.now()

    def left(self) -> None:
        """Count a call of this key that has ended."""
        with self._lock:
            self.in_flight -= 1
            self.last_used = self._registry.clock.now()

    def reconfigure(self, config: CircuitConfig) -> None:
        """Use other settings from now on, in the same state."""
        with self._lock:
            self.circuit.reconfigure(config)

    def after_fork(self) -> None:
        """In a forked child: a free lock, and no probes in flight."""
        self._lock = threading.RLock()
        if self._notices is not None:
            self._notices.after_fork()
        self.in_flight = 0
        if self.circuit.probing is not None:
            self.circuit.probing.in_flight = []

    def refusal(self, now: float) -> CircuitOpenError:
        """
        The error while the circuit refuses every call without a decision: `now < refused_until`.

        Counted without the lock: the interpreter does not switch threads between two calls or jumps.
        """
        circuit = self.circuit
        circuit.record.rejected += 1
        if (opening := circuit.opening) is None or self._registry.hears(CallRejected):
            if opening is None and circuit.refused_until < math.inf:  # another thread has just closed it
                return CircuitOpenError(self.name, 0.0)
            return self._refused(circuit.retry_after(now), circuit.refusal())
        error = CircuitOpenError(self.name, opening.until - now)
        if (cause := opening.cause) is not None:
            error.__cause__ = cause.again()
        return error

    def admit(self, now: float) -> Ticket:
        """A ticket for one call; raises `CircuitOpenError` if the circuit refuses."""
        circuit = self.circuit
        if is_inside_probe_of(circuit):
            return NESTED_PROBE
        with self._lock:
            if (fleet := circuit.by_fleet) is None:
                ticket, changed = circuit.admit(now)
            else:
                workers = 0 if (sharing := self._registry.sharing) is None else sharing.reachable
                ticket, changed = circuit.admit(now, roll=self._registry.rng.random(), workers=workers)
            if changed is not None:
                self._add_event(changed, now)
            wait, reason = circuit.retry_after(now), circuit.refusal()
            if fleet is not None and fleet.holds and not wait:
                wait = fleet.slot  # a probe is due, but this call was not chosen
        if changed is not None:
            try:
                self._notify()
            except BaseException:  # Ctrl-C in a listener: the ticket will not be used
                if ticket is not None:
                    self.released(ticket)
                raise
        if ticket is not None:
            return ticket
        raise self._refused(wait, reason)

    def _refused(self, wait: float | None, reason: str) -> CircuitOpenError:
        if self._registry.hears(CallRejected):
            self._registry.emit(CallRejected(self.name, reason, wait))
        error = CircuitOpenError(self.name, wait, reason)
        opening = self.circuit.opening
        if opening is not None and opening.cause is not None:
            error.__cause__ = opening.cause.again()
        return error

    def answered(self, ticket: Ticket, ended: float, seconds: float) -> None:
        """Take in a good answer to a call that the ordinary layers have run."""
        if self._registry.measurements is None:
            self.good(ticket, ended - seconds, ended)
        else:
            self.succeeded(ticket, ended, seconds, by_layers=True)

    def good(self, ticket: Ticket, started: float, ended: float) -> None:
        """Take in a good answer; without the lock, if it changes only the record."""
        circuit = self.circuit
        # Read the list before the ticket: a reset in another thread replaces the ticket first and then the list.
        answer_times = circuit.answer_times
        if ticket is circuit.fast_ticket and len(answer_times) < MOST_ANSWER_TIMES:
            answer_times.append(ended)
            answer_times.append(started)
        else:
            self.succeeded(ticket, ended, ended - started)

    def succeeded(self, ticket: Ticket, now: float, seconds: float, *, by_layers: bool = False) -> None:
        circuit, measurements = self.circuit, self._registry.measurements
        with self._lock:
            self.last_used = now
            if by_layers and measurements is not None and circuit.counts(ticket):
                measurements.answered_by_layers(self.time_source(), seconds, in_list=self._hands_over)
            dropped = circuit.record.make_room()
            changed = circuit.succeed(ticket, now, seconds, roll=self._roll())
            if changed is not None:
                self._add_event(changed, now)
            shown = None if (fleet := circuit.by_fleet) is None else fleet.taken()
        if shown is not None and (sharing := self._registry.sharing) is not None:
            sharing.judged(self, shown)
        if dropped is not None and measurements is not None and self._hands_over:
            measurements.hand_over(self, dropped)
        if changed is not None:
            self._notify()

    def failed(
        self,
        ticket: Ticket,
        now: float,
        seconds: float,
        error: BaseException,
        verdict: Verdict,
        request: tuple[object, ...] = (),
    ) -> None:
        measurements = self._registry.measurements
        with self._lock:
            self.last_used = now
            if measurements is not None and self.circuit.counts(ticket):
                measurements.add(self._attempts("failed"), seconds)
            changed = self.circuit.fail(
                ticket,
                now,
                seconds,
                retry_after=self._registry.bounded_wait(verdict.retry_after),
                at_once=ERROR_TYPES[verdict.error_type].circuit == "opens",
                roll=self._roll(),
            )
            if changed is not None:
                self._add_event(changed, now)
            opening = self.circuit.opening
            shown = None if (fleet := self.circuit.by_fleet) is None else fleet.taken()
        if (sharing := self._registry.sharing) is not None:
            if shown is None:
                sharing.suspect(self)
            else:
                sharing.judged(self, shown)
        if changed is not None:
            if changed is CircuitState.OPEN and opening is not None:
                # Outside the lock, because this runs code of the error and the user's own classifiers.
                opening.cause = stand_in(error, private=request, verdict=verdict)
            self._notify()

    def released(self, ticket: Ticket) -> None:
        with self._lock:
            self.circuit.release(ticket)

    # -- for the fleet

    @property
    def share(self) -> float:
        """Share of failures above which it should open: its own setting, else a half."""
        return self.circuit.config.failure_rate_threshold or 0.5

    @property
    def period(self) -> float:
        """Seconds that it stays open by its own rules."""
        return self.circuit.config.recovery_timeout

    def evidence(self) -> Evidence:
        """Its latest outcomes, as far as they tell something about the present."""
        now = self._registry.clock.now()
        with self._lock:
            fleet = self.circuit.by_fleet
            return self.circuit.record.evidence(now, NEVER if fleet is None else fleet.closed_at)

    def follow(self, ruling: Ruling) -> None:
        """Apply a decision of the fleet."""
        now, circuit = self._registry.clock.now(), self.circuit
        with self._lock:
            if ruling.opened:
                changed = circuit.hear_open(now, ruling)
            else:
                changed = circuit.hear_close(now, roll=self._registry.rng.random())
            if changed is not None:
                self._add_event(changed, now)
        self._notify()

    def held(self) -> tuple[float, int] | None:
        """(seconds until a probe, number of failed probes) while the fleet holds it open; else None."""
        now = self._registry.clock.now()
        with self._lock:
            fleet = self.circuit.by_fleet
            if fleet is None or not (fleet.holds or fleet.alone):
                return None
            return max(0.0, self.circuit.open_until - now) if fleet.holds else 0.0, fleet.probes

    def idle(self, now: float) -> float:
        """Seconds without a call; -1 for a circuit that must be kept: not closed, or with a call in flight."""
        kept = self.in_flight or self.circuit.state is not CircuitState.CLOSED
        return -1.0 if kept else now - self.last_used

    def overdue(self, now: float) -> float:
        """Seconds since an open circuit could have been probed, if no call came; -1 in every other state."""
        circuit = self.circuit
        if self.in_flight or circuit.state is not CircuitState.OPEN:
            return -1.0
        return now - max(circuit.open_until, self.last_used)

    def unused(self, now: float) -> float:
        """Seconds without a call; -1 if an operator has set its state, or while a call is in flight."""
        by_itself = (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN)
        return now - self.last_used if self.circuit.state in by_itself and not self.in_flight else -1.0

    # -- for the handle

    def stats(self) -> CircuitStats:
        """The current numbers."""
        now = self._registry.clock.now()
        with self._lock:
            circuit, record = self.circuit, self.circuit.record
            calls, successes = record.recent(now)
            judged = record.calls - record.neutral
            in_window, window_failures, window_slow = circuit.window(now)
            return CircuitStats(
                state=circuit.state,
                total_calls=record.calls,
                total_failures=record.failures,
                neutral=record.neutral,
                failure_rate=record.failures / judged if judged else 0.0,
                recent_success_rate=successes / calls if calls else 1.0,
                current_failure_count=circuit.failures,
                rejected=record.rejected,
                late=record.late,
                slow=record.slow,
                opened_count=record.opened_count,
                probes_in_flight=circuit.probes_in_flight,
                window_calls=in_window,
                window_failures=window_failures,
                window_slow=window_slow,
                retry_after=circuit.retry_after(now) if circuit.state is CircuitState.OPEN else None,
                p95=record.p95(),
                opened_by=circuit.opened_by,
            )

    def fleet_cell(self) -> str | None:
        """Its fleet cell in the registry's table; None if it shares nothing."""
        with self._lock:
            if (sharing := self._registry.sharing) is None or not sharing.shares("circuits"):
                return None
            return self.circuit.fleet_cell(self._registry.clock.now(), sharing.reachable)

    def counts(self) -> CircuitCounts:
        """The counts since the circuit was made."""
        with self._lock:
            record = self.circuit.record
            latest = CircuitCounts(
                record.answers,
                record.failures,
                record.neutral,
                record.rejected,
                record.late,
                record.slow,
                record.opened_count,
            )
            return latest if self._past is None else added((self._past, latest))

    def trip(self) -> None:
        """Open it now, for a normal recovery period; `ValueError` if an operator has set its state."""
        now = self._registry.clock.now()
        with self._lock:
            changed = self.circuit.trip(now, roll=self._roll())
            if changed is not None:
                self._add_event(changed, now)
        self._notify()

    def force(self, state: CircuitState) -> None:
        """Set the state for an operator."""
        with self._lock:
            changed = self.circuit.force(state)
            if changed is CircuitState.CLOSED:
                self._tell(CircuitClosed(self.name))
            elif changed is not None:
                self._tell(CircuitModeSet(self.name, changed.value))
        self._notify()

    def clear(self) -> None:
        """Close it, with all numbers at zero."""
        with self._lock:
            self.circuit.fast_ticket = None  # from here on, good answers need the lock
            self._past = self.counts()
            self.hand_over_times()
            self.circuit.clear()
            self._tell(CircuitModeSet(self.name, "reset"))
        self._notify()

    def listen(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call `listener` with this circuit's events after each change; returns a function that ends it."""
        check_listener(listener)
        with self._lock:
            notices = self._notices = self._notices or Notices()
            key = notices.listen(listener)

        def unsubscribe() -> None:
            with self._lock:
                notices.unlisten(key)

        return unsubscribe

    # -- for exporters

    @property
    def _hands_over(self) -> bool:
        # Not for keyed circuits: there may be thousands, whose lists would take too long to read.
        return part_of(self.name, "key") is None

    def _attempts(self, outcome: str) -> Series:
        return Series(ATTEMPT, part_of(self.name, "call_site"), part_of(self.name, "endpoint"), outcome)

    def time_source(self) -> TimeSource:
        """The series to which its measured times belong."""
        call = None if self._served is None else Series(CALL, self._served, outcome="ok")
        return TimeSource(self._attempts("ok"), call)

    def serves(self, call_site: str) -> None:
        """Note that this call site uses it on a fast path; the times of several call sites are not told apart."""
        several = self._served not in (None, call_site)
        self._served = part_of(self.name, "call_site") if several else call_site

    def held_times(self) -> tuple[SharedCircuit, list[float]] | None:
        """Times of good answers that have not been handed over; None if each was added when it came."""
        if not self._hands_over:
            return None
        with self._lock:
            return self, self.circuit.answer_times[:]

    def hand_over_times(self) -> None:
        """Hand over all times, because they are about to be dropped."""
        if self._hands_over and (measurements := self._registry.measurements) is not None:
            measurements.hand_over(self, self.circuit.answer_times[:])

    # -- within

    def _roll(self) -> float:
        return self._registry.rng.random() if self.circuit.config.recovery_jitter else 0.0

    def _add_event(self, state: CircuitState, now: float) -> None:
        self._tell(change_of(self.circuit, self.name, state, now))

    def _tell(self, event: Event) -> None:
        """Keep an event for `_notify`, which sends it without the lock."""
        notices = self._notices = self._notices or Notices()
        notices.pending.append(event)

    def _notify(self) -> None:
        """Send all pending events, without the lock."""
        for _ in range(_MOST_EVENTS):
            with self._lock:
                if (notices := self._notices) is None or (event := notices.take()) is None:
                    return
            notices.tell(self._registry, event)
