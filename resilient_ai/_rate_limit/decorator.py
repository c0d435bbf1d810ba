"""`@rate_limit`: send no more requests and tokens a minute than the provider allows; other callers queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, ParamSpec, TypeVar, overload

from resilient_ai._core.checks import each_alone
from resilient_ai._core.fast_path import FastPath, Permits
from resilient_ai._core.handlers import Handler
from resilient_ai._core.metering import metered
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.streams import OpenStream, stream_of
from resilient_ai._core.waiting import InThread
from resilient_ai._core.wrapper import Decorator, decorate

from .config import RateLimitConfig
from .estimate import Cost, TokenEstimate, check_cost
from .fast_path import FastQuota, FastTokens, sent_of
from .gate import RateGate, Sent
from .handle import RateLimit

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


class RateLimitPolicy(Policy[RateLimit]):
    kind = "rate_limit"
    rank = 60
    not_outside: ClassVar = {
        "classified_retry": "counts a whole loop of attempts as one request",
        "batched": "counts every item as a request of its own",
        "failover": "keeps one quota for all endpoints",
    }
    not_inside: ClassVar = {
        "adaptive_limit": "holds permits for calls that wait for the quota, and takes their wait for slow answers",
        "circuit_breaker": "counts the wait for the quota against the circuit's timeout",
    }
    twice = "take each call out of it twice"
    per_endpoint = True
    changeable = tuple(field.name for field in fields(RateLimitConfig))

    @classmethod
    def default_config(cls) -> RateLimitConfig:
        with each_alone():  # the limits have no default
            return RateLimitConfig()

    def __init__(self, name: Any, config: RateLimitConfig, registry: StateStore, cost: Cost | None = None) -> None:
        super().__init__(name, config, registry)
        self._cost = cost

    def options(self) -> dict[str, Any]:
        return {"cost": self._cost}

    def check_plain(self, function: Any) -> None:
        """Plain functions are allowed: their callers wait by blocking."""

    def in_test(self, attempts: int) -> None:
        """A test's policy lets every call through."""

    def make_state(self, name: str) -> RateLimit:
        return RateLimit(name, self.config, self.registry)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        inner, gate, estimate = bind_inner(site), self.state(site)._gate, TokenEstimate(self._cost)
        gate.belong_to(site.handed)
        self.keep_for_fast_path(site, (gate, estimate, site))
        thread = InThread(self.registry.clock) if site.plain else None

        async def limited(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if (first := begun(fn)) is not None and (permit := first.permit_of(gate)) is not None:
                sent = sent_of(permit, gate)
                sent.end(result=first.result, error=first.error)
            else:
                guessed = estimate.guess(instance, args, kwargs) if gate.counts_tokens else 0.0
                sent = gate.enter(guessed, estimate) or await gate.wait_in_line(guessed, estimate, thread)
            try:
                run = metered(inner, sent, site.endpoint, innermost=False) if gate.counts_tokens else inner
                result = await run(fn, instance, args, kwargs)
            except BaseException as error:
                gate.failed(sent, error)
                raise
            if type(result) is ReturnedStream:
                _hold(gate, sent, result)
            else:
                gate.succeeded(sent, result)
            return result

        return limited

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        gates = self.take_for_fast_path()
        if site.plain and any(gate.counts_tokens for gate, *_ in gates.values()):
            return False  # only the policy above knows what it hands in as the endpoint
        permits: dict[str | None, Permits] = {
            endpoint: FastTokens(gate, estimate, where, method=path.method) if gate.counts_tokens else FastQuota(gate)
            for endpoint, (gate, estimate, where) in gates.items()
        }
        return path.add_permits(permits)


def _hold(gate: RateGate, sent: Sent, result: ReturnedStream) -> None:
    """Settle the call when its stream ends."""
    stream: OpenStream = stream_of(result)
    gate.opened(sent, result, begun=bool(stream.begun))
    stream.add(_LimitedStream(gate, sent))


class _LimitedStream:
    __slots__ = ("_gate", "_sent")

    def __init__(self, gate: RateGate, sent: Sent) -> None:
        self._gate = gate
        self._sent = sent

    def ended(self) -> None:
        self._gate.stream_ended(self._sent)

    def broke(self, error: Exception) -> None:
        self._gate.failed(self._sent, error)

    def left(self) -> None:
        self._gate.left(self._sent)


@overload
def rate_limit(
    name: str | None = None,
    *,
    requests_per_minute: float,
    tokens_per_minute: float | None = None,
    cost: Cost | None = None,
    max_wait: float | None = None,
    burst: float = 5.0,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Decorator: ...
@overload
def rate_limit(
    name: str | None = None,
    *,
    requests_per_minute: float | None = None,
    tokens_per_minute: float,
    cost: Cost | None = None,
    max_wait: float | None = None,
    burst: float = 5.0,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Decorator: ...
@public()
def rate_limit(
    name: Any = None,
    *,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    cost: Cost | None = None,
    max_wait: float | None = None,
    burst: float = 5.0,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Any:
    """
    Keep to a known quota of requests or tokens a minute. Callers wait for their turn.

    Both limits are token buckets that fill evenly and hold `burst` seconds of the quota; they begin full. A caller that
    comes when a bucket is empty waits in a queue, first come first served. A caller that cannot be served in time is
    refused at once: the wait and a slow answer must fit into the deadline of the enclosing anyio scope, and the wait
    into `max_wait`. A call that needs more tokens than a minute allows is refused without a `retry_after`.

    Tokens are estimated before the call and corrected by the usage reported with the answer: by results and streams of
    the known SDKs, a `Reply`, or `report_usage` inside the function. The average error corrects later estimates, so a
    rough one is enough. A call that a policy below refused, or that found no connection, gives back what it took.

    The provider's headers correct the buckets where they can be read: on errors, on raw responses, on streams that know
    their response. If little is left, calls slow down; if nothing is left, they stop. After a refusal (429) all calls
    wait as long as the provider asks. The limits are cut to 0.9, and grow back by 1 % a second.

    In a registry that has joined a fleet (`registry.join`), all workers share the quota. The fleet's server keeps it,
    and each worker leases units ahead of its demand, so that a call seldom waits for the server. Without the server, a
    worker goes on with its latest part of the quota, or an equal part.

    For unknown quotas there is `adaptive_limit`; both can be stacked. Put `rate_limit` below `failover`, where each
    endpoint has a quota of its own (an endpoint's own `requests_per_minute` and `tokens_per_minute` replace the numbers
    given here), and above `adaptive_limit` and `circuit_breaker`, which would take the wait for slow answers.

    Args:
        name: Call sites of one name share one quota. Default: the function's qualified name.
        requests_per_minute: Requests that the provider allows. Default None: not limited; one of the two is needed.
        tokens_per_minute: Tokens that it allows, input and output together. Default None: not limited.
        cost: Tokens of a call, or a function of the call's arguments (the instance first, for a method) that returns
            them. Default: a quarter of the bytes of all texts in the arguments, and 100 for the answer.
        max_wait: Most seconds in the queue; 0 never waits. Default None: as long as the caller's deadline allows, 60
            seconds for a caller without one.
        burst: Seconds of the quota that may be sent at once after a pause; 1 for a provider that counts by the second.
            Default 5; at most 60.
        max_queue_size: Most callers in the queue. Default 1000.
        registry: The registry that keeps the quota. Default: `resilient_ai.registry`.

    Raises:
        LimitReachedError: By the decorated function, without a call: it cannot be served in time, the queue is full,
            or the call needs more tokens than a minute allows.
        TypeError: At decoration: not a function.
        ValueError: At decoration: a bad setting, neither of the two limits, or the name exists with other settings.
    """
    check_cost(cost)
    config = RateLimitConfig(requests_per_minute, tokens_per_minute, max_wait, burst, max_queue_size)

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, RateLimitPolicy(name, config, where, cost))

    return put_on
