"""`@classified_retry`: retry if the error shows that a retry may help, and not sooner than the provider asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, overload

import tenacity

from resilient_ai._classification.error_rules import Reject
from resilient_ai._core.callables import shape_of, without_parentheses
from resilient_ai._core.checks import check_callable
from resilient_ai._core.commit_point import Commits
from resilient_ai._core.early_end import bounded_visibly
from resilient_ai._core.errors import DoubleRetryWarning, ErrorType
from resilient_ai._core.fast_path import FastPath
from resilient_ai._core.handlers import Handler
from resilient_ai._core.plain_settings import for_plain_functions
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.user_warnings import warn
from resilient_ai._core.waiting import waiting_of
from resilient_ai._core.wrapper import Decorator, decorate

from .budget import RetryBudget
from .course import RetriedFunction
from .handle import Retry
from .rules import RetryChoices, RetryConfig, RetryRule, chosen_types, merged_rules
from .sdk_retries import OwnRetries, own_retries
from .site import RetrySite

P = ParamSpec("P")
R = TypeVar("R")


class RetryPolicy(Policy[Retry]):
    kind = "classified_retry"
    rank = 40
    not_outside: ClassVar = {"classified_retry": "multiply their attempts; keep one"}
    changeable = tuple(field.name for field in fields(RetryConfig) if field.name != "plain")

    def __init__(self, name: object, config: RetryConfig, registry: StateStore, choices: RetryChoices) -> None:
        super().__init__(name, config, registry)
        self.config: RetryConfig = config
        self.choices = choices
        self.commits = choices.commits
        self.own_retries = OwnRetries()

    def check_plain(self, function: Any) -> None:
        """Plain functions are allowed: they wait by blocking."""

    def in_test(self, attempts: int) -> Self:
        self.config = replace(self.config, max_attempts=min(attempts, self.config.max_attempts))
        return self

    def options(self) -> dict[str, Any]:
        return {"choices": self.choices}

    @classmethod
    def default_config(cls) -> RetryConfig:
        return RetryConfig(merged_rules(None))

    @classmethod
    def changed(cls, config: RetryConfig, changes: Mapping[str, Any]) -> RetryConfig:
        return config.changed(changes)

    def make_state(self, name: str) -> Retry:
        return Retry(name, self.config, self.registry)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        here = self._here(site)
        retried = RetriedFunction(bind_inner(site), here).call
        if (seconds := self.config.timeout_seconds) is not None:
            clock, state = self.registry.clock, here.state
            return bounded_visibly(retried, seconds, clock, here.name, state, state.call_given_up, plain=site.plain)
        return retried

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        if self.choices.reject or self.choices.retry:
            return False
        state = self.state(site)._state
        if (seconds := self.config.timeout_seconds) is not None:
            if site.plain or not getattr(self.registry.clock, "real", False):
                return False
            path.bound_by(state, seconds)
        path.counts.append(state.good)
        path.attempts += 1
        path.timed = True
        return True

    def _here(self, site: Site) -> RetrySite:
        config, choices, retry = self.config, self.choices, self.state(site)
        return RetrySite(
            site.function,
            retry.name,
            retry._state,
            config,
            choices,
            any(given is not None for given in (choices.stop, choices.wait, choices.retry)),
            self.registry,
            waiting_of(site, self.registry.clock),
            self.own_retries,
            site.endpoint,
        )


def _warns_of_own_retries(fn: Any) -> bool:
    if (found := own_retries(fn)) is None:
        return False
    sdk, requests, switch = found
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    warn(
        f"the {sdk} client of {name} retries by itself, so one attempt here is up to {requests} requests there;"
        f" switch that off with {switch}",
        DoubleRetryWarning,
    )
    return True


@overload
def classified_retry(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def classified_retry(
    name: str | None = None,
    *,
    rules: Mapping[ErrorType, RetryRule | None] | None = None,
    max_attempts: int = 6,
    max_elapsed: float | None = None,
    timeout_seconds: float | None = None,
    budget: RetryBudget | None = RetryBudget(),  # noqa: B008 - frozen
    on: Collection[ErrorType] | None = None,
    reraise: bool = False,
    retry_unsent_only: bool = False,
    reject: Reject | None = None,
    commits: Commits | None = None,
    stop: Callable[[tenacity.RetryCallState], bool] | None = None,
    wait: Callable[[tenacity.RetryCallState], float] | None = None,
    retry: Callable[[tenacity.RetryCallState], bool] | None = None,
    registry: StateStore | None = None,
) -> Decorator: ...
@public()
def classified_retry(
    name: Any = None,
    *,
    rules: Mapping[ErrorType, RetryRule | None] | None = None,
    max_attempts: int = 6,
    max_elapsed: float | None = None,
    timeout_seconds: float | None = None,
    budget: RetryBudget | None = RetryBudget(),  # noqa: B008 - frozen
    on: Collection[ErrorType] | None = None,
    reraise: bool = False,
    retry_unsent_only: bool = False,
    reject: Reject | None = None,
    commits: Commits | None = None,
    stop: Callable[[tenacity.RetryCallState], bool] | None = None,
    wait: Callable[[tenacity.RetryCallState], float] | None = None,
    retry: Callable[[tenacity.RetryCallState], bool] | None = None,
    registry: StateStore | None = None,
) -> Any:
    """
    Retry a call if its error shows that a retry may help.

    A call that our own circuit or limit refused was never sent. Within a deadline (an enclosing anyio scope) it is
    tried again until the deadline, and does not count as an attempt; a rule for it in `rules` is followed exactly.

    A plain function waits by blocking its thread. A thread with a running event loop is not blocked: a retry that would
    have to wait is not made, and the error says so.

    Args:
        name: Call sites of one name share one budget and one set of numbers. Default: the function's qualified name.
        rules: Changes to the default rules: `{ErrorType.X: RetryRule(…)}`, or None to never retry that type. Default:
            no changes.
        max_attempts: Most calls of the function, including the first. Default 6.
        max_elapsed: Seconds from the first call within which the next attempt must begin. Default: no bound.
        timeout_seconds: Most seconds of a whole call, including its attempts and waits; for a stream, until its first
            item with content. A retry that would come too late is not waited for. Default: no bound. Not for plain
            functions, which cannot be stopped.
        budget: Bounds the retries of this name over all calls; None: no bound. Default: `RetryBudget()`.
        on: Retry only these types. Default: every type with a rule.
        reraise: Raise the original error in the end, with a note, instead of AIServiceError. Default False.
        retry_unsent_only: Retry only errors that prove that the request was not processed, for calls that must not
            be paid for twice. Default False.
        reject: Called with every result, and with every item of a stream; an ErrorType makes it a failure, None
            accepts it. `classify_result` knows what SDKs return instead of raising. Default: every result is accepted.
        commits: Whether an item of a stream is content, after which no other attempt is made. Needed for your own item
            types only; those of the known SDKs are known. It applies to the whole stack. Default: decided by its
            fields.
        stop: A tenacity condition: no further attempt if it is true. `max_attempts` and the rules still apply. Default
            None: only those.
        wait: A tenacity wait in place of the rules' backoff; the provider's own wait is the minimum. Default None: the
            rules' backoff.
        retry: A tenacity condition in place of the rules' choice of errors and their `max_retries`; it may check
            results too. `max_attempts` still applies. Default None: the rules decide.
        registry: The registry that keeps the numbers. Default: `resilient_ai.registry`.

    Raises:
        AIServiceError: By the decorated function: no further attempt; `__cause__` is the last error.
        CallTimeoutError: By the decorated function: a call took longer than `timeout_seconds`.
        TypeError: At decoration: not a function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    bare = without_parentheses(name)
    config = RetryConfig(merged_rules(rules), max_attempts, max_elapsed, budget, timeout_seconds)
    choices = RetryChoices(chosen_types(on, config), reraise, retry_unsent_only, reject, stop, wait, retry, commits)
    for setting, given in (("reject", reject), ("commits", commits), ("stop", stop), ("wait", wait), ("retry", retry)):
        check_callable(setting, given)

    def put_on(fn: Any) -> Any:
        told = _warns_of_own_retries(fn)
        where = registry if registry is not None else default_registry()
        settings = for_plain_functions(config) if shape_of(fn, RetryPolicy.kind).plain else config
        policy = RetryPolicy(None if bare else name, settings, where, choices)
        policy.own_retries.told = told
        return decorate(fn, policy)

    return put_on(name) if bare else put_on
