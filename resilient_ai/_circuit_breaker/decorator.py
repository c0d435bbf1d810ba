"""`@circuit_breaker`: stop calling what is broken, probe it, and come back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload

from anyio.lowlevel import checkpoint

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import (
    ErrorRule,
    Reject,
    error_rules,
    means,
    no_reject_on_a_stream,
    rejection,
)
from resilient_ai._classification.verdict import Verdict
from resilient_ai._core.backend import cancelled
from resilient_ai._core.checks import check_callable
from resilient_ai._core.deadline import bounded
from resilient_ai._core.errors import RejectedResultError
from resilient_ai._core.fast_path import begun
from resilient_ai._core.handlers import Handler, StreamHandler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.watch import as_part_of
from resilient_ai._core.wrapper import Decorator, decorate

from .config import NEUTRAL, CircuitConfig
from .fast_path import add_circuits
from .handle import CircuitBreaker

if TYPE_CHECKING:
    from resilient_ai._core.fast_path import FastPath

    from .state import Ticket

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")

Ignored = ErrorRule | type[BaseException]


class CircuitBreakerPolicy(Policy[CircuitBreaker]):
    kind = "circuit_breaker"
    rank = 80
    not_outside: ClassVar = {
        "classified_retry": "counts a whole retry loop as one failure",
        "batched": "counts one failed call once per waiter",
        "failover": "is one circuit for all endpoints, which refuses the good ones with the bad",
    }
    twice = "count each failure twice in it"
    per_endpoint = True

    def __init__(
        self,
        name: str | None,
        config: CircuitConfig,
        registry: StateStore,
        *,
        key: Callable[..., object] | None,
        reject: Reject | None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: CircuitConfig = config
        self._key = key
        self._reject = reject
        # Of the stack that was bound last, by endpoint: the circuit, and what runs a call within its timeout.
        self._bound: dict[str | None, tuple[CircuitBreaker, Handler | None]] = {}
        self._by_blame = all(each in config.ignore for each in NEUTRAL)

    def make_state(self, name: str) -> CircuitBreaker:
        return CircuitBreaker(name, self.config, self.registry)

    def shares_state(self, other: Policy[Any], site: Site) -> bool:
        # Two keys, or one and none, name other circuits.
        keys = self._key, getattr(other, "_key", None)
        return keys[0] is keys[1] and super().shares_state(other, site)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        inner = self._bounded(bind_inner(site), site, self.config.timeout_seconds)
        if (key := self._key) is None:
            breaker = self.state(site)
            self._bound[site.endpoint] = breaker, inner if self.config.timeout_seconds is not None else None
            return self._guard(inner, breaker)

        async def keyed(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            breaker = self._keyed(key, site, instance, args, kwargs)
            return await self._guard(inner, breaker)(fn, instance, args, kwargs)

        return keyed

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        bound, self._bound = self._bound, {}  # asked once, and a dict takes room
        if self._key is not None or self._reject is not None:
            return False
        add_circuits(path, bound)
        return True

    def bind_stream(self, bind_inner: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        no_reject_on_a_stream(self._reject, site.function)
        first = self._bounded(_next_item, site, self.config.timeout_seconds)
        later = self._bounded(_next_item, site, self.config.idle_timeout_seconds)
        stream = partial(self._guard_stream, bind_inner(site), first, later)
        if (key := self._key) is None:
            return partial(stream, self.state(site))
        return lambda fn, instance, args, kwargs: stream(
            self._keyed(key, site, instance, args, kwargs), fn, instance, args, kwargs
        )

    def _bounded(self, inner: Handler, site: Site, seconds: float | None) -> Handler:
        return inner if seconds is None else bounded(inner, seconds, self.registry.clock, self.state_name(site))

    def _keyed(
        self, key_of: Callable[..., object], site: Site, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> CircuitBreaker:
        key = key_of(*args, **kwargs) if instance is None else key_of(instance, *args, **kwargs)
        name = f"{self.state_name(site)}[{key}]"
        breaker = self.registry.claim_key(self.kind, name, self.config, lambda: self.make_state(name), rank=self.rank)
        breaker.last_used = self.registry.clock.now()  # a call in flight keeps its key
        return breaker

    def _guard(self, inner: Handler, breaker: CircuitBreaker) -> Handler:
        reject, now, circuit = self._reject, self.registry.clock.now, breaker.circuit

        async def guarded(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            run = inner
            if (first := begun(fn)) is not None:
                started, ticket = first.started, first.ticket
            else:
                started, ticket = now(), circuit.open_ticket  # a closed circuit is asked without its lock
            if ticket is None:
                if cancelled():
                    await checkpoint()  # a cancelled caller hears of that, not of the circuit
                if started < circuit.refused_until:
                    raise breaker.refusal(started)
                ticket = breaker.admit(started)
                run = partial(as_part_of, (circuit, ticket), inner)
            try:
                result = await run(fn, instance, args, kwargs)
            except Exception as error:
                self._settle(breaker, ticket, started, error, request=(args, kwargs))
                raise
            except BaseException:
                breaker.released(ticket)
                raise
            if reject is not None:
                self._judge(reject, breaker, ticket, started, result)
            breaker.good(ticket, started, now())
            return result

        return guarded

    async def _guard_stream(
        self,
        inner: StreamHandler,
        first: Handler,
        later: Handler,
        breaker: CircuitBreaker,
        fn: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AsyncGenerator[Any, None]:
        now, next_item = self.registry.clock.now, first
        started = now()
        ticket: Ticket | None = breaker.circuit.open_ticket
        if ticket is None:
            if cancelled():
                await checkpoint()
            ticket = breaker.admit(started)
            probe = breaker.circuit, ticket
            next_item, later = partial(as_part_of, probe, first), partial(as_part_of, probe, later)
        stream: AsyncGenerator[Any, Any] | None = None
        seconds: float | None = None  # how long the provider took to answer; reading on is at the consumer's pace
        try:
            while True:
                try:
                    if stream is None:
                        stream = inner(fn, instance, args, kwargs)
                    item = await next_item(stream.__anext__, None, (), {})
                except StopAsyncIteration:
                    break
                except Exception as error:
                    held, ticket = ticket, None
                    self._settle(breaker, held, started, error, seconds, request=(args, kwargs))
                    raise
                if seconds is None:
                    seconds, next_item = now() - started, later
                # Outside the inner try: what the consumer throws in here is not the provider's doing.
                yield item
            ended = now()
            held, ticket = ticket, None
            breaker.succeeded(held, ended, seconds if seconds is not None else ended - started)
        finally:
            if ticket is not None:
                breaker.released(ticket)
            if stream is not None:
                await stream.aclose()

    def _settle(
        self,
        breaker: CircuitBreaker,
        ticket: Ticket,
        started: float,
        error: Exception,
        seconds: float | None = None,
        request: tuple[object, ...] = (),
    ) -> None:
        """A call raised: tell the circuit, unless the error says nothing about the provider."""
        now = self.registry.clock.now()
        try:
            verdict = classify(error)
            neutral = self._ignores(error, verdict)
        except BaseException:  # out of a classifier of the user's own: no news, and the slot must come back
            breaker.released(ticket)
            raise
        if neutral:
            breaker.released(ticket)
        else:
            took = seconds if seconds is not None else now - started
            breaker.failed(ticket, now, took, error, verdict, request)

    def _judge(self, reject: Reject, breaker: CircuitBreaker, ticket: Ticket, started: float, result: Any) -> None:
        """Raise what `reject` calls the result; if it fails itself, that is nobody's news."""
        try:
            error_type = rejection(reject, result, breaker.name)
        except BaseException:
            breaker.released(ticket)
            raise
        if error_type is None:
            return
        error = RejectedResultError(result, error_type, function=breaker.name)
        self._settle(breaker, ticket, started, error)
        raise error

    def _ignores(self, error: Exception, verdict: Verdict) -> bool:
        if self._by_blame and verdict.blame in ("request", "credential"):
            return True
        for rule in self.config.ignore:
            try:
                if means(rule, error, verdict):
                    return True
            except Exception as broken:  # noqa: BLE001 - the caller must see the provider's error, not this one
                name = getattr(rule, "__qualname__", type(rule).__qualname__)
                error.add_note(f"ignore predicate {name} raised {type(broken).__name__}; the failure counts")
        return False


async def _next_item(fn: Callable[..., Any], _instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
    return await fn()


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
    registry: StateStore | None = None,
) -> Decorator: ...
@public()
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
    registry: StateStore | None = None,
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
        window_seconds: Sliding window of the rates, exact to a ten-thousandth of itself. Default 60.
        window_calls: Let the window be the last so many calls instead. Default off.
        minimum_calls: Calls in the window before a rate counts. Default 20.
        slow_call_seconds: A call that took strictly longer is slow; of a stream, its first item. Default off.
        slow_call_rate_threshold: Share of slow calls in the window that opens. Default 0.5.
        half_open_max_calls: Probes in flight at a time. Default: success_threshold.
        max_recovery_timeout: Re-opening doubles the period up to this; it caps the provider's wait as well.
            Default None: no growth, no cap.
        recovery_jitter: Lengthen each period by up to this share, by chance, so that a fleet does not probe in
            step; at max_recovery_timeout the spread lies below it. Default 0: the periods are the ones you set.
        ignore: Exception types, ErrorTypes or predicates that are neutral, in place of the default; `()` counts
            every exception, `(*NEUTRAL, MyError)` adds to the default.
        key: Called with the call's arguments (the instance first, for a method); one circuit per value. Circuits
            that are closed and idle for 15 minutes are dropped; above 10,000, those idle longest.
        reject: Called with every result; an ErrorType makes it a failure of that type, None lets it pass.
            Not for streams. What it raises itself is raised, and nobody's failure.
        registry: Where the circuit lives. Default: `resilient_ai.registry`.

    Raises:
        CircuitOpenError: By the decorated function, without calling: the circuit is open.
        CallTimeoutError: By the decorated function: the call ran over timeout_seconds.
        RejectedResultError: By the decorated function: `reject` said so.
        TypeError: At decoration: not an async function, or `reject` on one that streams.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, CircuitBreakerPolicy(shared_name, config, where, key=key, reject=reject))

    check_callable("key", key)
    check_callable("reject", reject)
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
        ignore=NEUTRAL if ignore is NEUTRAL else error_rules("ignore", ignore, BaseException),
    )
    return put_on(name) if bare else put_on
