"""
Whether a failed attempt is followed by another one, and when.

Three pure steps: what the failure tells (`Failure`), the rule that its retries go by (`plan_for`), and the answer
(`decide`). Nothing here counts, waits or pays; `call` does that with the answer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from resilient_ai._classification.error_types import RETRYABLE
from resilient_ai._classification.probes import probes_in_flight
from resilient_ai._classification.unsent import unsent
from resilient_ai._core.errors import (
    AllEndpointsFailedError,
    CircuitOpenError,
    EndpointRestingError,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    ResilienceError,
)

from .rules import DEFAULT_RULES, PROBES_IN_FLIGHT, WAIT_FOR_CIRCUIT, WAIT_FOR_LIMIT, RetryRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._classification.verdict import Verdict

    from .rules import RetryChoices, RetryConfig

NO_RETRY = RetryRule(0, 0.0, 0.0)
_OUR_OWN = (CircuitOpenError, EndpointRestingError, LimitReachedError, QueueFullError)


class Failure(NamedTuple):
    """
    What one failed attempt tells the decision.

    Attributes:
        kind: Its type.
        retryable: Whether the same request may work a little later.
        wait: Seconds that the provider, or our own side, asked to wait; None when nobody said.
        refused: Only circuits, limits and queues of our own refused, so that no provider was asked.
        probes_in_flight: A circuit refused because all of its probes are under way.
        by_circuit: The error is a circuit's own refusal, not that of one endpoint among several.
        unsent: It is proven that the provider has not processed the request; looked at only where that matters.
    """

    kind: ErrorType
    retryable: bool
    wait: float | None = None
    refused: bool = False
    probes_in_flight: bool = False
    by_circuit: bool = False
    unsent: bool = False

    @classmethod
    def of(cls, error: Exception, verdict: Verdict, choices: RetryChoices) -> Failure:
        """What an error and its verdict tell."""
        kind, sure = verdict.error_type, choices.unsent_only and unsent(error, verdict)
        if not isinstance(error, ResilienceError):
            return cls(kind, verdict.retryable, verdict.retry_after, unsent=sure)
        return cls(
            kind,
            verdict.retryable,
            verdict.retry_after,
            refused=_refused(error),
            probes_in_flight=kind is ErrorType.CIRCUIT_OPEN and probes_in_flight(error),
            by_circuit=isinstance(error, CircuitOpenError),
            unsent=sure,
        )


class Plan(NamedTuple):
    """
    How the retries of one failure are counted and timed.

    Attributes:
        rule: Bounds them; `NO_RETRY` when there are none.
        reason: What they are counted as within the call.
        wait: Seconds that somebody asked to wait; None when nobody said.
        is_attempt: Whether the failure used up an attempt.
    """

    rule: RetryRule
    reason: str
    wait: float | None
    is_attempt: bool = True


def plan_for(failure: Failure, config: RetryConfig, choices: RetryChoices, seconds_left: float) -> Plan:
    """
    The rule that the retries of a failure go by.

    Asking our own circuit, limit or queue again is not an attempt: it sends nothing and has its own counter.
    """
    rule = config.rule(failure.kind)
    if rule is None and failure.retryable and failure.kind not in RETRYABLE:
        rule = config.rule(ErrorType.INTERNAL_ERROR)  # an invalid request that was the model's doing, say
    if rule is None and choices.retry is not None:
        rule = RetryRule(config.max_attempts, 0.5, 8.0)
    if failure.probes_in_flight:
        return Plan(PROBES_IN_FLIGHT if rule else NO_RETRY, "half_open_full", 0.0, is_attempt=False)
    # Within a deadline we wait for our own side until the deadline comes.
    if failure.refused and seconds_left < math.inf and _is_default(rule, failure.kind, config):
        rule = WAIT_FOR_CIRCUIT if failure.kind is ErrorType.CIRCUIT_OPEN else WAIT_FOR_LIMIT
        return Plan(rule, "held", failure.wait, is_attempt=False)
    return Plan(rule or NO_RETRY, failure.kind.value, failure.wait)


def _is_default(rule: RetryRule | None, kind: ErrorType, config: RetryConfig) -> bool:
    """Whether the user left it to us: a rule of the user's own is taken at its word, and so is a single attempt."""
    return rule is not None and rule is DEFAULT_RULES.get(kind) and config.max_attempts > 1


class Conditions(Protocol):
    """The user's own tenacity conditions."""

    def wants_retry(self) -> bool: ...
    def backoff(self, rule: RetryRule, times: int) -> float: ...
    def stops(self, delay: float) -> bool: ...


class Again(NamedTuple):
    """Another attempt, in so many seconds."""

    delay: float


class GiveUp(NamedTuple):
    """That was the last attempt, and why."""

    reason: str


def decide(
    failure: Failure,
    plan: Plan,
    config: RetryConfig,
    choices: RetryChoices,
    conditions: Conditions | None,
    chance: Callable[[], float],
    *,
    attempts: int,
    times: int,
    elapsed: float,
    seconds_left: float,
    obstacle: str | None = None,
) -> Again | GiveUp:
    """
    Whether there is another attempt, and when.

    Args:
        failure: What the last attempt told.
        plan: The rule for it.
        config: Settings of the name.
        choices: Settings of the call site.
        conditions: The user's tenacity conditions; None: only the rules decide.
        chance: Draws a number in [0, 1) for the jitter.
        attempts: Attempts made.
        times: Failures counted as `plan.reason` in this call, this one included.
        elapsed: Seconds since the first attempt began.
        seconds_left: Seconds until the caller's deadline; infinite without one.
        obstacle: What keeps the caller from waiting; None: nothing does.
    """
    rule, wait = plan.rule, plan.wait or 0.0
    if (reason := _not_at_all(failure, plan, choices, conditions)) is not None:
        return GiveUp(reason)
    if attempts >= config.max_attempts:
        return GiveUp(f"max_attempts={config.max_attempts} reached")
    if times > rule.max_retries and choices.retry is None:
        return GiveUp(f"{rule.max_retries} retries for {plan.reason} used up")
    if wait > rule.max_delay:
        who = "our own side" if failure.refused else "the provider"
        return GiveUp(f"{who} asks to wait {wait:.1f} s, longer than max_delay={rule.max_delay:g}")

    backoff = rule.delay(times, chance()) if conditions is None else conditions.backoff(rule, times)
    delay = max(backoff, wait)
    if conditions is not None and conditions.stops(delay):
        return GiveUp("its stop= says so")
    if config.max_elapsed is not None and elapsed + delay >= config.max_elapsed:
        return GiveUp(f"max_elapsed={config.max_elapsed:g} would end before the next attempt")
    if not delay < seconds_left:
        return GiveUp("the caller's deadline would end before the next attempt")
    if delay > 0 and obstacle is not None:
        return GiveUp(f"the next attempt is due in {delay:.1f} s, and {obstacle}")
    return Again(delay)


def _not_at_all(failure: Failure, plan: Plan, choices: RetryChoices, conditions: Conditions | None) -> str | None:
    """Why such a failure is never retried, however few attempts were made."""
    kind = failure.kind
    if failure.by_circuit and plan.wait is None:
        return "nobody knows when the circuit may be asked again"
    if choices.retry is not None:  # the user's condition decides in place of the rules
        if conditions is None or not conditions.wants_retry():
            return "its retry= says no"
    elif plan.rule is NO_RETRY or (kind in RETRYABLE and not failure.retryable):
        return f"{kind.value} is not retried"
    elif choices.on is not None and kind not in choices.on:
        return f"{kind.value} is not in its on="
    if choices.unsent_only and not failure.unsent:
        return "the request may have been processed"
    return None


def _refused(error: BaseException) -> bool:
    """Whether only limits, queues and circuits of our own refused, so that no provider was asked."""
    if isinstance(error, AllEndpointsFailedError):
        return all(_refused(each) for each in error.errors.values())
    return isinstance(error, _OUR_OWN)
