"""`@failover`: ask another endpoint at once when one fails, and let the failed one rest."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

import anyio.lowlevel

from ._checks import check_number
from ._endpoint import EndpointHandle, EndpointStats, Named
from ._errors import RejectedResultError
from ._policy import Handler, Policy, Site, StreamHandler
from ._registry import Registry, default_registry
from ._report import Row
from ._search import Rules, Search, Step
from ._stack import decorate
from ._strategy import STRATEGIES, Lane, Strategy, choice_among, quick_choice, weight_of
from ._watch import watching

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Y = TypeVar("Y")
E_co = TypeVar("E_co", covariant=True)
F = TypeVar("F", bound=Named)

Reject = Callable[[Any], Any]


class FailoverDecorator(Protocol[E_co]):
    """A decorator that hands the endpoint in: the first argument, or the first after `self`, is gone for callers."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[E_co, P], Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[E_co, P], AsyncGenerator[Y, None]], /
    ) -> Callable[P, AsyncGenerator[Y, None]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[S, E_co, P], Coroutine[Any, Any, R]], /
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # a method's self is no endpoint
        self, fn: Callable[Concatenate[S, E_co, P], AsyncGenerator[Y, None]], /
    ) -> Callable[Concatenate[S, P], AsyncGenerator[Y, None]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[E_co, P], AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[S, E_co, P], AsyncIterator[Y]], /
    ) -> Callable[Concatenate[S, P], AsyncIterator[Y]]: ...


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """Settings that call sites of one name share. Times are in seconds."""

    endpoints: tuple[str, ...]
    strategy: Any = "round_robin"
    health_check: Any = None
    health_check_interval: float = 30.0
    max_endpoints: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.strategy) and self.strategy not in STRATEGIES:
            known = ", ".join(repr(each) for each in STRATEGIES)
            raise ValueError(f"strategy must be {known} or a callable, got {self.strategy!r}")
        if self.health_check not in (None, False) and not callable(self.health_check):
            raise ValueError(f"health_check must be an async function, None or False, got {self.health_check!r}")
        check_number("health_check_interval", self.health_check_interval, least=0)
        check_number("max_endpoints", self.max_endpoints, least=1, whole=True, optional=True)


@dataclass(frozen=True, slots=True)
class FailoverStats:
    """
    What a failover has seen.

    Attributes:
        calls: Calls that have ended with an answer or with no endpoint left.
        ok: Those that were answered.
        failures: Those that no endpoint answered.
        moves: Times a call went on to another endpoint.
        endpoints: Per endpoint, by name; shared with other call sites that use it.
    """

    calls: int
    ok: int
    failures: int
    moves: int
    endpoints: Mapping[str, EndpointStats]


class Failover:
    """One failover in the registry: its numbers, and an operator's hand on its endpoints. Thread-safe."""

    __slots__ = ("_lock", "_registry", "endpoints", "failures", "moves", "name", "ok")

    def __init__(self, name: str, endpoints: Mapping[str, EndpointHandle], registry: Registry) -> None:
        self.name = name
        self.endpoints = dict(endpoints)
        self._registry = registry
        self._lock = threading.Lock()
        self.ok = self.failures = self.moves = 0

    # -- for the policy

    def moved(self) -> None:
        with self._lock:
            self.moves += 1

    def failed(self) -> None:
        with self._lock:
            self.failures += 1

    # -- for people

    def stats(self) -> FailoverStats:
        """The numbers of this moment."""
        endpoints = {name: endpoint.stats() for name, endpoint in self.endpoints.items()}
        return FailoverStats(self.ok + self.failures, self.ok, self.failures, self.moves, endpoints)

    def row(self) -> Row:
        up = sum(endpoint.stats().healthy for endpoint in self.endpoints.values())
        state = f"{up} of {len(self.endpoints)} up"
        return Row(self.name, "failover", state, self.ok + self.failures, self.ok, self.failures, self.moves)

    def mark_down(self, name: str) -> None:
        """Send nothing to that endpoint until `mark_up`, from any call site that uses it."""
        self._endpoint(name).mark_down()

    def mark_up(self, name: str) -> None:
        """Take that endpoint back into rotation at once, its rests forgotten."""
        self._endpoint(name).mark_up()

    def reset(self) -> None:
        """Every number at zero, every endpoint up."""
        with self._lock:
            self.ok = self.failures = self.moves = 0
        for endpoint in self.endpoints.values():
            endpoint.reset()

    def _endpoint(self, name: str) -> EndpointHandle:
        try:
            return self.endpoints[name]
        except KeyError:
            known = ", ".join(repr(each) for each in self.endpoints)
            raise KeyError(f"failover {self.name!r} has no endpoint named {name!r}; there are: {known}") from None

    def __repr__(self) -> str:
        each = ", ".join(f"{name} {endpoint.status()}" for name, endpoint in self.endpoints.items())
        return f"<Failover {self.name!r}: {each}>"


class FailoverPolicy(Policy[Failover]):
    kind = "failover"
    injected = True

    def __init__(
        self,
        name: str | None,
        config: FailoverConfig,
        registry: Registry,
        endpoints: Sequence[Named],
        reject: Reject | None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: FailoverConfig = config
        self.reject = reject
        self.handles = {
            name: registry.claim("endpoint", name, None, lambda name=name: EndpointHandle(name, registry))  # type: ignore[misc]
            for name in config.endpoints
        }
        self._endpoints = tuple(endpoints)
        self._among = choice_among(config.strategy, registry.rng)

    def make_state(self, name: str) -> Failover:
        return Failover(name, self.handles, self.registry)

    def status(self) -> str:
        names = ", ".join(repr(name) for name in self._states)
        return f"{names} over " + ", ".join(f"{name} {each.status()}" for name, each in self.handles.items())

    def _lanes(self, below: Callable[[Site], Any], site: Site) -> tuple[Lane, ...]:
        outer = f"{site.endpoint}/" if site.endpoint is not None else ""
        return tuple(
            Lane(
                index,
                endpoint,
                endpoint.name,
                weight_of(endpoint, endpoint.name),
                self.handles[endpoint.name],
                below(replace(site, endpoint=outer + endpoint.name)),
            )
            for index, endpoint in enumerate(self._endpoints)
        )

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        failover, lanes, reject, now = self.state(site), self._lanes(below, site), self.reject, self.registry.clock.now
        rules = self._rules(failover, site)
        quick = quick_choice(self.config.strategy, lanes, self.registry.rng, self.registry.clock)

        async def asked(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            search: Search | None = None
            started = now()
            # An endpoint that is simply up is taken with one look, no lock and no search.
            if quick is not None and (ticket := (lane := quick()).health.open_pass) is not None:
                lane.health.in_flight += 1
            else:
                await anyio.lowlevel.checkpoint_if_cancelled()
                search = Search(rules, lanes)
                lane, ticket = _go(search.begin(started))
            while True:
                try:
                    result = await lane.call(fn, instance, (lane.endpoint, *args), kwargs)
                    if reject is not None and (error_type := reject(result)) is not None:
                        raise RejectedResultError(result, error_type, function=site.function)
                except Exception as error:
                    if search is None:
                        search = Search(rules, lanes)
                        search.adopt(lane)
                    step = search.after(lane, ticket, started := now(), error)
                    if step is error:
                        raise
                    lane, ticket = _go(step, error)
                except BaseException:
                    lane.handle.released(ticket)
                    if search is not None:
                        search.abandon()
                    raise
                else:
                    ended, health = now(), lane.health
                    failover.ok += 1
                    if ticket is health.open_pass:
                        # In CPython no thread switch falls between reading and writing here: no call is in between.
                        health.in_flight -= 1
                        health.ok += 1
                        health.samples.append(ended - started)
                        health.sampled_at = ended
                    else:
                        lane.handle.succeeded(ticket, ended, ended - started)
                    if search is not None:
                        search.answered(ended)
                    if (seen := watching()) is not None:
                        seen.endpoint = lane.name
                        seen.endpoints_tried += search.tried if search is not None else (lane.name,)
                    return result

        return asked

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        failover, lanes, now = self.state(site), self._lanes(below, site), self.registry.clock.now
        rules = self._rules(failover, site)

        async def asked(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            await anyio.lowlevel.checkpoint_if_cancelled()
            search = Search(rules, lanes)
            started = now()
            step: Step | Exception | None = search.begin(started)
            while step is not None:
                lane, ticket = _go(step)
                step = None
                stream = lane.call(fn, instance, (lane.endpoint, *args), kwargs)
                seconds: float | None = None  # to the first item; reading on is at the consumer's pace
                held = True
                try:
                    while True:
                        try:
                            item = await anext(stream)
                        except StopAsyncIteration:
                            held = False
                            ended = now()
                            lane.handle.succeeded(ticket, ended, ended - started if seconds is None else seconds)
                            failover.ok += 1
                            if seconds is None:
                                search.commit(ended, lane)
                            break
                        except Exception as error:
                            held = False
                            if seconds is not None:
                                failover.failed()
                                search.broke(lane, ticket, now(), error)
                                raise
                            step = search.after(lane, ticket, started := now(), error)
                            if step is error:
                                raise
                            if isinstance(step, Exception):
                                raise step from error
                            break
                        if seconds is None:
                            seconds = now() - started
                            search.commit(started + seconds, lane)
                        # Outside the inner try: what the consumer throws in here is not the provider's doing.
                        yield item
                finally:
                    if held:
                        lane.handle.released(ticket)
                        search.abandon()
                    await stream.aclose()

        return asked

    def _rules(self, failover: Failover, site: Site) -> Rules:
        config = self.config
        return Rules(
            failover.name,
            site.function,
            self._among,
            config.health_check_interval,
            config.max_endpoints or len(self._endpoints),
            self.registry,
            failover.moved,
            failover.failed,
        )


def _go(step: Step | Exception, cause: Exception | None = None) -> Step:
    if isinstance(step, Exception):
        raise step from cause
    return step


def failover(
    *endpoints: F,
    name: str | None = None,
    strategy: Strategy | Callable[[Sequence[F]], F] = "round_robin",
    health_check: Callable[[F], Awaitable[object]] | Literal[False] | None = None,
    health_check_interval: float = 30.0,
    max_endpoints: int | None = None,
    reject: Reject | None = None,
    registry: Registry | None = None,
) -> FailoverDecorator[F]:
    """
    Hand the function an endpoint, and another one at once when that fails.

    The endpoint is the first argument (the first after `self`); callers do not pass it. An error that another
    endpoint could do better at moves the call on; the caller's own mistake is raised as it is. A request that is
    too long moves only to an endpoint that declares a larger `context_window`, a filtered one only to an endpoint
    of another `provider` (attributes of the endpoints).

    An endpoint that failed rests: for as long as the provider asks, else for `health_check_interval`, twice as
    long after each failure in a row; ten minutes at least when the provider denies us (credentials, rights,
    quota). Then one trial call goes there, and after a good answer a few more at a time. When all rest, the one
    that is due soonest is asked; a lone endpoint is never taken out altogether. A circuit breaker below has one
    circuit per endpoint.

    Args:
        endpoints: Anything with a unique `.name`. Call sites that use an endpoint of the same name share what is
            known of its health.
        name: Of this failover in the registry. Default: the function's qualified name.
        strategy: "round_robin" (default); "priority": in the order given; "weighted": by chance, by each
            endpoint's `.weight` (default 1); "least_latency": the better of two random ones by average latency
            times calls in flight; or a function that is given the available endpoints and returns one of them.
        health_check: Async function of an endpoint that raises or returns False while it is down; asked beside the
            calls once a rest is over, instead of a trial call. Default: the endpoint's own `.check()` if it has
            one; False: never.
        health_check_interval: Seconds of a first rest. Default 30.
        max_endpoints: Endpoints asked in one call. Default: all.
        reject: Called with every result; an ErrorType makes it a failure, None lets it pass. Not for streams.
        registry: Where the state lives. Default: `resilient_ai.registry`.

    Raises:
        AllEndpointsFailedError: By the decorated function: no endpoint answered.
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    names = tuple(_name_of(endpoint) for endpoint in endpoints)
    if not names:
        raise ValueError("failover needs at least one endpoint: @failover(us, eu)")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ValueError(f"endpoints of a failover need names of their own, got {twice[0]!r} twice")
    config = FailoverConfig(names, strategy, health_check, health_check_interval, max_endpoints)

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, FailoverPolicy(name, config, where, endpoints, reject))

    return put_on


def _name_of(endpoint: object) -> str:
    name = getattr(endpoint, "name", None)
    if isinstance(name, str) and name:
        return name
    if isinstance(endpoint, str):
        raise ValueError(f"endpoints need a .name; write Endpoint({endpoint!r}) for {endpoint!r}")
    if isinstance(endpoint, list | tuple):
        raise ValueError("failover takes endpoints one by one; write @failover(*endpoints) for a list of them")
    if callable(endpoint):
        shown = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
        raise ValueError(f"failover needs endpoints before the function: @failover(us, eu), got {shown}")
    raise ValueError(f"endpoints need a .name that is a non-empty string, got a {type(endpoint).__qualname__}")
