"""`@classified_retry`: try again where the error says that trying again may help, and no faster than it says."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, TypeVar, overload

import tenacity

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import Reject, no_reject_on_a_stream, rejection
from resilient_ai._classification.error_types import RETRYABLE
from resilient_ai._classification.unsent import unsent
from resilient_ai._classification.verdict import Verdict
from resilient_ai._core.checks import check_callable
from resilient_ai._core.deadline import seconds_left
from resilient_ai._core.errors import (
    AIServiceError,
    AllEndpointsFailedError,
    CircuitOpenError,
    DoubleRetryWarning,
    EndpointRestingError,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    RejectedResultError,
    is_wrong_call,
)
from resilient_ai._core.fast_path import FastPath, begun
from resilient_ai._core.handlers import Handler, StreamHandler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.scrub import args_hash, scrub
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.user_warnings import warn
from resilient_ai._core.watch import watching
from resilient_ai._core.wrapper import Decorator, decorate

from .budget import RetryBudget
from .events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled
from .handle import Retry
from .rules import (
    DEFAULT_RULES,
    HELD_BY_CIRCUIT,
    HELD_BY_LIMIT,
    PROBES_IN_FLIGHT,
    RetryConfig,
    RetryRule,
    merged_rules,
)
from .sdk_retries import own_retries

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


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
        self.price = 0.0  # of the retry that is being made
        self.by_reason: dict[str, int] = {}
        # What tenacity's conditions look at; its clock is ours.
        self.state = tenacity.RetryCallState(None, None, args, kwargs)  # type: ignore[arg-type]
        self.state.start_time = started

    def succeeded(self) -> None:
        self.retry.recovered(self.price)

    async def failed(self, error: Exception) -> Exception | None:
        """Waits when there is another attempt; what to raise when there is none."""
        verdict, now = self._note(error)
        nobodys = verdict.blame == "unknown" and not verdict.retryable and self.policy.choices.retry is None
        if nobodys or is_wrong_call(error):
            self.retry.gave_up()
            return error  # nothing we know of: a programming error goes to whoever made it
        delay = self._decide(error, verdict, now)
        self.state.outcome = None  # it holds the error, whose traceback holds this call
        if isinstance(delay, str):
            return self._give_up(error, verdict, now, delay)
        registry = self.policy.registry
        if registry.listening:
            registry.emit(RetryScheduled(self.retry.name, self.attempts, verdict.error_type.value, delay))
        self.state.idle_for += delay
        try:
            await registry.clock.sleep(delay)
        except BaseException:
            self.retry.not_retried(registry.clock.now(), self.price)
            raise
        if (seen := watching()) is not None:
            seen.retries += 1
        return None

    def failed_midway(self, error: Exception) -> Exception:
        """A stream broke after its first item: the consumer hears of it as it is."""
        verdict, now = self._note(error)
        self.state.outcome = None
        if verdict.blame != "unknown":
            self._announce_end(verdict, now, "the stream had begun")
        self.retry.gave_up()
        return error

    def _note(self, error: Exception) -> tuple[Verdict, float]:
        self.attempts += 1
        verdict = classify(error)
        self.retry.failed(verdict.error_type)
        if (seen := watching()) is not None:
            seen.attempts += 1
        if self.policy.registry.listening:
            self._tell(error, verdict)
        now = self.policy.registry.clock.now()
        self.state.attempt_number = self.attempts
        if self.policy.shows_outcomes:  # a future with a lock of its own; costly, and mostly nobody looks
            if isinstance(error, _UnwantedResultError):  # a retry= that looks at results must find its result again
                self.state.set_result(error.result)
            else:
                self.state.set_exception((type(error), error, error.__traceback__))
        self.state.outcome_timestamp = now  # after the lines above, which set tenacity's own clock's
        return verdict, now

    def _decide(self, error: Exception, verdict: Verdict, now: float) -> float | str:
        """Seconds to wait, or the reason why this was the last attempt."""
        config, choices, kind = self.policy.config, self.policy.choices, verdict.error_type
        asked = verdict.retry_after
        rule = config.rule(kind)
        if rule is None and verdict.retryable and kind not in RETRYABLE:
            rule = config.rule(ErrorType.INTERNAL_ERROR)  # an invalid request that was the model's doing, say
        probing = kind is ErrorType.CIRCUIT_OPEN and _probing(error)
        held = False
        if _not_sent(error):
            self.retry.refund(now, self.price)
            self.price = 0.0
            # Refused on our own side, and a deadline bounds the waiting. A rule of the user's own is taken at its word,
            # and so is a single attempt.
            own_rule = rule is None or rule is not DEFAULT_RULES.get(kind) or config.max_attempts == 1
            held = not probing and not own_rule and seconds_left() < math.inf
        if probing:
            asked, rule = 0.0, rule and PROBES_IN_FLIGHT
        elif held:
            rule = HELD_BY_CIRCUIT if kind is ErrorType.CIRCUIT_OPEN else HELD_BY_LIMIT
        if probing or held:
            # To look whether the way is free asks nothing of the provider: no attempt, and counted by itself.
            self.attempts -= 1
            self.state.attempt_number = self.attempts
        if isinstance(error, CircuitOpenError) and asked is None and not probing:
            return "nobody knows when the circuit may be asked again"
        if choices.retry is not None:
            if not choices.retry(self.state):
                return "its retry= says no"
            rule = rule or RetryRule(config.max_attempts, 0.5, 8.0)
        elif rule is None or (kind in RETRYABLE and not verdict.retryable):
            return f"{kind.value} is not retried"
        elif choices.on is not None and kind not in choices.on:
            return f"{kind.value} is not in its on="
        if choices.unsent_only and not unsent(error, verdict):
            return "the request may have been processed"
        if self.policy.max_attempts(self.state):
            return f"max_attempts={config.max_attempts} reached"
        reason = "half_open_full" if probing else "held" if held else kind.value
        times = self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
        if times > rule.max_retries and choices.retry is None:
            return f"{rule.max_retries} retries for {reason} used up"
        asked = asked or 0.0
        if asked > rule.max_delay:
            who = "our own side" if _not_sent(error) else "the provider"
            return f"{who} asks to wait {asked:.1f} s, longer than max_delay={rule.max_delay:g}"
        if choices.wait is not None:
            backoff = choices.wait(self.state)
        else:
            backoff = rule.delay(times, self.policy.registry.rng.random())
        delay = max(backoff, asked)
        self.state.upcoming_sleep = delay
        if choices.stop is not None and choices.stop(self.state):
            return "its stop= says so"
        if config.max_elapsed is not None and now - self.started + delay >= config.max_elapsed:
            return f"max_elapsed={config.max_elapsed:g} would end before the next attempt"
        if not delay < seconds_left():
            return "the caller's deadline would end before the next attempt"
        # What our own side refused was not sent, so that a retry of it multiplies nothing.
        price = self.retry.may_retry(now, ErrorType.CIRCUIT_OPEN if _not_sent(error) else kind)
        if price is None:
            return "the retry budget is empty"
        self.price = price
        return delay

    def _give_up(self, error: Exception, verdict: Verdict, now: float, reason: str) -> Exception:
        self.retry.gave_up()
        self._announce_end(verdict, now, reason)
        elapsed = now - self.started
        if self.policy.choices.reraise:
            calls = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
            error.add_note(f"resilient_ai: {calls} in {elapsed:.1f} s; {reason}")
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

    def _announce_end(self, verdict: Verdict, now: float, reason: str) -> None:
        registry = self.policy.registry
        if registry.listening:
            kind = verdict.error_type.value
            registry.emit(RetriesExhausted(self.retry.name, self.attempts, now - self.started, kind, reason))

    def _tell(self, error: Exception, verdict: Verdict) -> None:
        args, kwargs = self.request
        event = QuotaExceeded if verdict.error_type is ErrorType.QUOTA_EXCEEDED else AttemptFailed
        self.policy.registry.emit(
            event(
                self.retry.name,
                self.site.function,
                self.attempts,
                verdict.error_type.value,
                scrub(_text_of(error), private=(args, kwargs)),
                args_hash(args, kwargs),
            )
        )


class _UnwantedResultError(RejectedResultError):
    """A result that the call site's own `retry=` wants to try again for."""


def _not_sent(error: BaseException) -> bool:
    """Whether only limits, queues and circuits of our own refused, so that no provider was asked."""
    if isinstance(error, AllEndpointsFailedError):
        return all(_not_sent(each) for each in error.errors.values())
    return isinstance(error, CircuitOpenError | EndpointRestingError | LimitReachedError | QueueFullError)


def _probing(error: Exception) -> bool:
    """Whether a circuit refused because its probes are in flight, be it that of one endpoint among several."""
    each = error.errors.values() if isinstance(error, AllEndpointsFailedError) else (error,)
    return any(isinstance(one, CircuitOpenError) and one.reason == "half_open_full" for one in each)


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return type(error).__name__


class RetryPolicy(Policy[Retry]):
    kind = "classified_retry"
    rank = 40
    not_outside: ClassVar = {"classified_retry": "multiply their attempts; keep one"}

    def __init__(
        self,
        name: object,
        config: RetryConfig,
        registry: StateStore,
        choices: _Choices,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: RetryConfig = config
        self.choices = choices
        self.max_attempts = tenacity.stop_after_attempt(config.max_attempts)
        self.shows_outcomes = not (choices.stop is None and choices.wait is None and choices.retry is None)

    def make_state(self, name: str) -> Retry:
        return Retry(name, self.config, self.registry)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        inner, retry, now = bind_inner(site), self.state(site), self.registry.clock.now
        judge = self._judge(site)

        async def retried(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            started = now() if (first := begun(fn)) is None else first.started
            call: _Call | None = None
            while True:
                try:
                    result = await inner(fn, instance, args, kwargs)
                    if judge is not None:
                        judge(result, call)
                except Exception as error:  # noqa: BLE001 - decided, and raised or retried, below
                    failure: Exception | None = error
                else:
                    if call is not None:
                        call.succeeded()
                    else:
                        retry.good.ok += 1
                    if (seen := watching()) is not None:
                        seen.attempts += 1
                    return result
                if call is None:
                    call = _Call(self, retry, site, started, args, kwargs)
                try:
                    failure = await call.failed(failure)  # type: ignore[arg-type]
                    if failure is not None:
                        raise failure
                finally:
                    failure = None  # its traceback holds this frame

        return retried

    def _judge(self, site: Site) -> Callable[[Any, _Call | None], None] | None:
        """Raises for results that count as failures; None when nobody asked for that."""
        reject, retry = self.choices.reject, self.choices.retry
        if reject is None and retry is None:
            return None

        def judge(result: Any, call: _Call | None) -> None:
            if reject is not None and (error_type := rejection(reject, result, site.function)) is not None:
                raise RejectedResultError(result, error_type, function=site.function)
            if retry is not None:
                state = tenacity.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
                state.attempt_number = call.attempts + 1 if call is not None else 1
                state.set_result(result)
                if retry(state):
                    raise _UnwantedResultError(result, ErrorType.INTERNAL_ERROR, function=site.function)

        return judge

    def add_to_fast_path(self, path: FastPath, site: Site) -> bool:
        if self.choices.reject is not None or self.choices.retry is not None:
            return False
        path.counts.append(self.state(site).good)
        path.timed = True
        return True

    def bind_stream(self, bind_inner: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        no_reject_on_a_stream(self.choices.reject, site.function)
        inner, retry, now = bind_inner(site), self.state(site), self.registry.clock.now

        async def retried(
            fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            started = now()
            call: _Call | None = None
            while True:
                stream = inner(fn, instance, args, kwargs)
                failure: Exception | None = None
                begun = False
                try:
                    while True:
                        try:
                            item = await anext(stream)
                        except StopAsyncIteration:
                            self._stream_ended(retry, call)
                            return
                        except Exception as error:  # noqa: BLE001 - decided, and raised or retried, below
                            failure = error
                            break
                        begun = True
                        # Outside the inner try: what the consumer throws in here is not the provider's doing.
                        yield item
                finally:
                    await stream.aclose()
                if call is None:
                    call = _Call(self, retry, site, started, args, kwargs)
                try:
                    # Once an item is out a retry would repeat what the consumer has seen.
                    failure = call.failed_midway(failure) if begun else await call.failed(failure)
                    if failure is not None:
                        raise failure
                finally:
                    failure = None  # its traceback holds this frame

        return retried

    def _stream_ended(self, retry: Retry, call: _Call | None) -> None:
        if call is not None:
            call.succeeded()
        else:
            retry.good.ok += 1
        if (seen := watching()) is not None:
            seen.attempts += 1


def _chosen(on: Collection[ErrorType] | None, config: RetryConfig) -> frozenset[ErrorType] | None:
    if on is None:
        return None
    given: Collection[Any] = on
    for kind in given:
        if not isinstance(kind, ErrorType) or config.rule(kind) is None:
            raise ValueError(f"on names {kind!r}, which has no rule; give it one with rules={{...: RetryRule(...)}}")
    return frozenset(on)


def _warn_of_own_retries(fn: Any) -> None:
    found = own_retries(fn)
    if found is not None:
        sdk, requests, switch = found
        name = getattr(fn, "__qualname__", type(fn).__qualname__)
        warn(
            f"the {sdk} client of {name} retries by itself, so one attempt here is up to {requests} requests there;"
            f" switch that off with {switch}",
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
    registry: StateStore | None = None,
) -> Decorator: ...
@public()
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
    registry: StateStore | None = None,
) -> Any:
    """
    Try again where the error says that trying again may help.

    What a circuit or a limit of our own refused was never sent. Within a deadline (an enclosing anyio scope) it is
    asked for again until that comes, and is no attempt; a rule for it in `rules` is taken at its word.

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
        reject: Called with every result; an ErrorType makes it a failure, None lets it pass. `classify_result` knows
            what SDKs return instead of raising. Not for streams.
        stop: A tenacity condition: no further attempt once it is true. `max_attempts` and the rules still hold.
        wait: A tenacity wait in place of the rules' backoff; the provider's own wait stays its floor.
        retry: A tenacity condition in place of the rules' choice of errors and their `max_retries`; it may look at
            results too. `max_attempts` still holds.
        registry: Where the numbers live. Default: `resilient_ai.registry`.

    Raises:
        AIServiceError: By the decorated function: retries are over; `__cause__` is the last error.
        TypeError: At decoration: not an async function, or `reject` on one that streams.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """
    bare = callable(name)
    config = RetryConfig(merged_rules(rules), max_attempts, max_elapsed, budget)
    choices = _Choices(_chosen(on, config), reraise, retry_unsent_only, reject, stop, wait, retry)
    for setting, given in (("reject", reject), ("stop", stop), ("wait", wait), ("retry", retry)):
        check_callable(setting, given)

    def put_on(fn: Any) -> Any:
        _warn_of_own_retries(fn)
        where = registry if registry is not None else default_registry()
        return decorate(fn, RetryPolicy(None if bare else name, config, where, choices))

    return put_on(name) if bare else put_on
