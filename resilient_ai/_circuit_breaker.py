"""`@circuit_breaker`: stop calling what is broken, probe it, and come back."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import anyio.lowlevel

from ._circuit import NEUTRAL, Circuit, CircuitConfig, CircuitState, Ticket
from ._classify import Verdict, classify
from ._errors import CallTimeoutError, CircuitOpenError, ErrorType, RejectedResultError
from ._events import (
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeSet,
    CircuitOpened,
    CircuitWouldOpen,
    Event,
)
from ._policy import Handler, Policy, Site, StreamHandler
from ._registry import Registry, default_registry
from ._report import Row
from ._stack import Decorator, decorate

if TYPE_CHECKING:
    from ._clock import Clock

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")

Ignored = type[BaseException] | ErrorType | Callable[[BaseException], bool]
Reject = Callable[[Any], ErrorType | None]


@dataclass(frozen=True, slots=True)
class CircuitStats:
    """
    What a circuit has seen.

    Attributes:
        state: Half-open begins with the first call after the recovery period; until then it reads open.
        total_calls: Calls that were let through and have ended.
        total_failures: Those that failed.
        neutral: Those that said nothing about the provider: cancelled, rate limited, the caller's own mistake.
        failure_rate: Share of failures among calls that were not neutral, 0.0 without any.
        recent_success_rate: Of the last 5 minutes, at most 100 calls; 1.0 when there were none.
        current_failure_count: Up with a failure, down with a success.
        rejected: Calls refused.
        late: Results that came back after the state had changed.
        slow: Calls longer than slow_call_seconds.
        opened_count: Times it opened.
        probes_in_flight: Probes that hold a slot now.
        window_calls: Calls in the sliding window, 0 when no rate is watched.
        window_failures: Failures among them.
        window_slow: Slow calls among them.
        retry_after: Seconds until a probe is allowed; None when not open or when only an operator knows.
        p95: Seconds, over the last 100 good answers; None without any.
    """

    state: CircuitState
    total_calls: int
    total_failures: int
    neutral: int
    failure_rate: float
    recent_success_rate: float
    current_failure_count: int
    rejected: int
    late: int
    slow: int
    opened_count: int
    probes_in_flight: int
    window_calls: int
    window_failures: int
    window_slow: int
    retry_after: float | None
    p95: float | None


class CircuitBreaker:
    """One circuit in the registry: its numbers, and an operator's hand on it. Thread-safe."""

    __slots__ = ("_listeners", "_lock", "_registry", "circuit", "last_used", "name")

    def __init__(self, name: str, config: CircuitConfig, registry: Registry) -> None:
        self.name = name
        self.circuit = Circuit(config)
        self._registry = registry
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[Event], object], ...] = ()
        self.last_used = registry.clock.now()

    # -- for the policy

    def admit(self, now: float) -> Ticket:
        """A ticket for one call; `CircuitOpenError` when the circuit refuses."""
        with self._lock:
            ticket, changed = self.circuit.admit(now)
            wait, reason, cause = self.circuit.retry_after(now), self.circuit.refusal(), self.circuit.cause
        if changed is not None:
            self._tell(CircuitHalfOpened(self.name))
        if ticket is not None:
            return ticket
        if self._registry.listening:
            self._registry.emit(CallRejected(self.name, reason, wait))
        raise CircuitOpenError(self.name, retry_after=wait, reason=reason) from cause

    def succeeded(self, ticket: Ticket, now: float, seconds: float) -> None:
        with self._lock:
            self.last_used = now
            changed = self.circuit.succeed(ticket, now, seconds)
        if changed is not None:
            self._announce(changed, now)

    def failed(self, ticket: Ticket, now: float, seconds: float, error: BaseException, verdict: Verdict) -> None:
        roll = self._registry.rng.random()
        with self._lock:
            self.last_used = now
            changed = self.circuit.fail(
                ticket,
                now,
                seconds,
                error=error,
                retry_after=verdict.retry_after,
                at_once=verdict.error_type is ErrorType.QUOTA_EXCEEDED,
                roll=roll,
            )
        if changed is not None:
            self._announce(changed, now)

    def released(self, ticket: Ticket) -> None:
        with self._lock:
            self.circuit.release(ticket)

    def idle(self, now: float) -> float:
        """Seconds without a result; -1 for a circuit that must be kept, because it is not simply closed."""
        if self.circuit.state is not CircuitState.CLOSED:
            return -1.0
        good = self.circuit.ok_times
        return now - max(self.last_used, good[-1] if good else self.last_used)

    # -- for people

    @property
    def state(self) -> CircuitState:
        return self.circuit.state

    def stats(self) -> CircuitStats:
        """The numbers of this moment."""
        now = self._registry.clock.now()
        with self._lock:
            circuit = self.circuit
            calls, successes = circuit.recent(now)
            judged = circuit.total_calls - circuit.neutral
            in_window, window_failures, window_slow = circuit.window(now)
            return CircuitStats(
                state=circuit.state,
                total_calls=circuit.total_calls,
                total_failures=circuit.total_failures,
                neutral=circuit.neutral,
                failure_rate=circuit.total_failures / judged if judged else 0.0,
                recent_success_rate=successes / calls if calls else 1.0,
                current_failure_count=circuit.failures,
                rejected=circuit.rejected,
                late=circuit.late,
                slow=circuit.slow,
                opened_count=circuit.opened_count,
                probes_in_flight=circuit.probes_in_flight,
                window_calls=in_window,
                window_failures=window_failures,
                window_slow=window_slow,
                retry_after=circuit.retry_after(now) if circuit.state is CircuitState.OPEN else None,
                p95=circuit.p95(),
            )

    def row(self) -> Row:
        stats = self.stats()
        state = stats.state.value.replace("_", "-")
        if stats.retry_after is not None:
            state += f", probe in {stats.retry_after:.1f} s" if stats.retry_after else ", probe due"
        failed = stats.total_failures
        ok = stats.total_calls - stats.neutral - failed
        return Row(self.name, "circuit_breaker", state, stats.total_calls, ok, failed, p95=stats.p95)

    def trip(self) -> None:
        """
        Open now, for a normal recovery period.

        Raises:
            ValueError: An operator has set another state; `.reset()` it first.
        """
        now = self._registry.clock.now()
        with self._lock:
            changed = self.circuit.trip(now)
        if changed is not None:
            self._announce(changed, now)

    def force_open(self) -> None:
        """Refuse every call until told otherwise."""
        self._force(CircuitState.FORCED_OPEN)

    def force_closed(self) -> None:
        """Let calls through again, counts from zero."""
        self._force(CircuitState.CLOSED)

    def disable(self) -> None:
        """Let every call through and record nothing."""
        self._force(CircuitState.DISABLED)

    def metrics_only(self) -> None:
        """Let every call through, record, never open."""
        self._force(CircuitState.METRICS_ONLY)

    def reset(self) -> None:
        """Closed, with every number at zero."""
        with self._lock:
            self.circuit.clear()
        self._tell(CircuitModeSet(self.name, "reset"))

    def on_transition(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call `listener` with this circuit's events after each change; returns a function that ends it."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return unsubscribe

    def __repr__(self) -> str:
        row = self.row()
        return f"<CircuitBreaker {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"

    def _force(self, state: CircuitState) -> None:
        with self._lock:
            changed = self.circuit.force(state)
        if changed is CircuitState.CLOSED:
            self._tell(CircuitClosed(self.name))
        elif changed is not None:
            self._tell(CircuitModeSet(self.name, changed.value))

    def _announce(self, state: CircuitState, now: float) -> None:
        if state is CircuitState.CLOSED:
            self._tell(CircuitClosed(self.name))
        elif state is CircuitState.METRICS_ONLY:
            self._tell(CircuitWouldOpen(self.name, self.circuit.reason))
        else:
            circuit = self.circuit
            self._tell(CircuitOpened(self.name, circuit.failures, circuit.reason, max(0.0, circuit.open_until - now)))

    def _tell(self, event: Event) -> None:
        self._registry.emit(event)
        for listener in self._listeners:
            self._registry.tell(listener, event)


class CircuitBreakerPolicy(Policy[CircuitBreaker]):
    kind = "circuit_breaker"
    per_endpoint = True

    def __init__(
        self,
        name: str | None,
        config: CircuitConfig,
        registry: Registry,
        *,
        key: Callable[..., object] | None,
        reject: Reject | None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: CircuitConfig = config
        self._key = key
        self._reject = reject

    def make_state(self, name: str) -> CircuitBreaker:
        return CircuitBreaker(name, self.config, self.registry)

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        inner = below(site)
        if (key := self._key) is None:
            return self._guard(inner, self.state(site))
        return lambda fn, instance, args, kwargs: self._guard(inner, self._keyed(key, site, instance, args, kwargs))(
            fn, instance, args, kwargs
        )

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        stream = partial(_guard_stream, below(site), self, self.registry.clock)
        if (key := self._key) is None:
            return partial(stream, self.state(site))
        return lambda fn, instance, args, kwargs: stream(
            self._keyed(key, site, instance, args, kwargs), fn, instance, args, kwargs
        )

    def _keyed(
        self, key_of: Callable[..., object], site: Site, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> CircuitBreaker:
        key = key_of(*args, **kwargs) if instance is None else key_of(instance, *args, **kwargs)
        name = f"{self.state_name(site)}[{key}]"
        return self.registry.claim_key(self.kind, name, self.config, lambda: self.make_state(name))

    def _guard(self, inner: Handler, breaker: CircuitBreaker) -> Handler:
        timeout, reject, clock = self.config.timeout_seconds, self._reject, self.registry.clock
        now, circuit = clock.now, breaker.circuit
        ok_times, ok_seconds = circuit.ok_times, circuit.ok_seconds

        async def guarded(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            started = now()
            # A closed circuit is asked with one look and no lock.
            ticket = circuit.open_pass
            if ticket is None:
                await anyio.lowlevel.checkpoint_if_cancelled()  # a cancelled caller hears of that, not of the circuit
                ticket = breaker.admit(started)
            try:
                if timeout is None:
                    result = await inner(fn, instance, args, kwargs)
                else:
                    with clock.move_on_after(timeout) as scope:
                        result = await inner(fn, instance, args, kwargs)
                    if scope.cancelled_caught:
                        raise CallTimeoutError(breaker.name, timeout_seconds=timeout)
                if reject is not None and (error_type := reject(result)) is not None:
                    raise RejectedResultError(result, error_type, function=breaker.name)
            except Exception as error:
                ended = now()
                self.settle(breaker, ticket, ended, ended - started, error)
                raise
            except BaseException:
                breaker.released(ticket)
                raise
            ended = now()
            if ticket is circuit.quiet_pass and len(ok_times) < 199:
                ok_times.append(ended)
                ok_seconds.append(ended - started)
            else:
                breaker.succeeded(ticket, ended, ended - started)
            return result

        return guarded

    def settle(self, breaker: CircuitBreaker, ticket: Ticket, now: float, seconds: float, error: Exception) -> None:
        """A call raised: tell the circuit, unless the error says nothing about the provider."""
        verdict = classify(error)
        if _ignores(self.config.ignore, error, verdict):
            breaker.released(ticket)
        else:
            breaker.failed(ticket, now, seconds, error, verdict)


async def _guard_stream(
    inner: StreamHandler,
    policy: CircuitBreakerPolicy,
    clock: Clock,
    breaker: CircuitBreaker,
    fn: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncGenerator[Any, None]:
    started = clock.now()
    ticket: Ticket | None = breaker.circuit.open_pass
    if ticket is None:
        await anyio.lowlevel.checkpoint_if_cancelled()
        ticket = breaker.admit(started)
    stream = inner(fn, instance, args, kwargs)
    timeout, seconds = policy.config.timeout_seconds, None
    try:
        while True:
            try:
                if timeout is None:
                    item = await anext(stream)
                else:
                    with clock.move_on_after(timeout) as scope:
                        item = await anext(stream)
                    if scope.cancelled_caught:
                        raise CallTimeoutError(breaker.name, timeout_seconds=timeout)
            except StopAsyncIteration:
                break
            except Exception as error:
                now = clock.now()
                held, ticket = ticket, None
                policy.settle(breaker, held, now, seconds if seconds is not None else now - started, error)
                raise
            if seconds is None:  # how long the provider took to answer; reading on is at the consumer's pace
                seconds = clock.now() - started
                timeout = policy.config.idle_timeout_seconds
            # Outside the inner try: what the consumer throws in here is not the provider's doing.
            yield item
        now = clock.now()
        held, ticket = ticket, None
        breaker.succeeded(held, now, seconds if seconds is not None else now - started)
    finally:
        if ticket is not None:
            breaker.released(ticket)
        await stream.aclose()


def _ignores(ignored: tuple[Any, ...], error: BaseException, verdict: Verdict) -> bool:
    if ignored is NEUTRAL and verdict.blame in ("request", "credential"):
        return True
    return any(
        each is verdict.error_type
        if isinstance(each, ErrorType)
        else isinstance(error, each)
        if isinstance(each, type)
        else each(error)
        for each in ignored
    )


def _ignore_rules(ignore: Ignored | Iterable[Ignored]) -> tuple[Ignored, ...]:
    if isinstance(ignore, ErrorType | type) or callable(ignore):
        ignore = (ignore,)
    rules = tuple(ignore)
    for each in rules:
        if isinstance(each, type) and not issubclass(each, BaseException):
            raise ValueError(f"ignore takes exception types, ErrorTypes or predicates, got the class {each.__name__}")
        if not isinstance(each, ErrorType) and not callable(each):
            raise ValueError(f"ignore takes exception types, ErrorTypes or predicates, got {each!r}")
    return rules


@overload
def circuit_breaker(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def circuit_breaker(fn: Callable[P, AsyncGenerator[Y, None]], /) -> Callable[P, AsyncGenerator[Y, None]]: ...
@overload
def circuit_breaker(fn: Callable[P, AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...
@overload
def circuit_breaker(
    name: str | None = None,
    *,
    failure_threshold: int | None = 5,
    recovery_timeout: float = 60.0,
    success_threshold: int = 3,
    timeout_seconds: float | None = 30.0,
    idle_timeout_seconds: float | None = 30.0,
    failure_rate_threshold: float | None = None,
    window_seconds: float = 60.0,
    window_calls: int | None = None,
    minimum_calls: int = 20,
    slow_call_seconds: float | None = None,
    slow_call_rate_threshold: float = 0.5,
    half_open_max_calls: int | None = None,
    max_recovery_timeout: float | None = None,
    recovery_jitter: float = 0.0,
    ignore: Ignored | Iterable[Ignored] = NEUTRAL,
    key: Callable[..., object] | None = None,
    reject: Reject | None = None,
    registry: Registry | None = None,
) -> Decorator: ...
def circuit_breaker(
    name: Any = None,
    *,
    failure_threshold: int | None = 5,
    recovery_timeout: float = 60.0,
    success_threshold: int = 3,
    timeout_seconds: float | None = 30.0,
    idle_timeout_seconds: float | None = 30.0,
    failure_rate_threshold: float | None = None,
    window_seconds: float = 60.0,
    window_calls: int | None = None,
    minimum_calls: int = 20,
    slow_call_seconds: float | None = None,
    slow_call_rate_threshold: float = 0.5,
    half_open_max_calls: int | None = None,
    max_recovery_timeout: float | None = None,
    recovery_jitter: float = 0.0,
    ignore: Ignored | Iterable[Ignored] = NEUTRAL,
    key: Callable[..., object] | None = None,
    reject: Reject | None = None,
    registry: Registry | None = None,
) -> Any:
    """
    Stop calling a function that keeps failing, probe it after a while, and let calls through again once it answers.

    Closed, a failure adds one to the failure count and a success takes one off; at `failure_threshold` the circuit
    opens and refuses calls. After `recovery_timeout` it is half-open: some probes are let through;
    `success_threshold` good answers close it, one failure opens it again.

    Neither failure nor success are the caller's own mistakes (invalid request, context length, content filter,
    not found, authentication, permission), rate limits, and cancellation. A used-up quota opens at once.

    Args:
        name: Call sites of one name share one circuit. Default: the function's qualified name.
        failure_threshold: Failure count that opens. Default 5; None switches the rule off.
        recovery_timeout: Seconds open before a probe, or the provider's own wait if longer. Default 60.
        success_threshold: Good answers in half-open that close. Default 3.
        timeout_seconds: A call over this is cancelled and is a failure; for a stream, the wait for the first
            item. Default 30; None: no bound.
        idle_timeout_seconds: Streams: the wait for each later item. Default 30; None: no bound.
        failure_rate_threshold: Share of failures in the window, 0 to 1, that opens (inclusive). Default off.
        window_seconds: Sliding window of the rates. Default 60. It holds 10,000 calls at most.
        window_calls: Let the window be the last so many calls instead. Default off.
        minimum_calls: Calls in the window before a rate counts. Default 20.
        slow_call_seconds: A call that took strictly longer is slow; of a stream, its first item. Default off.
        slow_call_rate_threshold: Share of slow calls in the window that opens. Default 0.5.
        half_open_max_calls: Probes in flight at a time. Default: success_threshold.
        max_recovery_timeout: Re-opening doubles the period up to this; it caps the provider's wait as well.
            Default None: no growth, no cap.
        recovery_jitter: Lengthen each period by up to this share, by chance, so that a fleet does not probe in
            step. Default 0.
        ignore: Exception types, ErrorTypes or predicates that are neutral, in place of the default; `()` counts
            every exception.
        key: Called with the call's arguments (the instance first, for a method); one circuit per value. Circuits
            that are closed and idle for 15 minutes are dropped.
        reject: Called with every result; an ErrorType makes it a failure, None lets it pass. Not for streams.
        registry: Where the circuit lives. Default: `resilient_ai.registry`.

    Raises:
        CircuitOpenError: By the decorated function, without calling: the circuit is open.
        CallTimeoutError: By the decorated function: the call ran over timeout_seconds.
        RejectedResultError: By the decorated function: `reject` said so.
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, CircuitBreakerPolicy(shared_name, config, where, key=key, reject=reject))

    bare = callable(name)
    shared_name = None if bare else name
    config = CircuitConfig(
        failure_threshold=failure_threshold,
        recovery_timeout=recovery_timeout,
        success_threshold=success_threshold,
        timeout_seconds=timeout_seconds,
        idle_timeout_seconds=idle_timeout_seconds,
        failure_rate_threshold=failure_rate_threshold,
        window_seconds=window_seconds,
        window_calls=window_calls,
        minimum_calls=minimum_calls,
        slow_call_seconds=slow_call_seconds,
        slow_call_rate_threshold=slow_call_rate_threshold,
        half_open_max_calls=half_open_max_calls,
        max_recovery_timeout=max_recovery_timeout,
        recovery_jitter=recovery_jitter,
        ignore=NEUTRAL if ignore is NEUTRAL else _ignore_rules(ignore),
    )
    return put_on(name) if bare else put_on
