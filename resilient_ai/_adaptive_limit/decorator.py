"""`@adaptive_limit`: no more calls at a time, and no faster, than the provider takes; the others wait in a queue."""

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
        """Its callers wait in the queue by blocking."""

    def in_test(self, attempts: int) -> None:
        """Lets every call through."""

    def make_state(self, name: str) -> AdaptiveLimit:
        return AdaptiveLimit(name, self.config, self.registry)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        gate, clock = self.state(site)._gate, self.registry.clock
        thread = InThread(clock) if site.plain else None
        self.keep_for_fast_path(site, FastPermits(gate))
        return _LimitedFunction(bind_inner(site), gate, clock.now, thread, spare=site.spare).call

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:  # noqa: ARG002
        return path.add_permits(self.take_for_fast_path())


class _LimitedFunction:
    """
    What runs one function below a limit; a closure for each function would take three times the room.

    Args:
        inner: Runs what lies below.
        gate: The limit's.
        now: The clock.
        thread: That of a plain function; None: a task waits.
        spare: Whether another endpoint can be asked.
    """

    __slots__ = ("_gate", "_inner", "_now", "_spare", "_thread")

    def __init__(
        self, inner: Handler, gate: LimitGate, now: Callable[[], float], thread: InThread | None, *, spare: bool
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._now = now
        self._thread = thread
        self._spare = spare

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        gate, inner, now = self._gate, self._inner, self._now
        permit: Permit | None = None if (first := begun(fn)) is None else first.permit_of(gate)
        if permit is None:
            permit = gate.enter(now()) or await gate.wait_in_queue(self._thread, spare=self._spare)
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
    Send no more than the provider takes: a limit of calls at a time, and of calls a second, that is learnt.

    The limit grows while answers come in normal time and the limit is used. It shrinks when the provider is
    overloaded, when calls time out, and while answers take far longer than they normally do: first by what nobody
    used, then by half at most. If as few calls as in good times do not become quicker, their time is normal now.
    A provider that has stopped answering is asked by one more call in the time of an answer until it is back.
    At a rate limit calls are paced: at 0.7 of the rate that was being accepted, back at that rate after 5 seconds,
    carefully faster, and free after 15; not before the provider's `retry_after` while nothing else is taken.

    Both need evidence. A refusal is held against the share that the provider refuses anyway, however little it gets:
    up to a fifth of all calls refused by chance costs no answers. A first refusal slows down the next 20 calls to see
    whether that helps, more refusals than by chance lower the pace or the limit, and a pace never falls below a tenth
    of what was accepted before.

    Callers without a permit wait in a queue: the earliest deadline is served first, and who came first among equal
    ones and without a deadline. Whoever would not be served in time is turned away at once: in time means that the
    wait and a slow answer fit into the deadline of the enclosing anyio scope. While the queue does not empty, it also
    means within a quarter of the time left: a standing queue makes everybody late. A `classified_retry` above asks
    again for those who were turned away, while their deadline allows.

    A call that is made inside another one, as when a function calls itself, uses the permit of the outer call when
    there is no other: the outer call waits for it. When an event loop is closed with calls under way, their permits
    come back.

    Put it below `failover`, where each endpoint has a limit of its own, and best right above `circuit_breaker`: then
    the wait in the queue counts neither for the circuit's timeout nor for its slow calls. (Below the circuit it is safe
    as well: nobody waits in the queue past the circuit's timeout.)

    Args:
        name: Call sites of one name share one limit. Default: the function's qualified name.
        initial: Calls at a time before anything is known. Default 20.
        min_limit: The limit never falls below this. Default 1.
        max_limit: It never grows above this. Default 1000.
        pace: Whether a rate limit sets a pace; if not, it shrinks the limit as an overload does. Default True.
        max_wait: Seconds in the queue at most; 0 never waits. Default None: as long as the caller's deadline allows,
            60 seconds for a caller without one.
        max_queue_size: Callers in the queue at most. Default 1000.
        registry: Where the limit lives. Default: `resilient_ai.registry`.

    Raises:
        LimitReachedError: By the decorated function, without calling: no permit in time, or the queue is full.
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, AdaptiveLimitPolicy(None if bare else name, config, where))

    bare = without_parentheses(name)
    config = LimitConfig(initial, min_limit, max_limit, pace, max_wait, max_queue_size)
    return put_on(name) if bare else put_on
