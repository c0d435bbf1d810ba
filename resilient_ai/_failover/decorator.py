"""`@failover`: ask another endpoint at once when one fails, and let the failed one rest."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from resilient_ai._classification.error_rules import Reject
from resilient_ai._core.callables import name_of, signature_of, takes_instance, unwrapped
from resilient_ai._core.checks import check_callable
from resilient_ai._core.commit_point import Commits
from resilient_ai._core.fast_path import FastPath
from resilient_ai._core.handlers import Handler
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.known_secrets import look_through
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.sharing import credential_of
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.wrapper import decorate

from .candidate import Candidate, check_of, twin_of, weight_of
from .config import FailoverConfig
from .course import FailoverCall, FailoverSite
from .endpoint import Named, Twin
from .fast_path import through_candidates
from .handle import EndpointHandle, Failover
from .hedge import HedgeBudget, HedgeDelay
from .selection import SelectionRules
from .strategy import Strategy, chooser_of

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T", bound=Twin)
E_co = TypeVar("E_co", covariant=True)
F = TypeVar("F", bound=Named)

_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


class FailoverDecorator(Protocol[E_co]):
    """A decorator that passes the endpoint: callers leave out the first argument, or the first after `self`."""

    @overload
    def __call__(self, fn: Callable[Concatenate[E_co, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[T, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, E_co, P], R], /) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, T, P], R], /) -> Callable[Concatenate[S, P], R]: ...


class FailoverPolicy(Policy[Failover]):
    kind = "failover"
    rank = 50
    not_outside: ClassVar = {
        "failover": (
            "multiply the endpoints asked, and an endpoint that fails below one outer endpoint rests below all;"
            " list every endpoint in one"
        )
    }
    injects_argument = True
    changeable = ("strategy", "health_check_interval", "max_endpoints", "hedge_after", "hedge_budget")

    def __init__(
        self,
        name: str | None,
        config: FailoverConfig,
        registry: StateStore,
        endpoints: Sequence[Named],
        reject: Reject | None,
        commits: Commits | None = None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: FailoverConfig = config
        self._reject = reject
        self.commits = commits
        self._endpoints = tuple(endpoints)
        self._bound: FailoverSite | None = None  # the latest one, for the fast path
        self._handles: dict[str, EndpointHandle] = {}
        for each in config.endpoints:
            make = partial(EndpointHandle, each, registry)
            self._handles[each] = registry.claim("endpoint", each, None, make, rank=self.rank + 1)
        for endpoint in self._endpoints:
            look_through(endpoint)
            self._handles[endpoint.name]._shared.credential = credential_of(endpoint)
        self._chooser = chooser_of(config.strategy, registry.rng, registry.clock)
        for endpoint in self._endpoints:
            # An endpoint may want to know which other endpoints there are. The class is asked, because a mock object
            # has every attribute.
            if callable(introduce := getattr(type(endpoint), "beside", None)):
                introduce(endpoint, self._endpoints)

    def check_plain(self, function: Any) -> None:
        """
        Refuse settings that need a task alongside the call.

        Raises:
            ValueError: The failover hedges, or has a health check.
        """
        if self.config.hedge_after is not None:
            raise ValueError(
                f"hedge_after={self.config.hedge_after!r} needs two calls at a time, and {name_of(function)} is a plain"
                " function, which makes one; leave it out, or make the function `async def`"
            )
        if callable(self.config.health_check):
            raise ValueError(
                f"health_check= runs alongside the calls, and {name_of(function)} is a plain function, alongside which"
                " nothing can run; leave it out (a trial call decides), or make the function `async def`"
            )

    def switched_off(self, call: Callable[..., Any], site: Site, skip: int) -> Callable[..., Any]:
        first = self._handed(self._endpoints[0], site)
        if not skip:
            return partial(call, first)
        if skip > 1:
            return lambda *args, **kwargs: call(*args[:skip], first, *args[skip:], **kwargs)

        def method(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            # Written out: slicing the arguments and copying an empty dict would cost two bare awaits.
            return call(instance, first, *args, **kwargs) if kwargs else call(instance, first, *args)

        return method

    def options(self) -> dict[str, Any]:
        return {"endpoints": self._endpoints, "reject": self._reject, "commits": self.commits}

    def with_config(self, config: FailoverConfig) -> Self:
        twin = super().with_config(config)
        twin._bound = None
        if config.strategy != self.config.strategy:
            twin._chooser = chooser_of(config.strategy, self.registry.rng, self.registry.clock)
        return twin

    @classmethod
    def default_config(cls) -> FailoverConfig:
        return FailoverConfig(())

    def make_state(self, name: str) -> Failover:
        budget, delay = HedgeBudget(self.config.hedge_budget), HedgeDelay(self.config.hedge_after)
        return Failover(name, self._handles, budget, delay)

    def status(self) -> str:
        names = ", ".join(repr(state.name) for state in self._states)
        return f"{names} over " + ", ".join(f"{name} {each.status()}" for name, each in self._handles.items())

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        here = self._bound = self._site(bind_inner, site)
        hedging = self.config.hedge_after is not None

        async def failed_over(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            call = FailoverCall(here, fn, instance, args, kwargs)
            return await (call.hedged_result() if hedging else call.result())

        return failed_over

    @property
    def needs_own_task(self) -> bool:
        return self.config.hedge_after is not None

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        bound, self._bound = self._bound, None  # used once
        if bound is None or bound.turns is None or path.shape is not None:
            return False
        if self._reject is not None or None in path.permits or not self._hedges_fast(plain=site.plain):
            return False
        path.counts.append(self.state(site)._state.good)
        path.looks |= self.config.hedge_after is None  # a hedged call never leaves an endpoint for the next
        path.shape = partial(through_candidates, bound)
        return True

    def _hedges_fast(self, *, plain: bool) -> bool:
        """Whether a race may begin alongside a call on the fast path."""
        after = self.config.hedge_after
        if after is None:
            return True
        real = not plain and getattr(self.registry.clock, "real", False)
        return real and isinstance(after, int | float) and self.config.idempotent is True

    def _site(self, bind_inner: Callable[[Site], Any], site: Site) -> FailoverSite:
        candidates, config, failover = self._candidates(bind_inner, site), self.config, self.state(site)._state
        most = config.max_endpoints or len(candidates)
        rules = SelectionRules(
            failover,
            site.function,
            self._chooser,
            config.health_check_interval,
            most,
            # If a call does not ask all endpoints, its retry could go to the same forgiven endpoint again.
            forgiving=most >= len(candidates),
            registry=self.registry,
        )
        turns = self._chooser.preselect(candidates)
        now = self.registry.clock.now
        return FailoverSite(config, failover, candidates, turns, rules, self._reject, now, site.plain)

    def _handed(self, endpoint: Any, site: Site) -> Any:
        return twin_of(endpoint) if site.plain else endpoint

    def _candidates(self, bind_inner: Callable[[Site], Any], site: Site) -> tuple[Candidate, ...]:
        outer = f"{site.endpoint}/" if site.endpoint is not None else ""
        alternative = site.alternative or len(self._endpoints) > 1
        return tuple(
            Candidate(
                index,
                endpoint,
                endpoint.name,
                weight_of(endpoint, endpoint.name, weighs=self.config.strategy == "weighted"),
                self._handles[endpoint.name]._shared,
                bind_inner(replace(site, endpoint=outer + endpoint.name, alternative=alternative, handed=endpoint)),
                None if site.plain else check_of(endpoint, self.config.health_check),
                twin_of(endpoint) if site.plain else None,
            )
            for index, endpoint in enumerate(self._endpoints)
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
    commits: Commits | None = None,
    registry: StateStore | None = None,
) -> FailoverDecorator[F]:
    """
    Call the function with an endpoint, and with another one at once when that fails.

    The endpoint is the first argument (the first after `self`); callers do not pass it. A plain function gets the
    endpoint's twin for plain code, `endpoint.sync`, if there is one.

    An error that another endpoint may avoid moves the call on; the caller's own mistake is raised unchanged. Some
    errors move on to some endpoints only (`model`, `provider` and `context_window` are attributes of endpoints):

    * A request that is too long moves to an endpoint of another `model` or `provider`, unless both declare a
      `context_window` and the other one's is no larger.
    * A filtered request moves to another `model` or `provider`.
    * An answer that does not fit (INVALID_OUTPUT) moves to any other endpoint, and counts against none. Including the
      attempts of a retry above, at most three such answers are paid for.
    * A parameter that an endpoint does not support rules that endpoint out for this call only.
    * An error that looks like a bug of the program is tried at one other endpoint, since a malformed answer looks the
      same. It is raised unchanged if that one does not answer either.

    An endpoint that failed rests: for as long as the provider asks, else for `health_check_interval`, twice as
    long after each failure in a row; at least ten minutes if the provider denies us (credentials, rights, quota). In
    these, a call that no other endpoint answers asks it too, once in `health_check_interval` seconds. After a rest one
    trial call goes there, and after a good answer a few more at a time. One transient failure after 20 good answers in
    a row is forgiven. If all endpoints rest, the one that is due soonest is asked; a lone endpoint is never taken out
    altogether. A circuit breaker below has one circuit per endpoint.

    Args:
        endpoints: Any objects with a unique `.name`. Call sites that use an endpoint of the same name share its health.
        name: Name of this failover in the registry. Default: the function's qualified name.
        strategy: "round_robin" (default); "priority": in the order given; "weighted": at random, by each
            endpoint's `.weight` (default 1); "least_latency": the better of two random ones by average latency
            times calls in flight; or a function that takes the available endpoints and returns one of them.
        health_check: Async function of an endpoint that runs alongside the calls when a rest is over, instead of a
            trial call. It reports "down" by returning False, or by raising what an outage raises (no connection, no
            answer in time, 5xx, 429); after any other error a trial call decides. Default: the endpoint's own
            `.check()` if it has one; False: never. Not for plain functions, where a trial call decides.
        health_check_interval: Seconds of a first rest. Default 30.
        max_endpoints: Most endpoints asked in one call. Default: all.
        hedge_after: Seconds without an answer (for a stream: without its first item) after which another endpoint
            is asked too; the first answer wins, and the other call is cancelled. "p95": the time within which 95 % of
            the answers come, learned from 20 answers on. Default: never. Not for plain functions. None is asked whose
            average answer, and half of one more, would come after the caller's deadline. An endpoint counts as
            stalled when a caller left it after a long time in which it answered nobody, or when calls wait there for
            longer than an endpoint that works would make them in one case of 50. It is then avoided for a while,
            these calls are hedged outside the budget, and the next ones that go there after 1.5 average answer times.
            When it answers again, calls from before are sent to it once more.
        hedge_budget: Extra calls by hedging, as a share of all calls; the first three are free. Default 0.05; 0
            switches hedging off.
        idempotent: False, or a function of the call's arguments (the instance first, for a method) that returns
            False, for calls that must not run twice: they are not hedged, and move on only if the error proves
            that the request was not processed. Default True.
        reject: Called with every result, and with every item of a stream; an ErrorType makes it a failure, None
            accepts it. Default: every result is accepted.
        commits: Whether an item of a stream is content, after which no other endpoint is asked. Needed for your own
            item types only; those of the known SDKs are known. It applies to the whole stack. Default: decided by its
            fields.
        registry: The registry that keeps the state. Default: `resilient_ai.registry`.

    Raises:
        AllEndpointsFailedError: By the decorated function: no endpoint answered.
        TypeError: At decoration: not a function, or one without a parameter for the endpoint.
        ValueError: At decoration: a bad setting, one that a plain function cannot have, or the name exists with other
            settings.
    """
    names = tuple(_name_of(endpoint) for endpoint in endpoints)
    if not names:
        raise ValueError("failover needs at least one endpoint: @failover(us, eu)")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ValueError(f"endpoints of a failover need unique names, got {twice[0]!r} twice")
    check_callable("reject", reject)
    check_callable("commits", commits)
    config = FailoverConfig(
        names, strategy, health_check, health_check_interval, max_endpoints, hedge_after, hedge_budget, idempotent
    )

    def put_on(fn: Any) -> Any:
        _check_parameter(fn)
        where = registry if registry is not None else default_registry()
        return decorate(fn, FailoverPolicy(name, config, where, endpoints, reject, commits))

    return put_on


def _check_parameter(fn: Any) -> None:
    """Refuse a function that has no parameter for the endpoint."""
    signature = None if inspect.isclass(fn) else signature_of(fn)
    if signature is None:
        return
    kinds = [each.kind for each in signature.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return
    names = [each.name for each in signature.parameters.values() if each.kind in _POSITIONAL]
    inner = unwrapped(fn)[-1]
    if names and takes_instance(inner) and names[0] == inner.__code__.co_varnames[0]:
        names = names[1:]
    if not names:
        name = name_of(fn)
        raise TypeError(
            f"@failover passes the endpoint as the first argument, for which {name} has no parameter;"
            f" write it first: {name.rpartition('.')[2]}(endpoint, ...)"
        )


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
    raise ValueError(f"endpoints need a .name that is a non-empty string, got {kind_of(endpoint)}")
