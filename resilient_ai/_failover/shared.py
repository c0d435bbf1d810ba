"""One endpoint, shared by all failovers that have one of its name: its lock, health and events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from resilient_ai._core.counts import added
from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.sharing import Subject
from resilient_ai._core.tasks import running_loop

from .endpoint_state import CheckResult, EndpointState
from .events import EndpointDenied, EndpointDown, EndpointMarked, EndpointUp
from .health import DENIED, EndpointHealth
from .stats import EndpointCounts, EndpointStats
from .ticket import Ticket

if TYPE_CHECKING:
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.errors import ErrorType
    from resilient_ai._core.state_store import StateStore


class SharedEndpoint:
    """One endpoint, as policies and its handle use it. Thread-safe."""

    __slots__ = ("_denied", "_lock", "_loops", "_past", "_registry", "credential", "health", "name", "watched_in")

    def __init__(self, name: str, registry: StateStore) -> None:
        self.name = name
        self.credential = ""  # the credential of its calls, as far as it is known
        self.health = EndpointHealth()
        self.watched_in: object = None  # the event loop whose task checks its health
        self._denied = False  # a denial has been reported
        self._loops = LoopUsages()
        self._past: EndpointCounts | None = None  # the counts at the latest reset
        self._registry = registry
        # Reentrant: a signal handler may read the registry while its own thread holds the lock.
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """In a forked child: a free lock, no calls in flight, and no health check."""
        self._lock = threading.RLock()
        self.watched_in = None
        self._loops = LoopUsages()
        self.health.forget_calls()

    def note_event_loop(self, loop: Any) -> None:
        """Note that the running loop makes calls here; if the loop has changed, forget the calls of closed loops."""
        if loop is None or self._loops.latest.loop() is not loop:
            with self._lock:
                self._loops.here()
                self.forget_lost_calls()

    def forget_lost_calls(self) -> bool:
        """Stop counting the calls of closed loops; whether one was closed since the last check."""
        with self._lock:
            if not self._loops.take_ended():
                return False
            self.health.forget_calls()
            return True

    def admit(self, now: float, *, trial: bool = True, forced: bool = False) -> Ticket | None:
        self.note_event_loop(running_loop())
        with self._lock:
            return self.health.admit(now, trial=trial, forced=forced)

    def succeeded(self, ticket: Ticket, now: float, seconds: float) -> None:
        with self._lock:
            came_back = self.health.succeed(ticket, now, seconds)
        if came_back:
            self._up()

    def failed(
        self, ticket: Ticket, now: float, verdict: Verdict, seconds: float, *, interval: float, forgiving: bool
    ) -> None:
        error_type = verdict.error_type
        roll, hint = self._registry.rng.random(), self._registry.bounded_wait(verdict.retry_after)
        with self._lock:
            rest = self.health.fail(
                ticket, now, error_type, interval=interval, hint=hint, roll=roll, forgiving=forgiving
            )
            first_denial = error_type in DENIED and not self._denied
            self._denied = self._denied or first_denial
        if (sharing := self._registry.sharing) is not None and verdict.blame in ("credential", "account"):
            sharing.failed(self.subject, error_type, hint)
        event = EndpointDenied if first_denial else EndpointDown
        if rest is not None and self._registry.hears(event):
            self._registry.emit(event(self.name, self.name, error_type.value, rest, seconds))

    def refused(self, ticket: Ticket, now: float, wait: float | None) -> None:
        with self._lock:
            self.health.refuse(ticket, now, wait)

    def released(self, ticket: Ticket) -> None:
        with self._lock:
            self.health.release(ticket)

    def left(self, ticket: Ticket, now: float, seconds: float) -> None:
        """Take in a caller that left after so many seconds without an answer."""
        with self._lock:
            self.health.leave(ticket, now, seconds)

    def lost(self, ticket: Ticket, now: float, seconds: float, winner: float) -> None:
        with self._lock:
            self.health.lose(ticket, now, seconds, winner)

    def hangs(self, call: object, began: float, now: float) -> bool:
        """Whether it answers nobody, as calls show that wait; this one is among them from now on."""
        with self._lock:
            return self.health.hangs(call, began, now)

    def stopped_waiting(self, call: object) -> None:
        """Take in that a call waits no longer."""
        with self._lock:
            self.health.stall.waiting.pop(call, None)

    def checked(self, result: CheckResult, now: float, interval: float) -> None:
        """Take in the result of a health check."""
        came_back = False
        with self._lock:
            if result is CheckResult.PASSED:
                came_back = self.health.checked(now)
            elif result is CheckResult.FAILED:
                self.health.check_failed(now, interval)
            else:
                self.health.check_cannot_tell()
        if came_back:
            self._up()

    @property
    def subject(self) -> Subject:
        """The subject of the facts that a fleet shares about it."""
        return Subject(self.name, self.credential)

    def hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Take in what another process reports, a refusal or an answer; whether that changed anything."""
        with self._lock:
            return self.health.hear(self._registry.clock.now(), error_type, wait)

    def fleet_cell(self) -> str | None:
        """Its fleet cell in the registry's table; None if it shares nothing."""
        sharing, now = self._registry.sharing, self._registry.clock.now()
        with self._lock:
            health = self.health
            if sharing is None or not sharing.shares("facts") or health.state is EndpointState.MARKED_DOWN:
                return None
            if (rest := health.resting_for(now)) and health.due == health.heard_until:
                return f"pausing {rest:.1f} s"
        return "shared" if sharing.reachable else "alone"

    def _up(self) -> None:
        self._denied = False
        if (sharing := self._registry.sharing) is not None:
            sharing.recovered(self.subject)
        if self._registry.hears(EndpointUp):
            self._registry.emit(EndpointUp(self.name, self.name))

    # -- for the handle

    def stats(self) -> EndpointStats:
        """The current numbers."""
        now = self._registry.clock.now()
        with self._lock:
            health = self.health
            return EndpointStats(
                healthy=health.state in (EndpointState.UP, EndpointState.RETURNING),
                state=health.state,
                calls=health.ok + health.failures,
                failures=health.failures,
                in_flight=health.in_flight,
                last_error_type=health.last_error_type,
                latency_p50=health.quantile(0.5),
                latency_p95=health.quantile(0.95),
                resting_for=health.resting_for(now),
                strikes=health.strikes,
                error_counts=dict(health.errors),
            )

    def counts(self) -> EndpointCounts:
        """The counts since it was made."""
        with self._lock:
            return self._counts(self.health.ok)

    def _counts(self, good: int) -> EndpointCounts:
        latest = EndpointCounts(good, self.health.failures, dict(self.health.errors))
        return latest if self._past is None else added((self._past, latest))

    def mark_down(self) -> None:
        """Send nothing there until `mark_up`, from any call site that uses this endpoint."""
        with self._lock:
            changed = self.health.mark_down()
        if changed:
            self._registry.emit(EndpointMarked(self.name, self.name, "down"))

    def mark_up(self) -> None:
        """Put it back into rotation at once, and forget its rests."""
        with self._lock:
            changed = self.health.mark_up(self._registry.clock.now())
            self._denied = False
        if changed:
            self._registry.emit(EndpointMarked(self.name, self.name, "up"))

    def clear(self) -> None:
        """Set it up, with all numbers at zero."""
        with self._lock:
            past = self._counts(0)
            self._past = past._replace(ok=past.ok + self.health.clear(self._registry.clock.now()))
            self._denied = False
