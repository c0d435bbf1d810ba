"""`@circuit_breaker`: stop calling what is broken, probe it, and resume when it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload

from resilient_ai._classification.error_rules import (
    ErrorRule,
    Reject,
    error_rules,
)
from resilient_ai._core.callables import shape_of, without_parentheses
from resilient_ai._core.checks import check_callable
from resilient_ai._core.deadline import bounded
from resilient_ai._core.handlers import Handler
from resilient_ai._core.opening import call_plainly
from resilient_ai._core.plain_settings import for_plain_functions
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.state_name import StateName
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.streams import stream_of
from resilient_ai._core.wrapper import Decorator, decorate

from .config import DEFAULT_TIMEOUT, NEUTRAL, CircuitConfig
from .course import Guard, KeyInUse
from .fast_path import add_circuits
from .handle import CircuitBreaker
from .shared import SharedCircuit

if TYPE_CHECKING:
    from resilient_ai._core.fast_path import FastPath


P = ParamSpec("P")
R = TypeVar("R")

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
    changeable = tuple(field.name for field in fields(CircuitConfig) if field.name not in ("ignore", "plain"))
    measures = True

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

    def in_test(self, attempts: int) -> None:
        """A test's policy lets every call through."""

    def check_plain(self, function: Any) -> None:
        """Plain functions are allowed, without timeouts, which need calls that are awaited."""

    def options(self) -> dict[str, Any]:
        return {"key": self._key, "reject": self._reject}

    @classmethod
    def default_config(cls) -> CircuitConfig:
        return CircuitConfig()

    def make_state(self, name: str) -> CircuitBreaker:
        return CircuitBreaker(name, self.config, self.registry)

    def shares_state(self, other: Policy[Any], site: Site) -> bool:
        # With different `key=`, or with and without one, two layers of one name use different circuits.
        keys = self._key, getattr(other, "_key", None)
        return keys[0] is keys[1] and super().shares_state(other, site)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        inner, run = bind_inner(site), self._within_timeout(site)
        guard = Guard(self.config, self._reject, self.registry.clock, self.state_name(site), plain=site.plain)
        if (key := self._key) is None:
            shared = self.state(site)._shared
            self.keep_for_fast_path(site, (shared, run))
            return guard.function(inner, shared, run)

        async def keyed(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            shared = self._keyed(key, site, instance, args, kwargs)
            shared.entered()
            try:
                result = await guard.function(inner, shared, run)(fn, instance, args, kwargs)
            except BaseException:
                shared.left()
                raise
            if type(result) is ReturnedStream:
                stream_of(result).add(KeyInUse(shared))
            else:
                shared.left()
            return result

        return keyed

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        circuits = self.take_for_fast_path()
        if self._key is not None or self._reject is not None:
            return False
        add_circuits(path, circuits)
        return True

    @property
    def needs_own_task(self) -> bool | None:
        if self.config.timeout_seconds is None and self.config.idle_timeout_seconds is None:
            return False
        return None if getattr(self.registry.clock, "real", False) else True

    def _within_timeout(self, site: Site) -> Handler | None:
        """A handler that runs a call within its timeout; None without one. A stream's signs of life extend it."""
        seconds, idle = self.config.timeout_seconds, self.config.idle_timeout_seconds
        if seconds is None:
            return None
        renewal = math.inf if idle is None else idle
        return bounded(call_plainly, seconds, self.registry.clock, self.state_name(site), renewal=renewal)

    def _keyed(
        self, key_of: Callable[..., object], site: Site, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> SharedCircuit:
        key = key_of(*args, **kwargs) if instance is None else key_of(instance, *args, **kwargs)
        name = f"{self.state_name(site)}[{key}]"

        def make() -> CircuitBreaker:
            return self.make_state(StateName(name, self.name or site.function, site.endpoint, str(key)))

        return self.registry.claim_key(self.kind, name, self.declared, make, rank=self.rank)._shared


@overload
def circuit_breaker(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def circuit_breaker(
    name: str | None = None,
    *,
    failure_threshold: int | None = 5,
    recovery_timeout: float = 60.0,
    success_threshold: int = 3,
    timeout_seconds: float | None = DEFAULT_TIMEOUT,
    idle_timeout_seconds: float | None = DEFAULT_TIMEOUT,
    failure_rate_threshold: float | None = None,
    window_seconds: float = 60.0,
    window_calls: int | None = None,
    minimum_calls: int = 20,
    slow_call_seconds: float | None = None,
    slow_call_rate_threshold: float = 0.5,
    half_open_max_calls: int | None = None,
    max_recovery_timeout: float | None = None,
    recovery_jitter: float = 0.0,
    wait_for_all_probes: bool = False,
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
    timeout_seconds: float | None = DEFAULT_TIMEOUT,
    idle_timeout_seconds: float | None = DEFAULT_TIMEOUT,
    failure_rate_threshold: float | None = None,
    window_seconds: float = 60.0,
    window_calls: int | None = None,
    minimum_calls: int = 20,
    slow_call_seconds: float | None = None,
    slow_call_rate_threshold: float = 0.5,
    half_open_max_calls: int | None = None,
    max_recovery_timeout: float | None = None,
    recovery_jitter: float = 0.0,
    wait_for_all_probes: bool = False,
    ignore: Ignored | Iterable[Ignored] = NEUTRAL,
    key: Callable[..., object] | None = None,
    reject: Reject | None = None,
    registry: StateStore | None = None,
) -> Any:
    """
    Stop calling a function that keeps failing, probe it after a while, and let calls through again when it answers.

    While the circuit is closed, a failure adds one to the failure count and a success subtracts one; at
    `failure_threshold` the circuit opens and refuses calls. After `recovery_timeout` it is half-open and lets some
    probes through; `success_threshold` good answers close it, one failure opens it again.

    Neither failure nor success are the caller's own mistakes (invalid request, context length, content filter,
    not found, authentication, permission), rate limits, and cancellation. A used-up quota opens at once.

    Args:
        name: Call sites of one name share one circuit. Default: the function's qualified name.
        failure_threshold: Failure count that opens the circuit. Default 5; None switches the rule off.
        recovery_timeout: Seconds open before a probe, or the provider's own wait if longer. Default 60.
        success_threshold: Good answers that close a half-open circuit. Default 3.
        timeout_seconds: A call that takes longer is cancelled and counts as a failure; for a stream, this is the wait
            for the first item. Default 30; for plain functions none, because they cannot be stopped. None: no bound.
        idle_timeout_seconds: For streams: most seconds between two items, and until the first item after a sign of
            life: the endpoints of `resilient_ai.providers` report events that are not items (reasoning, tool
            arguments). Default 30, for plain functions none; None: no bound.
        failure_rate_threshold: Share of failures in the window, 0 to 1, that opens (inclusive). Default None: off.
        window_seconds: Sliding window of the rates in seconds, exact to a ten-thousandth of itself. Default 60.
        window_calls: Use a window of the last so many calls instead. Default None: off.
        minimum_calls: Calls in the window before a rate counts. Default 20.
        slow_call_seconds: A call that took strictly longer is slow; for a stream, its first item. Default None: off.
        slow_call_rate_threshold: Share of slow calls in the window, 0 to 1, that opens. Default 0.5.
        half_open_max_calls: Most probes in flight at a time. Default: success_threshold. After ten failures in a row
            the first probe is sent 0.2 s before the others: a provider that is down refuses it, and gets no others.
        max_recovery_timeout: Each re-opening doubles the period up to so many seconds; the provider's own wait is
            capped too. Default None: no growth, no cap.
        recovery_jitter: Lengthen each period randomly by up to this share, so that the processes of a fleet do not
            probe at the same time; at max_recovery_timeout the spread is below it. Default 0: no jitter.
        wait_for_all_probes: Whether a half-open circuit opens again when the last of its probes fails, in place of the
            first. Refusals come sooner than answers, and a provider that refuses some calls by chance refuses one of
            several probes nearly always. The slot of a failed probe is free again after the period. Default False.
        ignore: Exception types, ErrorTypes or predicates that are neutral, in place of the default; `()` counts
            every exception, `(*NEUTRAL, MyError)` adds to the default.
        key: Called with the call's arguments (the instance first, for a method); one circuit per value. Circuits
            that are closed and idle for 15 minutes are dropped; above 10,000, those idle longest. Default None: one
            circuit.
        reject: Called with every result, and with every item of a stream; an ErrorType makes it a failure of that
            type, None accepts it. An error of `reject` itself is raised, and does not count as a failure. Default None:
            every result is accepted.
        registry: The registry that keeps the circuit. Default: `resilient_ai.registry`.

    Raises:
        CircuitOpenError: By the decorated function, without calling: the circuit is open.
        CallTimeoutError: By the decorated function: the call ran over timeout_seconds.
        RejectedResultError: By the decorated function: `reject` rejected the result.
        TypeError: At decoration: not a function.
        ValueError: At decoration: a bad setting, a timeout for a plain function, or the name exists with other
            settings; plain and async functions of one name may differ in timeouts.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        settings = for_plain_functions(config) if shape_of(fn, CircuitBreakerPolicy.kind).plain else config
        return decorate(fn, CircuitBreakerPolicy(shared_name, settings, where, key=key, reject=reject))

    check_callable("key", key)
    check_callable("reject", reject)
    bare = without_parentheses(name)
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
        wait_for_all_probes=wait_for_all_probes,
        ignore=NEUTRAL if ignore is NEUTRAL else error_rules("ignore", ignore, BaseException),
    )
    return put_on(name) if bare else put_on
