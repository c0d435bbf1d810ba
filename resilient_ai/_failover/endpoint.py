"""Endpoints: what the decorated function is handed, and the state of each in the registry."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.event_loops import LoopUsages, running_loop
from resilient_ai._core.public import public
from resilient_ai._core.report import Row

from .events import EndpointDenied, EndpointDown, EndpointMarked, EndpointUp
from .health import DENIED, CheckResult, EndpointHealth, EndpointState, Ticket

if TYPE_CHECKING:
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.state_store import StateStore


@runtime_checkable
class Named(Protocol):
    """What `failover` asks of an endpoint."""

    @property
    def name(self) -> str:
        """Unique among the endpoints of one failover; equal names share one health."""
        ...


@public()
class Endpoint:
    """
    A plain endpoint: a name, and whatever the decorated function wants to know of it.

    `failover` itself reads `weight`, `context_window` (tokens) and `provider`, where they are given.

    Args:
        name: Unique among the endpoints of one failover. Call sites that use an endpoint of the same name share
            what is known of its health.
        attributes: Kept as attributes.

    >>> eu = Endpoint("eu-west", base_url="https://eu.example/v1", weight=2.0)
    >>> eu.base_url
    'https://eu.example/v1'
    >>> eu
    Endpoint('eu-west', base_url=…, weight=2.0)
    """

    def __init__(self, name: str, /, **attributes: Any) -> None:
        given: object = name
        if not isinstance(given, str) or not given:
            raise ValueError(f"name of an endpoint must be a non-empty string, got {name!r}")
        if "name" in attributes:
            raise ValueError(f"endpoint {name!r} has its name already; call the attribute otherwise")
        self.name = name
        self.__dict__.update(attributes)

    if TYPE_CHECKING:

        def __getattr__(self, attribute: str) -> Any: ...

    def __repr__(self) -> str:
        # Any attribute may be a key or contain one, so only numbers and a few well-known names are shown.
        shown = [
            f"{key}={value!r}" if _harmless(key, value) else f"{key}=…"
            for key, value in self.__dict__.items()
            if key != "name"
        ]
        return f"Endpoint({', '.join([repr(self.name), *shown])})"


_PLAIN = re.compile(r"\A(?:region|model|provider)\Z")


def _harmless(key: str, value: object) -> bool:
    return isinstance(value, int | float) or value is None or (isinstance(value, str) and bool(_PLAIN.match(key)))


@public("types")
@dataclass(frozen=True, slots=True)
class EndpointStats:
    """
    What is known of an endpoint.

    Attributes:
        healthy: Whether calls go there in the normal run of things.
        state: Up, resting, returning (a few calls at a time), or marked down by an operator.
        calls: Calls that were answered or failed.
        failures: Those that failed, for a reason that is the endpoint's.
        in_flight: Calls under way.
        last_error_type: Of the failure that made it rest last; None without any.
        latency_p50: Seconds, over the last 200 answers; None without any.
        latency_p95: Likewise.
        resting_for: Seconds until it may be tried again; 0.0 when it does not rest.
        strikes: Failures in a row, forgotten with healthy time; the rests grow with them.
    """

    healthy: bool
    state: EndpointState
    calls: int
    failures: int
    in_flight: int
    last_error_type: ErrorType | None
    latency_p50: float | None
    latency_p95: float | None
    resting_for: float
    strikes: int

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return self.calls - self.failures

    @property
    def failed(self) -> int:
        """`failures`, under the name that statistics of other kinds have for it."""
        return self.failures


@public("types")
class EndpointHandle:
    """One endpoint in the registry: its numbers, and an operator's hand on it. Thread-safe."""

    __slots__ = ("_denied", "_lock", "_loops", "_registry", "health", "name", "watched_in")

    def __init__(self, name: str, registry: StateStore) -> None:
        self.name = name
        self.health = EndpointHealth()
        self.watched_in: object = None  # the event loop whose task checks its health
        self._denied = False  # a denial has been reported
        self._loops = LoopUsages()
        self._registry = registry
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`

    # -- for the policy

    def note_event_loop(self) -> None:
        """The running loop makes calls here; when it was another one before, calls of closed loops are forgotten."""
        loop = running_loop()
        if loop is None or self._loops.latest.loop() is not loop:
            with self._lock:
                self._loops.here()
                self.forget_lost_calls()

    def forget_lost_calls(self) -> bool:
        """Stop counting the calls of loops that were closed; whether one was closed since the last look."""
        with self._lock:
            if not self._loops.take_ended():
                return False
            self.health.forget_calls()
            return True

    def admit(self, now: float, *, trial: bool = True, forced: bool = False) -> Ticket | None:
        self.note_event_loop()
        with self._lock:
            return self.health.admit(now, trial=trial, forced=forced)

    def succeeded(self, ticket: Ticket, now: float, seconds: float) -> None:
        with self._lock:
            came_back = self.health.succeed(ticket, now, seconds)
        if came_back:
            self._up()

    def failed(self, ticket: Ticket, now: float, verdict: Verdict, *, interval: float, forgiving: bool) -> None:
        error_type = verdict.error_type
        roll = self._registry.rng.random()
        with self._lock:
            rest = self.health.fail(
                ticket, now, error_type, interval=interval, hint=verdict.retry_after, roll=roll, forgiving=forgiving
            )
            first_denial = error_type in DENIED and not self._denied
            self._denied = self._denied or first_denial
        if rest is not None and self._registry.listening:
            event = EndpointDenied if first_denial else EndpointDown
            self._registry.emit(event(self.name, self.name, error_type.value, rest))

    def refused(self, ticket: Ticket, now: float, wait: float | None) -> None:
        with self._lock:
            self.health.refuse(ticket, now, wait)

    def released(self, ticket: Ticket) -> None:
        with self._lock:
            self.health.release(ticket)

    def lost(self, ticket: Ticket, now: float, seconds: float) -> None:
        with self._lock:
            self.health.lose(ticket, now, seconds)

    def checked(self, result: CheckResult, now: float, interval: float) -> None:
        """A health check has ended."""
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

    def _up(self) -> None:
        self._denied = False
        if self._registry.listening:
            self._registry.emit(EndpointUp(self.name, self.name))

    # -- for people

    def stats(self) -> EndpointStats:
        """The numbers of this moment."""
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
            )

    def status(self) -> str:
        stats = self.stats()
        if stats.state is not EndpointState.RESTING:
            return stats.state.value.replace("_", " ")
        why = f" ({stats.last_error_type.value})" if stats.last_error_type is not None else ""
        return f"resting {stats.resting_for:.1f} s{why}" if stats.resting_for else f"trial due{why}"

    def row(self) -> Row:
        stats = self.stats()
        return Row(
            self.name,
            "endpoint",
            self.status(),
            stats.calls,
            stats.ok,
            stats.failed,
            p95=stats.latency_p95,
            alarm=stats.state is not EndpointState.UP,
        )

    def mark_down(self) -> None:
        """Send nothing there until `mark_up`, from any call site that uses this endpoint."""
        with self._lock:
            changed = self.health.mark_down()
        if changed:
            self._registry.emit(EndpointMarked(self.name, self.name, "down"))

    def mark_up(self) -> None:
        """Back in rotation at once, its rests forgotten."""
        with self._lock:
            changed = self.health.mark_up(self._registry.clock.now())
            self._denied = False
        if changed:
            self._registry.emit(EndpointMarked(self.name, self.name, "up"))

    def reset(self) -> None:
        """Up, with every number at zero."""
        with self._lock:
            self.health.clear(self._registry.clock.now())
            self._denied = False

    def __repr__(self) -> str:
        row = self.row()
        return f"<Endpoint {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"
