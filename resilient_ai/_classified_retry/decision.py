"""
Decide whether a failed attempt is followed by another one, and when.

Three pure steps: the facts of the failure (`Failure`), the rule for its retries (`plan_for`), and the answer
(`decide`). Nothing here counts, waits or pays; `call` does that with the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    The facts about one failed attempt that the decision needs.

    Attributes:
        kind: Its error type.
        retryable: Whether the same request may work a little later.
        wait: Seconds that the provider, or our own side, asked to wait; None if neither did.
        refused: Only our own circuits, limits and queues refused, so that no provider was asked.
        probes_in_flight: A circuit refused because all its probes are in flight.
        not_asked: Only circuits and endpoints that are out of use refused; with several endpoints, all of them.
        unsent: It is proven that the provider has not processed the request; determined only where it matters.
    """

    kind: ErrorType
    retryable: bool
    wait: float | None = None
    refused: bool = False
    probes_in_flight: bool = False
    not_asked: bool = False
    unsent: bool = False

    @classmethod
    def of(cls, error: Exception, verdict: Verdict, choices: RetryChoices) -> Failure:
        """The facts from an error and its verdict."""
        kind, sure = verdict.error_type, choices.unsent_only and unsent(error, verdict)
        if not isinstance(error, ResilienceError):
            return cls(kind, verdict.retryable, verdict.retry_after, unsent=sure)
        return cls(
            kind,
            verdict.retryable,
            verdict.retry_after,
            refused=_refused(error),
            probes_in_flight=kind is ErrorType.CIRCUIT_OPEN and probes_in_flight(error),
            not_asked=_refused(error, (CircuitOpenError, EndpointRestingError)),
            unsent=sure,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How the retries after one failure are counted and timed.

    Attributes:
        rule: The rule that bounds them; `NO_RETRY` if there are none.
        reason: The name under which they are counted within the call.
        wait: Seconds that the provider, or our own side, asked to wait; None if neither did.
        is_attempt: Whether the failure used up an attempt.
        never: Why such a failure is never retried, whatever the number of attempts; None if it may be.
    """

    rule: RetryRule
    reason: str
    wait: float | None
    is_attempt: bool = True
    never: str | None = None


def plan_for(failure: Failure, config: RetryConfig, choices: RetryChoices, seconds_left: float) -> Plan:
    """
    The rule for the retries after a failure.

    Asking our own circuit, limit or queue again is not an attempt: it sends nothing and has its own counter.
    """
    plan = _ruled(failure, config, choices, seconds_left)
    never = _never(failure, plan, choices)
    return plan if never is None else replace(plan, never=never)


def _ruled(failure: Failure, config: RetryConfig, choices: RetryChoices, seconds_left: float) -> Plan:
    rule = config.rule(failure.kind)
    if rule is None and failure.retryable and failure.kind not in RETRYABLE:
        rule = config.rule(ErrorType.INTERNAL_ERROR)  # for example an invalid request that the model caused
    if rule is None and choices.retry is not None:
        rule = RetryRule(config.max_attempts, 0.5, 8.0)
    if failure.probes_in_flight:
        return Plan(PROBES_IN_FLIGHT if rule else NO_RETRY, "half_open_full", 0.0, is_attempt=False)
    # With a deadline, we wait for our own circuits, limits and queues until the deadline comes.
    if failure.refused and seconds_left < math.inf and _is_default(rule, failure.kind, config):
        rule = WAIT_FOR_CIRCUIT if failure.kind is ErrorType.CIRCUIT_OPEN else WAIT_FOR_LIMIT
        return Plan(rule, "held", failure.wait, is_attempt=False)
    return Plan(rule or NO_RETRY, failure.kind.value, failure.wait)


def _is_default(rule: RetryRule | None, kind: ErrorType, config: RetryConfig) -> bool:
    """Whether the default may be changed: a user's own rule is followed exactly, and so is a single attempt."""
    return rule is not None and rule is DEFAULT_RULES.get(kind) and config.max_attempts > 1


class Conditions(Protocol):
    """The user's own tenacity conditions."""

    def wants_retry(self) -> bool: ...
    def backoff(self, rule: RetryRule, times: int) -> float: ...
    def stops(self, delay: float) -> bool: ...


class GiveUp(NamedTuple):
    """Make no further attempt, and why."""

    reason: str


def decide(
    failure: Failure,
    plan: Plan,
    config: RetryConfig,
    choices: RetryChoices,
    conditions: Conditions | None,
    chance: Callable[[], float],
    attempts: int,
    times: int,
    elapsed: float,
    seconds_left: float,
    obstacle: str | None = None,
) -> float | GiveUp:
    """
    Decide whether there is another attempt, and when: after so many seconds, or why there is none.

    Args:
        failure: The facts of the last attempt.
        plan: How its retries are counted and timed.
        config: Settings of the name.
        choices: Settings of the call site.
        conditions: The user's tenacity conditions; None: only the rules decide.
        chance: Draws a number in [0, 1) for the jitter.
        attempts: Attempts made.
        times: Failures counted under `plan.reason` in this call, including this one.
        elapsed: Seconds since the first attempt began.
        seconds_left: Seconds until the caller's deadline; inf without one.
        obstacle: Why the caller cannot wait; None if it can.
    """
    rule, wait = plan.rule, plan.wait or 0.0
    if plan.never is not None:
        return GiveUp(plan.never)
    if choices.retry is not None and (conditions is None or not conditions.wants_retry()):  # it replaces the rules
        return GiveUp("its retry= says no")
    if attempts >= config.max_attempts:
        return GiveUp(f"max_attempts={config.max_attempts} reached")
    if times > rule.max_retries and choices.retry is None:
        return GiveUp(f"{rule.max_retries} retries for {plan.reason} used up")
    if wait > rule.max_delay:
        who = "our own side" if failure.refused else "the provider"
        return GiveUp(f"{who} asks to wait {wait:.1f} s, longer than max_delay={rule.max_delay:g}")

    backoff = rule.delay(times, chance()) if conditions is None else conditions.backoff(rule, times)
    delay = wait if wait > backoff else backoff
    if conditions is not None and conditions.stops(delay):
        return GiveUp("its stop= says so")
    if config.max_elapsed is not None and elapsed + delay >= config.max_elapsed:
        return GiveUp(f"max_elapsed={config.max_elapsed:g} would end before the next attempt")
    if not delay < seconds_left:
        return GiveUp("the caller's deadline would end before the next attempt")
    if delay > 0 and obstacle is not None:
        return GiveUp(f"the next attempt is due in {delay:.1f} s, and {obstacle}")
    return delay


def _never(failure: Failure, plan: Plan, choices: RetryChoices) -> str | None:
    """Why such a failure is never retried, whatever the user's condition says; None if it may be."""
    kind = failure.kind
    if failure.not_asked and plan.wait is None:  # it is for an operator to say
        what = "circuit" if kind is ErrorType.CIRCUIT_OPEN else "endpoint"
        return f"it is not known when the {what} may be called again"
    if choices.retry is None:
        if plan.rule is NO_RETRY or (kind in RETRYABLE and not failure.retryable):
            return f"{kind.value} is not retried"
        if choices.on is not None and kind not in choices.on:
            return f"{kind.value} is not in its on="
    if choices.unsent_only and not failure.unsent:
        return "the request may have been processed"
    return None


def _refused(error: BaseException, kinds: tuple[type[Exception], ...] = _OUR_OWN) -> bool:
    """Whether only our own limits, queues and circuits refused, so that no provider was asked."""
    if isinstance(error, AllEndpointsFailedError):
        return all(_refused(each, kinds) for each in error.errors.values())
    return isinstance(error, kinds)
