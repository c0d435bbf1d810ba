"""`@failover`: ask another endpoint at once when one fails, and let the failed one rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from resilient_ai._classification.error_rules import no_reject_on_a_stream
from resilient_ai._core.backend import backend
from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import RejectedResultError, is_wrong_call
from resilient_ai._core.fast_path import FastPath, StartedCall
from resilient_ai._core.handlers import Handler, StreamHandler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.streams import Opened, dispose, opened
from resilient_ai._core.watch import watching
from resilient_ai._core.wrapper import decorate

from .endpoint import EndpointHandle, Named
from .events import Hedged
from .fast_path import through_candidates
from .handle import Failover
from .health import Ticket
from .hedge import HedgeBudget, HedgeDelay, Race
from .search import Answer, Rules, Search, Way, in_turn
from .strategy import STRATEGIES, Lane, Strategy, check_of, choice_among, quick_choice, weight_of

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
    hedge_after: float | Literal["p95"] | None = None
    hedge_budget: float = 0.05
    idempotent: Any = True

    def __post_init__(self) -> None:
        if not callable(self.strategy) and self.strategy not in STRATEGIES:
            known = ", ".join(repr(each) for each in STRATEGIES)
            raise ValueError(f"strategy must be {known} or a callable, got {self.strategy!r}")
        if self.health_check not in (None, False) and not callable(self.health_check):
            raise ValueError(f"health_check must be an async function, None or False, got {self.health_check!r}")
        check_number("health_check_interval", self.health_check_interval, least=0)
        check_number("max_endpoints", self.max_endpoints, least=1, whole=True, optional=True)
        if isinstance(self.hedge_after, str) and self.hedge_after != "p95":
            raise ValueError(f"hedge_after must be seconds, 'p95' or None, got {self.hedge_after!r}")
        if not isinstance(self.hedge_after, str):
            check_number("hedge_after", self.hedge_after, least=0, optional=True)
        check_number("hedge_budget", self.hedge_budget, least=0, most=1)
        if not isinstance(self.idempotent, bool) and not callable(self.idempotent):
            raise ValueError(f"idempotent must be True, False or a function, got {self.idempotent!r}")


class FailoverPolicy(Policy[Failover]):
    kind = "failover"
    rank = 50
    not_outside: ClassVar = {
        "failover": (
            "multiply the endpoints asked, and what fails below one endpoint of the outer rests below all;"
            " list every endpoint in one"
        )
    }
    injects_argument = True

    def __init__(
        self,
        name: str | None,
        config: FailoverConfig,
        registry: StateStore,
        endpoints: Sequence[Named],
        reject: Reject | None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: FailoverConfig = config
        self._reject = reject
        self._endpoints = tuple(endpoints)
        self._handles: dict[str, EndpointHandle] = {}
        for each in config.endpoints:
            make = partial(EndpointHandle, each, registry)
            self._handles[each] = registry.claim("endpoint", each, None, make, rank=self.rank + 1)
        self._among = choice_among(config.strategy, registry.rng)
        for endpoint in self._endpoints:
            # An endpoint may want to know where a call can move on to. Its class is asked, as a mock has all names.
            if callable(introduce := getattr(type(endpoint), "beside", None)):
                introduce(endpoint, self._endpoints)

    def make_state(self, name: str) -> Failover:
        budget, delay = HedgeBudget(self.config.hedge_budget), HedgeDelay(self.config.hedge_after or 0.0)
        return Failover(name, self._handles, budget, delay)

    def status(self) -> str:
        names = ", ".join(repr(name) for name in self._states)
        return f"{names} over " + ", ".join(f"{name} {each.status()}" for name, each in self._handles.items())

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        failover, lanes, rules = self.state(site), self._lanes(bind_inner, site), self._rules(site)
        now = self.registry.clock.now
        quick = quick_choice(self.config.strategy, lanes, self.registry.rng, self.registry.clock)
        reject, once = self._reject, self._once

        self._bound = quick, lanes

        async def asked(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            lane: Lane | None
            ticket: Ticket | None
            if isinstance(fn, StartedCall) and (choice := fn.take_choice()) is not None:
                started, (lane, ticket) = fn.started, choice
            else:
                started, lane, ticket = now(), next(quick) if quick is not None else None, None
            # An endpoint that is simply up is taken with one look, no lock and no search.
            if lane is not None and ticket is None and (ticket := lane.health.open_ticket) is not None:
                ticket.flights.count += 1
            if lane is not None and ticket is not None:
                try:
                    result = await lane.call(fn, instance, lane.handed + args, kwargs)
                    if reject is not None and (error_type := reject(result)) is not None:
                        raise RejectedResultError(result, error_type, function=site.function)
                except Exception as error:
                    search = Search(rules, lanes, once=partial(once, instance, args, kwargs))
                    search.adopt(lane)
                    step = search.after(lane, ticket, now(), error)
                    if step is Way.BACK:
                        self._note_a_wrong_call(error, args, kwargs)
                        raise
                except BaseException:
                    lane.handle.released(ticket)
                    raise
                else:
                    ended = now()
                    failover.good.ok += 1
                    lane.handle.succeeded(ticket, ended, ended - started)
                    if (seen := watching()) is not None:
                        seen.endpoint = lane.name
                        seen.endpoints_tried += (lane.name,)
                    return result
            else:
                await backend().checkpoint_if_cancelled()
                search = Search(rules, lanes, once=partial(once, instance, args, kwargs))
                step = search.begin(started)
            answer = await in_turn(search, step, attempt_of(fn, instance, args, kwargs), now)
            return settle(search, answer)

        def attempt_of(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Callable[[Lane], Awaitable[Any]]:
            async def attempt(lane: Lane) -> Any:
                try:
                    result = await lane.call(fn, instance, lane.handed + args, kwargs)
                except TypeError as error:
                    self._note_a_wrong_call(error, args, kwargs)
                    raise
                if reject is not None and (error_type := reject(result)) is not None:
                    raise RejectedResultError(result, error_type, function=site.function)
                return result

            return attempt

        def settle(search: Search, answer: Answer) -> Any:
            ended = now()
            failover.good.ok += 1
            try:
                answer.lane.handle.succeeded(answer.ticket, ended, ended - answer.started)
            finally:
                search.commit(ended, answer.lane)
            return answer.value

        async def hedged(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            delay = None if once(instance, args, kwargs) else failover.delay.seconds()
            started = now()
            if delay is None:
                result = await asked(fn, instance, args, kwargs)
                failover.delay.learn(now() - started)
                return result
            await backend().checkpoint_if_cancelled()
            search = Search(rules, lanes)
            attempt = attempt_of(fn, instance, args, kwargs)
            answer = await self._race(failover, search, attempt, dispose, delay)
            return settle(search, answer)

        return asked if self.config.hedge_after is None else hedged

    async def _race(
        self,
        failover: Failover,
        search: Search,
        attempt: Callable[[Lane], Awaitable[Any]],
        close_late: Callable[[Any], Awaitable[None]],
        delay: float,
    ) -> Answer:
        clock = self.registry.clock
        started = clock.now()
        failover.budget.called()
        race = Race(search, attempt, close_late, clock)
        try:
            answer = await race.run(search.begin(started), delay, failover.budget)
        except BaseException:
            search.abandon()
            raise
        failover.delay.learn(clock.now() - started)
        if race.hedge is not None:
            failover.hedged(won=answer.hedged)
            if self.registry.listening:
                try:
                    self.registry.emit(Hedged(failover.name, race.hedge.name, delay, answer.hedged))
                except BaseException:  # Ctrl-C in a listener
                    answer.lane.handle.released(answer.ticket)
                    search.abandon()
                    raise
        return answer

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        turns, candidates = self._bound
        if turns is None or path.shape is not None:
            return False
        if self._reject is not None or self.config.hedge_after is not None:
            return False
        path.counts.append(self.state(site).good)
        path.shape = partial(through_candidates, turns, candidates)
        return True

    def bind_stream(self, bind_inner: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        no_reject_on_a_stream(self._reject, site.function)
        failover, lanes, rules = self.state(site), self._lanes(bind_inner, site), self._rules(site)
        now = self.registry.clock.now
        once, hedging = self._once, self.config.hedge_after is not None

        async def asked(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            async def attempt(lane: Lane) -> Opened:
                try:
                    return await opened(lane.call(fn, instance, lane.handed + args, kwargs))
                except TypeError as error:
                    self._note_a_wrong_call(error, args, kwargs)
                    raise

            await backend().checkpoint_if_cancelled()
            only_once = once(instance, args, kwargs)
            search = Search(rules, lanes, once=lambda: only_once)
            delay = failover.delay.seconds() if hedging and not only_once else None
            if delay is None:
                answer = await in_turn(search, search.begin(now()), attempt, now)
                failover.delay.learn(now() - answer.started)
            else:
                answer = await self._race(failover, search, attempt, Opened.close, delay)
            lane, ticket, first = answer.lane, answer.ticket, answer.value
            seconds = now() - answer.started  # to the first item; reading on is at the consumer's pace
            held = True
            try:
                search.commit(now(), lane)
                if not first.empty:
                    # From here on another endpoint would repeat what the consumer has seen.
                    yield first.item
                    while True:
                        try:
                            item = await anext(first.stream)
                        except StopAsyncIteration:
                            break
                        except Exception as error:
                            held = False
                            failover.failed()
                            search.broke(lane, ticket, now(), error)
                            raise
                        # Outside the inner try: what the consumer throws in here is not the provider's doing.
                        yield item
                held = False
                failover.good.ok += 1
                lane.handle.succeeded(ticket, now(), seconds)
            finally:
                if held:
                    lane.handle.released(ticket)
                await first.stream.aclose()

        return asked

    def _once(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call must not run twice."""
        idempotent = self.config.idempotent
        if isinstance(idempotent, bool):
            return not idempotent
        return not (idempotent(*args, **kwargs) if instance is None else idempotent(instance, *args, **kwargs))

    def _note_a_wrong_call(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say so where a caller has passed the endpoint."""
        kinds = tuple(map(type, self._endpoints))
        if is_wrong_call(error) and any(isinstance(each, kinds) for each in (*args, *kwargs.values())):
            error.add_note("resilient_ai: failover hands the endpoint in; leave it out of the call")

    def _lanes(self, bind_inner: Callable[[Site], Any], site: Site) -> tuple[Lane, ...]:
        outer = f"{site.endpoint}/" if site.endpoint is not None else ""
        spare = site.spare or len(self._endpoints) > 1
        return tuple(
            Lane(
                index,
                endpoint,
                endpoint.name,
                weight_of(endpoint, endpoint.name),
                self._handles[endpoint.name],
                bind_inner(replace(site, endpoint=outer + endpoint.name, spare=spare)),
                check_of(endpoint, self.config.health_check),
            )
            for index, endpoint in enumerate(self._endpoints)
        )

    def _rules(self, site: Site) -> Rules:
        config, failover = self.config, self.state(site)
        return Rules(
            failover.name,
            site.function,
            self._among,
            config.health_check_interval,
            most := config.max_endpoints or len(self._endpoints),
            # Where a call leaves endpoints unasked, a retry above it would find the forgiven one first again.
            most >= len(self._endpoints),
            self.registry,
            failover.may_press,
            failover.moved,
            failover.failed,
        )


@public()
def failover(
    *endpoints: F,
    name: str | None = None,
    strategy: Strategy | Callable[[Sequence[F]], F] = "round_robin",
    health_check: Callable[[F], Awaitable[object]] | Literal[False] | None = None,
    health_check_interval: float = 30.0,
    max_endpoints: int | None = None,
    hedge_after: float | Literal["p95"] | None = None,
    hedge_budget: float = 0.05,
    idempotent: bool | Callable[..., bool] = True,
    reject: Reject | None = None,
    registry: StateStore | None = None,
) -> FailoverDecorator[F]:
    """
    Hand the function an endpoint, and another one at once when that fails.

    The endpoint is the first argument (the first after `self`); callers do not pass it. An error that another
    endpoint could do better at moves the call on; the caller's own mistake is raised as it is. A request that is
    too long moves only to an endpoint that declares a larger `context_window`, a filtered one only to an endpoint
    of another `provider` (attributes of the endpoints).

    An endpoint that failed rests: for as long as the provider asks, else for `health_check_interval`, twice as
    long after each failure in a row; ten minutes at least when the provider denies us (credentials, rights,
    quota). Then one trial call goes there, and after a good answer a few more at a time. One passing failure after
    20 good answers in a row is forgiven. When all rest, the one that is due soonest is asked; a lone endpoint is
    never taken out altogether. A circuit breaker below has one circuit per endpoint.

    Args:
        endpoints: Anything with a unique `.name`. Call sites that use an endpoint of the same name share what is
            known of its health.
        name: Of this failover in the registry. Default: the function's qualified name.
        strategy: "round_robin" (default); "priority": in the order given; "weighted": by chance, by each
            endpoint's `.weight` (default 1); "least_latency": the better of two random ones by average latency
            times calls in flight; or a function that is given the available endpoints and returns one of them.
        health_check: Async function of an endpoint that is asked beside the calls once a rest is over, instead of a
            trial call. It says "down" by returning False or by raising what an outage raises (no connection, no
            answer in time, 5xx, 429); after any other error, a trial call decides all the same. Default: the
            endpoint's own `.check()` if it has one; False: never.
        health_check_interval: Seconds of a first rest. Default 30.
        max_endpoints: Endpoints asked in one call. Default: all.
        hedge_after: Seconds without an answer (of a stream, without its first item) after which another endpoint
            is asked as well; the first answer wins, the other call is cancelled. "p95": as long as 95 % of the
            answers take, learned from 20 answers on. Default: never.
        hedge_budget: Extra calls by hedging, as a share of all calls; the first three are free. Default 0.05.
        idempotent: False, or a function of the call's arguments (the instance first, for a method) that returns
            False, for calls that must not run twice: they are not hedged, and go on only where the error proves
            that the request was not processed. Default True.
        reject: Called with every result; an ErrorType makes it a failure, None lets it pass. Not for streams.
        registry: Where the state lives. Default: `resilient_ai.registry`.

    Raises:
        AllEndpointsFailedError: By the decorated function: no endpoint answered.
        TypeError: At decoration: not an async function, or `reject` on one that streams.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    names = tuple(_name_of(endpoint) for endpoint in endpoints)
    if not names:
        raise ValueError("failover needs at least one endpoint: @failover(us, eu)")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ValueError(f"endpoints of a failover need names of their own, got {twice[0]!r} twice")
    config = FailoverConfig(
        names, strategy, health_check, health_check_interval, max_endpoints, hedge_after, hedge_budget, idempotent
    )

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
