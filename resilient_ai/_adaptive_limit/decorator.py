"""`@adaptive_limit`: only as many calls at a time, and as fast, as the provider handles; the rest wait in a queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload

from resilient_ai._core.callables import without_parentheses
from resilient_ai._core.handlers import Handler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.streams import stream_of
from resilient_ai._core.waiting import InThread
from resilient_ai._core.wrapper import Decorator, decorate

from .config import LimitConfig
from .fast_path import FastPermits
from .gate import LimitGate
from .handle import AdaptiveLimit
from .permit import Permit

if TYPE_CHECKING:
    from resilient_ai._core.fast_path import FastPath

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


class AdaptiveLimitPolicy(Policy[AdaptiveLimit]):
    kind = "adaptive_limit"
    rank = 70
    not_outside: ClassVar = {
        "classified_retry": "holds its place while a retry sleeps",
        "batched": "counts waiting for a batch as the provider's latency",
        "failover": "learns one limit for all endpoints",
    }
    twice = "take two places in it for each call"
    per_endpoint = True
    changeable = tuple(field.name for field in fields(LimitConfig))

    @classmethod
    def default_config(cls) -> LimitConfig:
        return LimitConfig()

    def check_plain(self, function: Any) -> None:
        """Accept it: its callers block while they wait in the queue."""

    def in_test(self, attempts: int) -> None:
        """Let every call through."""

    def make_state(self, name: str) -> AdaptiveLimit:
        return AdaptiveLimit(name, self.config, self.registry)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        gate, clock = self.state(site)._gate, self.registry.clock
        thread = InThread(clock) if site.plain else None
        self.keep_for_fast_path(site, FastPermits(gate))
        return _LimitedFunction(bind_inner(site), gate, clock.now, thread, alternative=site.alternative).call

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        return path.add_permits(self.take_for_fast_path())


class _LimitedFunction:
    """
    Runs one function below a limit; a closure for each function would take three times as much memory.

    Args:
        inner: Runs the policies and the function below.
        gate: Of the limit.
        now: The clock.
        thread: That of a plain function; None: a task waits.
        alternative: Whether another endpoint can be asked.
    """

    __slots__ = ("_alternative", "_gate", "_inner", "_now", "_thread")

    def __init__(
        self, inner: Handler, gate: LimitGate, now: Callable[[], float], thread: InThread | None, *, alternative: bool
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._now = now
        self._thread = thread
        self._alternative = alternative

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        gate, inner, now = self._gate, self._inner, self._now
        permit: Permit | None = None if (first := begun(fn)) is None else first.permit_of(gate)
        if permit is None:
            permit = gate.enter(now()) or await gate.wait_in_queue(self._thread, alternative=self._alternative)
        try:
            result = await inner(fn, instance, args, kwargs)
        except BaseException as error:
            gate.ended(permit, error)
            raise
        if type(result) is ReturnedStream:
            _hold(gate, permit, result)
        else:
            gate.ended(permit, None)
        return result


def _hold(gate: LimitGate, permit: Permit, result: ReturnedStream) -> None:
    """Let a stream keep its permit until it ends."""
    stream = stream_of(result)
    if stream.begun:
        gate.answered(permit)
    stream.add(_LimitedStream(gate, permit))


class _LimitedStream:
    __slots__ = ("_gate", "_permit")

    def __init__(self, gate: LimitGate, permit: Permit) -> None:
        self._gate = gate
        self._permit = permit

    def ended(self) -> None:
        self._gate.ended(self._permit, None)

    def broke(self, error: Exception) -> None:
        self._gate.ended(self._permit, error)

    def left(self) -> None:
        self._gate.released(self._permit)


@overload
def adaptive_limit(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def adaptive_limit(
    name: str | None = None,
    *,
    initial: int = 20,
    min_limit: int = 1,
    max_limit: int = 1000,
    pace: bool = True,
    max_wait: float | None = None,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Decorator: ...
@public()
def adaptive_limit(
    name: Any = None,
    *,
    initial: int = 20,
    min_limit: int = 1,
    max_limit: int = 1000,
    pace: bool = True,
    max_wait: float | None = None,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Any:
    """
    Send no more than the provider handles: a learnt limit on calls at a time and on calls per second.

    The limit grows while answers come in normal time and the limit is in use. It shrinks when the provider is
    overloaded, when calls time out, and while answers take far longer than normal: first by the part that was
    unused, then by half at most. If answers stay slow with no more calls than in good times, their time becomes
    the new normal. A provider that has stopped answering gets one more call per response time until it is back.
    At a rate limit calls are paced: at 0.7 of the rate that was being accepted, back at that rate after 5 seconds,
    then carefully faster, and unlimited after 15; not before the provider's `retry_after` unless other calls are
    accepted meanwhile. Right after an outage that rate is not known, and the pace doubles each second until calls
    are refused.

    Both need evidence. A refusal is compared with the share of calls that the provider refuses however few it gets:
    up to a fifth of all calls refused by chance costs no answers. A first refusal slows down the next 20 calls to see
    whether that helps, more refusals than by chance lower the pace or the limit, and a pace never falls below a tenth
    of what was accepted before.

    Callers without a permit wait in a queue: the earliest deadline is served first; among equal deadlines, and
    without one, the caller that came first. A caller that would not be served in time is refused at once: the wait
    and a slow answer must fit into the deadline of the enclosing anyio scope. While the queue does not empty, the
    wait must also be shorter than a quarter of the time left: a standing queue makes every call late. A
    `classified_retry` above retries refused calls while their deadline allows.

    A call that is made inside another one, as when a function calls itself, uses the permit of the outer call when
    there is no other: the outer call waits for it. When an event loop is closed with calls under way, their permits
    are returned.

    Put it below `failover`, so that each endpoint has a limit of its own, and best right above `circuit_breaker`: then
    the wait in the queue counts neither for the circuit's timeout nor for its slow calls. (Below the circuit it is safe
    as well: no caller waits in the queue longer than the circuit's timeout.)

    Args:
        name: Call sites with the same name share one limit. Default: the function's qualified name.
        initial: Calls at a time before anything is known. Default 20.
        min_limit: The lowest that the limit may fall. Default 1.
        max_limit: The highest that it may grow. Default 1000.
        pace: Whether a rate limit sets a pace; if False, it lowers the limit as an overload does. Default True.
        max_wait: Most seconds in the queue; 0 never waits. Default None: as long as the caller's deadline allows,
            60 seconds for a caller without one.
        max_queue_size: Most callers in the queue. Default 1000.
        registry: The registry that holds the limit. Default: `resilient_ai.registry`.

    Raises:
        LimitReachedError: By the decorated function, without a call: no permit in time, or the queue is full.
        TypeError: At decoration: not a function.
        ValueError: At decoration: an invalid setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, AdaptiveLimitPolicy(None if bare else name, config, where))

    bare = without_parentheses(name)
    config = LimitConfig(initial, min_limit, max_limit, pace, max_wait, max_queue_size)
    return put_on(name) if bare else put_on
