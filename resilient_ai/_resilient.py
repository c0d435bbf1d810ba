"""`@resilient`: the recommended stack under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from ._adaptive_limit import decorator as limits
from ._circuit_breaker import decorator as circuits
from ._classified_retry import decorator as retries
from ._classified_retry.rules import RetryRule
from ._core.callables import shape_of, without_parentheses
from ._core.checks import check_number
from ._core.errors import ErrorType
from ._core.plain_settings import Told
from ._core.public import public
from ._core.state_store import StateStore
from ._core.wrapper import Decorator
from ._degrade_to import decorator as fallbacks
from ._degrade_to.contract import NO_ANSWER
from ._failover import decorator as failovers
from ._failover.decorator import F, FailoverDecorator
from ._rate_limit import decorator as quotas
from ._spend_limit import decorator as spend_limits

P = ParamSpec("P")
R = TypeVar("R")

Settings = Mapping[str, Any] | None

# tests/bench/README.md, "Why these settings", has the measurement that chose each.
RULES = {ErrorType.INTERNAL_ERROR: RetryRule(4, 0.5, 8.0)}
FAILOVER = {"strategy": "least_latency", "health_check_interval": 5.0}
CIRCUIT_BREAKER = {
    "recovery_timeout": 1.0,
    "success_threshold": 1,
    "half_open_max_calls": 5,
    "wait_for_all_probes": True,
}


@overload
def resilient(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def resilient(
    *,
    patience: float | None = 15.0,
    fallback: Any = NO_ANSWER,
    name: str | None = None,
    degrade_to: Settings = None,
    spend_limit: Settings = None,
    classified_retry: Settings = None,
    rate_limit: Settings = None,
    adaptive_limit: Settings | Literal[False] = None,
    circuit_breaker: Settings | Literal[False] = None,
    registry: StateStore | None = None,
) -> Decorator: ...
@overload
def resilient(
    first: F,
    /,
    *others: F,
    patience: float | None = 15.0,
    fallback: Any = NO_ANSWER,
    name: str | None = None,
    degrade_to: Settings = None,
    spend_limit: Settings = None,
    classified_retry: Settings = None,
    failover: Settings = None,
    rate_limit: Settings = None,
    adaptive_limit: Settings | Literal[False] = None,
    circuit_breaker: Settings | Literal[False] = None,
    registry: StateStore | None = None,
) -> FailoverDecorator[F]: ...
@public()
def resilient(
    *endpoints: Any,
    patience: float | None = 15.0,
    fallback: Any = NO_ANSWER,
    name: str | None = None,
    degrade_to: Settings = None,
    spend_limit: Settings = None,
    classified_retry: Settings = None,
    failover: Settings = None,
    rate_limit: Settings = None,
    adaptive_limit: Settings | Literal[False] = None,
    circuit_breaker: Settings | Literal[False] = None,
    registry: StateStore | None = None,
) -> Any:
    """
    Put the recommended stack on a function for interactive calls.

    It is the same as these decorators, outermost first; `describe` shows each with its settings:

    - `degrade_to(*fallback)`, if there is a fallback;
    - `spend_limit`, if it has settings: only you know how much may be spent;
    - `classified_retry` with the patience as its `timeout_seconds`, which retries an internal error of the provider 4
      times, from 0.5 to 8 s apart;
    - `failover(*endpoints)`, if there are endpoints, by "least_latency", with a hedge after half the patience and
      `health_check_interval=5`, the seconds of a first rest;
    - `rate_limit`, if it has settings: only you know the provider's quota;
    - `adaptive_limit`;
    - `circuit_breaker` with `recovery_timeout=1`, `success_threshold=1`, `half_open_max_calls=5` and
      `wait_for_all_probes=True`.

    A plain `def` function gets the same without hedges and timeouts, because a blocking call cannot be stopped: no
    attempt begins after the patience is over, no caller waits longer for a permit of the limit, and you have to give
    the SDK a timeout.

    `tests/bench/README.md` has the measurement that chose each setting.

    Args:
        *endpoints: The function gets one of them as its first argument (the first after `self`), and is called with
            another one at once when that fails. Without endpoints, the function itself knows what it calls.
        patience: Seconds that a caller waits for an answer, or for the first item of a stream. Default 15; None: no
            bound, and no hedging.
        fallback: What answers if the AI is unavailable: a rung of `degrade_to`, or a tuple of rungs. Default: none, so
            that the caller gets the error.
        name: Name of all these policies in the registry. Default: the function's qualified name.
        degrade_to: Further settings of that decorator, which replace those above. The same applies to the following.
        spend_limit: Settings of `spend_limit`, such as `{"usd_per_hour": 5}`.
        classified_retry: Settings of `classified_retry`; its `rules` are added to the one above.
        failover: Settings of `failover`.
        rate_limit: Settings of `rate_limit`, such as `{"requests_per_minute": 500}`.
        adaptive_limit: Settings of `adaptive_limit`; False leaves it out.
        circuit_breaker: Settings of `circuit_breaker`; False leaves it out.
        registry: The registry that keeps the state. Default: `resilient_ai.registry`.

    Raises:
        AIServiceError: By the decorated function: no further attempt; `__cause__` is the last error.
        CallTimeoutError: By the decorated function: the patience is over.
        TypeError: At decoration: not a function, a setting that its decorator does not have, or settings for a
            decorator that is not in the stack.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    if len(endpoints) == 1 and without_parentheses(endpoints[0]) and not hasattr(endpoints[0], "name"):
        return cast("Any", resilient())(endpoints[0])
    check_number("patience", patience, above=0, optional=True)
    _check_settings(degrade_to=degrade_to, spend_limit=spend_limit, classified_retry=classified_retry)
    _check_settings(failover=failover, rate_limit=rate_limit)
    _check_settings(can_be_left_out=True, adaptive_limit=adaptive_limit, circuit_breaker=circuit_breaker)
    if not endpoints and failover is not None:
        raise TypeError("@resilient has settings for failover, but no endpoints: @resilient(us, eu, failover=...)")
    if fallback is NO_ANSWER and degrade_to is not None:
        raise TypeError("@resilient has settings for degrade_to, but no fallback: @resilient(fallback=...)")
    shared = {"name": name, "registry": registry}
    rungs = fallback if isinstance(fallback, tuple) else (fallback,)

    def stack(*, plain: bool) -> list[Callable[[Any], Any]]:
        """The decorators, innermost first."""
        # A plain function that blocks cannot be stopped, so it gets no hedge, and its SDK can read the time left.
        bound = {"timeout_seconds": Told(patience) if plain and patience is not None else patience}
        bound_of_wait = {"max_wait": patience} if plain else {}
        hedge_after = None if plain or patience is None else patience / 2
        found: list[Callable[[Any], Any]] = []
        if circuit_breaker is not False:
            found.append(circuits.circuit_breaker(**{**shared, **CIRCUIT_BREAKER, **(circuit_breaker or {})}))
        if adaptive_limit is not False:
            found.append(limits.adaptive_limit(**{**shared, **bound_of_wait, **(adaptive_limit or {})}))
        if rate_limit is not None:
            found.append(quotas.rate_limit(**{**shared, **bound_of_wait, **rate_limit}))
        if endpoints:
            chosen = {**shared, **FAILOVER, "hedge_after": hedge_after, **(failover or {})}
            found.append(failovers.failover(*endpoints, **chosen))
        retry = {**shared, **bound, **(classified_retry or {})}
        found.append(retries.classified_retry(**{**retry, "rules": {**RULES, **(retry.get("rules") or {})}}))
        if spend_limit is not None:
            found.append(spend_limits.spend_limit(**{**shared, **spend_limit}))
        if fallback is not NO_ANSWER:
            found.append(fallbacks.degrade_to(*rungs, **{**shared, **(degrade_to or {})}))
        return found

    for_async = stack(plain=False)  # at once, so that a bad setting is reported here

    def put_on(fn: Any) -> Any:
        for decorator in stack(plain=True) if shape_of(fn, "resilient").plain else for_async:
            fn = decorator(fn)
        return fn

    return put_on


def _check_settings(*, can_be_left_out: bool = False, **given: object) -> None:
    """Refuse a value that is not a dict of settings."""
    for kind, settings in given.items():
        if not (settings is None or isinstance(settings, Mapping) or (can_be_left_out and settings is False)):
            raise ValueError(f"{kind} of @resilient takes a dict of the settings of @{kind}, got {settings!r}")
