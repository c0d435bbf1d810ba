"""`@classified_retry`: try again where the error says that trying again may help, and no faster than it says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar, overload

import tenacity

from ._checks import check_number
from ._classify import Verdict, classify
from ._clock import seconds_left
from ._errors import AIServiceError, DoubleRetryWarning, ErrorType, RejectedResultError
from ._events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled, args_hash, scrub
from ._policy import Handler, Policy, Site, StreamHandler
from ._registry import Registry, default_registry
from ._report import Row
from ._retry_budget import Bucket, RetryBudget
from ._stack import Decorator, decorate, warn

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")

Reject = Callable[[Any], ErrorType | None]


@dataclass(frozen=True, slots=True)
class RetryRule:
    """
    How one type of error is retried. Times are in seconds.

    Args:
        max_retries: Retries that this type may cause in one call.
        base_delay: Delay before the first of them.
        max_delay: Longest delay; a provider that asks for more is not waited for.
        multiplier: Growth from one retry to the next. Default 2.0.
        jitter: "full" sleeps anywhere in [0, delay], "equal" in [delay / 2, delay], "none" exactly delay.
    """

    max_retries: int
    base_delay: float
    max_delay: float
    multiplier: float = 2.0
    jitter: Literal["full", "equal", "none"] = "full"

    def __post_init__(self) -> None:
        check_number("max_retries", self.max_retries, least=0, whole=True)
        check_number("base_delay", self.base_delay, least=0)
        check_number("max_delay", self.max_delay, least=self.base_delay)
        check_number("multiplier", self.multiplier, least=1)
        if self.jitter not in ("full", "equal", "none"):
            raise ValueError(f"jitter must be 'full', 'equal' or 'none', got {self.jitter!r}")

    def delay(self, retry: int, roll: float) -> float:
        """Seconds before the retry of that number (from 1); `roll` in [0, 1) is the chance of the jitter."""
        most = min(self.max_delay, self.base_delay * self.multiplier ** (retry - 1))
        if self.jitter == "none":
            return most
        return most * roll if self.jitter == "full" else most * (1 + roll) / 2


DEFAULT_RULES: Mapping[ErrorType, RetryRule] = {
    ErrorType.RATE_LIMIT: RetryRule(5, 1.0, 60.0),
    ErrorType.MODEL_OVERLOADED: RetryRule(4, 2.0, 30.0, multiplier=1.5),
    ErrorType.NETWORK_ERROR: RetryRule(3, 0.5, 10.0),
    ErrorType.TIMEOUT: RetryRule(2, 0.5, 10.0),
    ErrorType.INTERNAL_ERROR: RetryRule(2, 0.5, 8.0),
    ErrorType.CIRCUIT_OPEN: RetryRule(3, 0.0, 5.0),
}


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Settings that call sites of one name share."""

    rules: tuple[tuple[ErrorType, RetryRule], ...]
    max_attempts: int = 6
    max_elapsed: float | None = None
    budget: RetryBudget | None = field(default_factory=RetryBudget)

    def __post_init__(self) -> None:
        check_number("max_attempts", self.max_attempts, least=1, whole=True)
        check_number("max_elapsed", self.max_elapsed, above=0, optional=True)

    def rule(self, error_type: ErrorType) -> RetryRule | None:
        return next((rule for each, rule in self.rules if each is error_type), None)


@dataclass(frozen=True, slots=True)
class RetryStats:
    """
    What a retry has seen.

    Attributes:
        calls: Calls that have ended.
        attempts: Times the function was called for them.
        retries: Attempts after the first.
        recovered: Calls that a retry saved.
        given_up: Calls that failed in the end.
        error_counts: Failed attempts by error type.
        budget: Tokens left; None without a budget.
    """

    calls: int
    attempts: int
    retries: int
    recovered: int
    given_up: int
    error_counts: dict[str, int]
    budget: float | None


class Retry:
    """The counts and the budget of one name. Thread-safe."""

    __slots__ = (
        "_bucket",
        "_config",
        "_errors",
        "_given_up",
        "_lock",
        "_ok",
        "_recovered",
        "_registry",
        "_retries",
        "name",
    )

    def __init__(self, name: str, config: RetryConfig, registry: Registry) -> None:
        self.name = name
        self._config = config
        self._registry = registry
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Numbers at zero, budget full."""
        with self._lock:
            self._ok = self._retries = self._recovered = self._given_up = 0
            self._errors: Counter[str] = Counter()
            budget = self._config.budget
            self._bucket = Bucket(budget, self._registry.clock.now()) if budget is not None else None

    def succeeded(self, retries: int) -> None:
        with self._lock:
            self._ok += 1
            if retries:
                self._recovered += 1
            elif self._bucket is not None and self._config.budget is not None:
                self._bucket.give_back(self._registry.clock.now(), self._config.budget.per_success)

    def failed(self, error_type: ErrorType) -> None:
        with self._lock:
            self._errors[error_type.value] += 1

    def may_retry(self, now: float) -> bool:
        """Takes a token for one retry; False when the budget is empty."""
        with self._lock:
            if self._bucket is not None and not self._bucket.take(now):
                return False
            self._retries += 1
            return True

    def not_retried(self, now: float) -> None:
        """The caller left during the wait: the token goes back."""
        with self._lock:
            self._retries -= 1
            if self._bucket is not None:
                self._bucket.give_back(now, 1.0)

    def gave_up(self) -> None:
        with self._lock:
            self._given_up += 1

    def stats(self) -> RetryStats:
        """The numbers of this moment."""
        with self._lock:
            calls = self._ok + self._given_up
            return RetryStats(
                calls=calls,
                attempts=calls + self._retries,
                retries=self._retries,
                recovered=self._recovered,
                given_up=self._given_up,
                error_counts=dict(self._errors),
                budget=self._bucket.level(self._registry.clock.now()) if self._bucket is not None else None,
            )

    def row(self) -> Row:
        stats = self.stats()
        state = "" if stats.budget is None else f"budget {stats.budget:.0f}"
        return Row(
            self.name,
            "classified_retry",
            state,
            stats.calls,
            stats.calls - stats.given_up,
            stats.given_up,
            stats.retries,
        )

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Retry {self.name!r}: {stats.calls} calls, {stats.retries} retries, {stats.given_up} given up>"


@dataclass(frozen=True, slots=True)
class _Choices:
    """What one call site chose for itself."""

    on: frozenset[ErrorType] | None = None
    reraise: bool = False
    unsent_only: bool = False
    reject: Reject | None = None
    stop: Callable[[tenacity.RetryCallState], bool] | None = None
    wait: Callable[[tenacity.RetryCallState], float] | None = None
    retry: Callable[[tenacity.RetryCallState], bool] | None = None


class _Call:
    """One call that has failed at least once: its counters, and the decision after each failure."""

    def __init__(
        self,
        policy: RetryPolicy,
        retry: Retry,
        site: Site,
        started: float,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.policy = policy
        self.retry = retry
        self.site = site
        self.started = started
        self.request = args, kwargs
        self.attempts = 0
        self.by_type: Counter[ErrorType] = Counter()
        # What tenacity's conditions look at; its clock is ours.
        self.state = tenacity.RetryCallState(None, None, args, kwargs)  # type: ignore[arg-type]
        self.state.start_time = started
        self.stop = tenacity.stop_after_attempt(policy.config.max_attempts)

    async def failed(self, error: Exception) -> None:
        """Waits when there is another attempt; raises when there is none."""
        self.attempts += 1
        verdict = classify(error)
        registry = self.policy.registry
        self.retry.failed(verdict.error_type)
        if registry.listening:
            self._tell(error, verdict)
        now = registry.clock.now()
        self.state.attempt_number = self.attempts
        self.state.set_exception((type(error), error, error.__traceback__))
        self.state.outcome_timestamp = now
        if verdict.blame == "unknown" and self.policy.choices.retry is None:
            self.retry.gave_up()
            raise error  # nothing we know of: a programming error goes to whoever made it
        delay = self._decide(error, verdict, now)
        if isinstance(delay, str):
            raise self._give_up(error, verdict, now, delay)
        if registry.listening:
            registry.emit(RetryScheduled(self.retry.name, self.attempts, verdict.error_type.value, delay))
        try:
            await registry.clock.sleep(delay)
        except BaseException:
            self.retry.not_retried(registry.clock.now())
            raise

    def _decide(self, error: Exception, verdict: Verdict, now: float) -> float | str:
        """Seconds to wait, or the reason why this was the last attempt."""
        config, choices, kind = self.policy.config, self.policy.choices, verdict.error_type
        rule = config.rule(kind)
        if choices.retry is not None:
            if not choices.retry(self.state):
                return "its retry= says no"
            rule = rule or RetryRule(config.max_attempts, 0.5, 8.0)
        elif rule is None or not verdict.retryable or (choices.on is not None and kind not in choices.on):
            return f"{kind.value} is not retried"
        if choices.unsent_only and not _unsent(error, verdict):
            return "the request may have been processed"
        if self.stop(self.state):
            return f"max_attempts={config.max_attempts} reached"
        if choices.stop is not None and choices.stop(self.state):
            return "its stop= says so"
        self.by_type[kind] += 1
        if self.by_type[kind] > rule.max_retries:
            return f"{rule.max_retries} retries for {kind.value} used up"
        asked = verdict.retry_after or 0.0
        if asked > rule.max_delay:
            return f"the provider asks to wait {asked:.1f} s, longer than max_delay={rule.max_delay:g}"
        if choices.wait is not None:
            backoff = choices.wait(self.state)
        else:
            backoff = rule.delay(self.by_type[kind], self.policy.registry.rng.random())
        delay = max(backoff, asked)
        if config.max_elapsed is not None and now - self.started + delay >= config.max_elapsed:
            return f"max_elapsed={config.max_elapsed:g} would end before the next attempt"
        if delay >= seconds_left():
            return "the caller's deadline would end before the next attempt"
        return delay if self.retry.may_retry(now) else "the retry budget is empty"

    def _give_up(self, error: Exception, verdict: Verdict, now: float, reason: str) -> Exception:
        self.retry.gave_up()
        elapsed = now - self.started
        registry = self.policy.registry
        if registry.listening:
            kind = verdict.error_type.value
            registry.emit(RetriesExhausted(self.retry.name, self.attempts, elapsed, kind, reason))
        if self.policy.choices.reraise:
            error.add_note(f"resilient_ai: {self.attempts} attempts in {elapsed:.1f} s; {reason}")
            return error
        return AIServiceError(
            self.site.function,
            error,
            error_type=verdict.error_type,
            attempts=self.attempts,
            elapsed=elapsed,
            retry_after=verdict.retry_after,
            reason=reason,
        )

    def _tell(self, error: Exception, verdict: Verdict) -> None:
        args, kwargs = self.request
        event = QuotaExceeded if verdict.error_type is ErrorType.QUOTA_EXCEEDED else AttemptFailed
        message = scrub(str(error), private=(*args, *kwargs.values()))
        self.policy.registry.emit(
            event(
                self.retry.name,
                self.site.function,
                self.attempts,
                verdict.error_type.value,
                message,
                args_hash(args, kwargs),
            )
        )


def _unsent(error: BaseException, verdict: Verdict) -> bool:
    """Whether the error proves that the provider has not processed the request."""
    names = {cls.__name__ for cls in type(error).__mro__}
    refused = verdict.error_type in (ErrorType.RATE_LIMIT, ErrorType.MODEL_OVERLOADED, ErrorType.CIRCUIT_OPEN)
    return (refused and not verdict.in_stream) or bool(
        names & {"ConnectError", "ConnectTimeout", "ConnectionRefusedError"}
    )


class RetryPolicy(Policy[Retry]):
    kind = "classified_retry"

    def __init__(
        self,
        name: object,
        config: RetryConfig,
        registry: Registry,
        choices: _Choices,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: RetryConfig = config
        self.choices = choices

    def make_state(self, name: str) -> Retry:
        return Retry(name, self.config, self.registry)

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        inner, retry, reject, now = below(site), self.state(site), self.choices.reject, self.registry.clock.now

        async def retried(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            started = now()
            call: _Call | None = None
            while True:
                try:
                    result = await inner(fn, instance, args, kwargs)
                    if reject is not None and (error_type := reject(result)) is not None:
                        raise RejectedResultError(result, error_type, function=site.function)
                except Exception as error:  # noqa: BLE001 - decided, and raised or retried, below
                    call = call if call is not None else _Call(self, retry, site, started, args, kwargs)
                    failure = error
                else:
                    retry.succeeded(call.attempts if call is not None else 0)
                    return result
                await call.failed(failure)

        return retried

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        inner, retry, now = below(site), self.state(site), self.registry.clock.now

        async def retried(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            started = now()
            call: _Call | None = None
            while True:
                stream = inner(fn, instance, args, kwargs)
                try:
                    try:
                        item = await anext(stream)
                    except StopAsyncIteration:
                        retry.succeeded(call.attempts if call is not None else 0)
                        return
                    except Exception as error:  # noqa: BLE001 - decided, and raised or retried, below
                        call = call if call is not None else _Call(self, retry, site, started, args, kwargs)
                        failure = error
                    else:
                        retry.succeeded(call.attempts if call is not None else 0)
                        yield item  # from here on a retry would repeat what the consumer has seen
                        async for item in stream:
                            yield item
                        return
                finally:
                    await stream.aclose()
                await call.failed(failure)

        return retried


_OWN_RETRIES = {
    "openai": "client.with_options(max_retries=0)",
    "anthropic": "client.with_options(max_retries=0)",
    "groq": "client.with_options(max_retries=0)",
    "together": "client.with_options(max_retries=0)",
}


def _warn_of_own_retries(fn: Any) -> None:
    client = getattr(getattr(fn, "__self__", None), "_client", None)
    most = getattr(client, "max_retries", 0)
    root = type(client).__module__.partition(".")[0]
    if root in _OWN_RETRIES and isinstance(most, int) and most > 0:
        warn(
            f"the {root} client of {fn.__qualname__} retries {most} times by itself, so each attempt here is"
            f" {most + 1} requests; switch that off with {_OWN_RETRIES[root]} or max_retries=0",
            DoubleRetryWarning,
        )


@overload
def classified_retry(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def classified_retry(fn: Callable[P, AsyncGenerator[Y, None]], /) -> Callable[P, AsyncGenerator[Y, None]]: ...
@overload
def classified_retry(fn: Callable[P, AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...
@overload
def classified_retry(
    name: str | None = None,
    *,
    rules: Mapping[ErrorType, RetryRule | None] | None = None,
    max_attempts: int = 6,
    max_elapsed: float | None = None,
    budget: RetryBudget | None = RetryBudget(),  # noqa: B008 - frozen
    on: Collection[ErrorType] | None = None,
    reraise: bool = False,
    retry_unsent_only: bool = False,
    reject: Reject | None = None,
    stop: Callable[[tenacity.RetryCallState], bool] | None = None,
    wait: Callable[[tenacity.RetryCallState], float] | None = None,
    retry: Callable[[tenacity.RetryCallState], bool] | None = None,
    registry: Registry | None = None,
) -> Decorator: ...
def classified_retry(
    name: Any = None,
    *,
    rules: Mapping[ErrorType, RetryRule | None] | None = None,
    max_attempts: int = 6,
    max_elapsed: float | None = None,
    budget: RetryBudget | None = RetryBudget(),  # noqa: B008 - frozen
    on: Collection[ErrorType] | None = None,
    reraise: bool = False,
    retry_unsent_only: bool = False,
    reject: Reject | None = None,
    stop: Callable[[tenacity.RetryCallState], bool] | None = None,
    wait: Callable[[tenacity.RetryCallState], float] | None = None,
    retry: Callable[[tenacity.RetryCallState], bool] | None = None,
    registry: Registry | None = None,
) -> Any:
    """
    Try again where the error says that trying again may help.

    Args:
        name: Call sites of one name share one budget and one set of numbers. Default: the qualified name.
        rules: Changes to the table of defaults: `{ErrorType.X: RetryRule(…)}`, or None to never retry that type.
        max_attempts: Calls in all, the first included. Default 6.
        max_elapsed: Seconds from the first call within which the next attempt must begin. Default: no bound.
        budget: Bounds the retries of this name over all calls; None: no bound.
        on: Retry only these types. Default: every type with a rule.
        reraise: Raise the original error in the end, with a note, instead of AIServiceError.
        retry_unsent_only: Retry only errors that prove that the request was not processed, for calls that must not
            be paid for twice.
        reject: Called with every result; an ErrorType makes it a failure, None lets it pass. Not for streams.
        stop: A tenacity condition: no further attempt once it is true.
        wait: A tenacity wait in place of the rules' backoff; the provider's own wait stays its floor.
        retry: A tenacity condition in place of the rules' choice of errors.
        registry: Where the numbers live. Default: `resilient_ai.registry`.

    Raises:
        AIServiceError: By the decorated function: retries are over; `__cause__` is the last error.
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    bare = callable(name)
    merged: dict[ErrorType, RetryRule | None] = {**DEFAULT_RULES, **(rules or {})}
    given: dict[Any, Any] = {**merged}  # what a caller without a type checker may have passed
    for kind, rule in given.items():
        if not isinstance(kind, ErrorType) or not isinstance(rule, RetryRule | None):
            raise ValueError(f"rules maps ErrorTypes to RetryRules or None, got {kind!r}: {rule!r}")
    config = RetryConfig(
        tuple((kind, rule) for kind, rule in merged.items() if rule is not None), max_attempts, max_elapsed, budget
    )
    choices = _Choices(frozenset(on) if on is not None else None, reraise, retry_unsent_only, reject, stop, wait, retry)

    def put_on(fn: Any) -> Any:
        _warn_of_own_retries(fn)
        where = registry if registry is not None else default_registry()
        return decorate(fn, RetryPolicy(None if bare else name, config, where, choices))

    return put_on(name) if bare else put_on
