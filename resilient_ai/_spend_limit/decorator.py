"""`@spend_limit`: refuse calls when an hour's money or tokens are spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from resilient_ai._core.checks import each_alone
from resilient_ai._core.fast_path import FastPath
from resilient_ai._core.handlers import Handler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.streams import stream_of
from resilient_ai._core.wrapper import Decorator, decorate
from resilient_ai._usage.book import Answer, book_of

from .config import SpendConfig
from .handle import SpendLimit


class SpendPolicy(Policy[SpendLimit]):
    kind = "spend_limit"
    rank = 20
    not_outside: ClassVar = {"degrade_to": "refuses calls that degrade_to could have answered"}
    not_inside: ClassVar = {
        "classified_retry": "asks the spend limit again for every attempt",
        "failover": "asks the spend limit once for every endpoint",
        "rate_limit": "takes quota for calls that the spend limit then refuses",
        "adaptive_limit": "takes a permit for calls that the spend limit then refuses",
        "circuit_breaker": "takes an outage of the circuit for one call less to pay",
    }
    twice = "ask one spend limit twice"
    changeable = tuple(field.name for field in fields(SpendConfig))

    def __init__(self, name: Any, config: SpendConfig, registry: StateStore) -> None:
        super().__init__(name, config, registry)
        book_of(registry)  # functions are folded with a meter from now on

    @classmethod
    def default_config(cls) -> SpendConfig:
        with each_alone():  # the limits have no default
            return SpendConfig()

    def in_test(self, attempts: int) -> None:
        """A test's policy lets every call through."""

    def check_plain(self, function: Any) -> None:
        """Plain functions are allowed, because it never waits."""

    def make_state(self, name: str) -> SpendLimit:
        return SpendLimit(name, self.config, self.registry)

    def answer_listener(self, site: Site) -> Callable[[Answer], object]:
        return self.state(site)._answer

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        inner, limit = bind_inner(site), self.state(site)
        book_of(self.registry)  # starts counting

        async def limited(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if begun(fn) is None:  # otherwise it was let through on the fast path
                limit._enter()
            try:
                result = await inner(fn, instance, args, kwargs)
            except Exception:
                limit._ended("failed")
                raise
            except BaseException:
                limit._ended("neutral")
                raise
            if type(result) is ReturnedStream:
                stream_of(result).add(_LimitedStream(limit))
            else:
                limit._ended("ok")
            return result

        return limited

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        if path.guard is not None:
            return False
        limit = self.state(site)
        path.guard = limit._state
        path.counts.append(limit._good)
        return True


class _LimitedStream:
    __slots__ = ("_limit",)

    def __init__(self, limit: SpendLimit) -> None:
        self._limit = limit

    def ended(self) -> None:
        self._limit._ended("ok")

    def broke(self, error: Exception) -> None:  # noqa: ARG002
        self._limit._ended("failed")

    def left(self) -> None:
        self._limit._ended("neutral")


@public()
def spend_limit(
    name: Any = None,
    *,
    usd_per_hour: float | None = None,
    tokens_per_hour: float | None = None,
    warn_at: float = 0.8,
    registry: StateStore | None = None,
) -> Decorator:
    """
    Refuse further calls when the money or tokens of an hour are spent.

    Every answer of the function counts, including those of retries, of other endpoints and discarded ones: everything
    that the provider bills, as `registry.usage` reads it. Money needs a price, for example
    `registry.price = genai_prices()`. The hour slides in steps of a minute.

    A call is checked before it is made, but its cost is known only when it has ended. So the calls in flight when the
    limit is reached exceed it: at most n calls if n callers ask at once. `adaptive_limit` or a semaphore bounds that. A
    refused caller gets `SpendLimitReachedError`, which comes from our own side: it is not retried, blames no endpoint,
    and `degrade_to` above it answers.

    Uncounted answers are reported: answers without usage, and models without a price, are shown as unknown in
    `.stats()` and in the table, and an event (`SpendUnknown`) names each such model once.

    Put it between `degrade_to` and `classified_retry`.

    Args:
        name: Call sites of one name share one limit. Default: the function's qualified name.
        usd_per_hour: Most USD in an hour. Default None: not limited; one of the two is needed.
        tokens_per_hour: Most tokens in an hour, input and output together. Default None: not limited.
        warn_at: Share of a limit at which the event `SpendWarned` is sent, above 0 and at most 1. Default 0.8.
        registry: Where the limit lives, and whose usage counts. Default: `resilient_ai.registry`.

    Raises:
        SpendLimitReachedError: By the decorated function, without a call: the limit is reached.
        TypeError: At decoration: not a function.
        ValueError: At decoration: a bad setting, neither of the two limits, or the name exists with other settings.
    """
    config = SpendConfig(usd_per_hour, tokens_per_hour, warn_at)

    def put_on(fn: Any) -> Any:
        return decorate(fn, SpendPolicy(name, config, registry if registry is not None else default_registry()))

    return put_on
