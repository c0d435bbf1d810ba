"""The decision after a failed attempt, without a loop, a clock or a provider."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from resilient_ai import (
    AllEndpointsFailedError,
    CircuitOpenError,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    RetryRule,
    classify,
)
from resilient_ai._classified_retry.decision import NO_RETRY, Failure, GiveUp, decide, plan_for
from resilient_ai._classified_retry.rules import (
    DEFAULT_RULES,
    PROBES_IN_FLIGHT,
    WAIT_FOR_CIRCUIT,
    WAIT_FOR_LIMIT,
    RetryChoices,
    RetryConfig,
    merged_rules,
)
from resilient_ai._core.errors import EndpointRestingError

DEFAULTS = RetryConfig(merged_rules(None))
ONCE = RetryConfig(merged_rules(None), max_attempts=1)
OVERLOADED = Failure(ErrorType.MODEL_OVERLOADED, retryable=True)
CIRCUIT = Failure(ErrorType.CIRCUIT_OPEN, retryable=True, wait=4.0, refused=True, not_asked=True)
LIMIT = Failure(ErrorType.MODEL_OVERLOADED, retryable=True, wait=90.0, refused=True)


@dataclass
class Conditions:
    """Answers as told, and which of them were asked for."""

    wants: bool = True
    wait: float = 1.0
    stop: bool = False
    asked: list[str] = field(default_factory=list)

    def wants_retry(self):
        self.asked.append("retry")
        return self.wants

    def backoff(self, rule, times):
        self.asked.append("wait")
        return self.wait

    def stops(self, delay):
        self.asked.append(f"stop {delay:g}")
        return self.stop


def decided(failure, *, config=DEFAULTS, choices=None, conditions=None, left=math.inf, roll=0.5, **numbers):
    choices = choices or RetryChoices()
    plan = plan_for(failure, config, choices, left)
    numbers = {"attempts": 1, "times": 1, "elapsed": 0.0, **numbers}
    return decide(failure, plan, config, choices, conditions, lambda: roll, seconds_left=left, **numbers)


def any_condition(state):
    return True


# -- the rule that a failure goes by


@pytest.mark.parametrize("kind", ErrorType)
def test_a_failure_goes_by_the_rule_of_its_type_and_is_an_attempt(kind):
    plan = plan_for(Failure(kind, retryable=False), DEFAULTS, RetryChoices(), math.inf)

    assert plan.rule is DEFAULT_RULES.get(kind, NO_RETRY)
    assert (plan.reason, plan.is_attempt) == (kind.value, True)


def test_a_retryable_failure_of_a_type_that_is_not_goes_by_the_rule_of_internal_errors():
    plan = plan_for(Failure(ErrorType.INVALID_REQUEST, retryable=True), DEFAULTS, RetryChoices(), math.inf)

    assert plan.rule is DEFAULT_RULES[ErrorType.INTERNAL_ERROR]


@pytest.mark.parametrize(("failure", "rule"), [(CIRCUIT, WAIT_FOR_CIRCUIT), (LIMIT, WAIT_FOR_LIMIT)])
def test_within_a_deadline_what_our_own_side_refused_is_waited_for_and_is_no_attempt(failure, rule):
    plan = plan_for(failure, DEFAULTS, RetryChoices(), 60.0)

    assert (plan.rule, plan.reason, plan.wait, plan.is_attempt) == (rule, "held", failure.wait, False)


@pytest.mark.parametrize("failure", [CIRCUIT, LIMIT])
@pytest.mark.parametrize(
    ("config", "left"),
    [
        (DEFAULTS, math.inf),
        (ONCE, 60.0),
        (RetryConfig(merged_rules(dict.fromkeys(ErrorType, RetryRule(1, 1.0, 100.0)))), 60.0),
        (RetryConfig(merged_rules(dict.fromkeys(ErrorType))), 60.0),
    ],
    ids=["no deadline", "a single attempt", "a rule of the user's own", "no rule"],
)
def test_otherwise_it_is_an_attempt_like_any_other(failure, config, left):
    plan = plan_for(failure, config, RetryChoices(), left)

    assert plan.is_attempt
    assert plan.reason == failure.kind.value


@pytest.mark.parametrize("left", [math.inf, 60.0])
def test_probes_in_flight_are_asked_about_again_soon_whatever_the_circuit_named(left):
    failure = Failure(ErrorType.CIRCUIT_OPEN, retryable=True, wait=60.0, refused=True, probes_in_flight=True)
    plan = plan_for(failure, DEFAULTS, RetryChoices(), left)
    forbidden = RetryConfig(merged_rules({ErrorType.CIRCUIT_OPEN: None}))

    assert (plan.rule, plan.wait, plan.is_attempt) == (PROBES_IN_FLIGHT, 0.0, False)
    assert plan_for(failure, forbidden, RetryChoices(), left).rule is NO_RETRY


# -- what speaks against another attempt


OWN = RetryChoices(retry=any_condition, wait=any_condition, stop=any_condition)


@pytest.mark.parametrize(
    ("reason", "failure", "given"),
    [
        ("not known when the circuit", Failure(ErrorType.CIRCUIT_OPEN, retryable=True, not_asked=True), {}),
        ("not known when the endpoint", Failure(ErrorType.MODEL_OVERLOADED, retryable=True, not_asked=True), {}),
        ("its retry= says no", OVERLOADED, {"choices": OWN, "conditions": Conditions(wants=False)}),
        ("authentication is not retried", Failure(ErrorType.AUTHENTICATION, retryable=False), {}),
        ("network_error is not retried", Failure(ErrorType.NETWORK_ERROR, retryable=False), {}),
        ("is not in its on=", OVERLOADED, {"choices": RetryChoices(on=frozenset({ErrorType.TIMEOUT}))}),
        ("the request may have been processed", OVERLOADED, {"choices": RetryChoices(unsent_only=True)}),
        ("max_attempts=6 reached", OVERLOADED, {"attempts": 6}),
        ("4 retries for model_overloaded used up", OVERLOADED, {"times": 5}),
        ("100 retries for held used up", LIMIT, {"times": 101, "left": 1e4}),
        ("the provider asks to wait 31.0 s", Failure(ErrorType.MODEL_OVERLOADED, retryable=True, wait=31.0), {}),
        ("our own side asks to wait 90.0 s, longer than max_delay=30", LIMIT, {}),
        ("its stop= says so", OVERLOADED, {"choices": OWN, "conditions": Conditions(stop=True)}),
        ("max_elapsed=9 would end", OVERLOADED, {"config": RetryConfig(DEFAULTS.rules, 6, 9.0), "elapsed": 8.0}),
        ("the caller's deadline would end", OVERLOADED, {"left": 1.0, "roll": 0.999}),
        ("the caller's deadline would end", OVERLOADED, {"conditions": Conditions(wait=math.nan)}),
    ],
)
def test_a_reason_against_another_attempt_is_named(reason, failure, given):
    answer = decided(failure, **given)

    assert isinstance(answer, GiveUp)
    assert reason in answer.reason


@pytest.mark.parametrize(
    ("failure", "given", "delay"),
    [
        (OVERLOADED, {}, 1.0),
        (OVERLOADED, {"times": 4}, 3.375),
        (OVERLOADED, {"attempts": 5, "roll": 0.0}, 0.0),
        (Failure(ErrorType.MODEL_OVERLOADED, retryable=True, wait=30.0), {}, 30.0),
        (
            Failure(ErrorType.AUTHENTICATION, retryable=False),
            {"choices": OWN, "conditions": Conditions(), "times": 99},
            1.0,
        ),
        (OVERLOADED, {"choices": RetryChoices(on=frozenset({ErrorType.MODEL_OVERLOADED}))}, 1.0),
        (Failure(ErrorType.TIMEOUT, retryable=True, unsent=True), {"choices": RetryChoices(unsent_only=True)}, 0.25),
        (OVERLOADED, {"config": RetryConfig(DEFAULTS.rules, 6, 9.0), "elapsed": 7.9}, 1.0),
        (OVERLOADED, {"left": 1.1}, 1.0),
        (LIMIT, {"left": 100.0}, 90.0),
        (CIRCUIT, {"left": 100.0, "times": 100}, 4.0),
    ],
)
def test_without_one_the_wait_is_the_longer_of_backoff_and_what_was_asked(failure, given, delay):
    assert decided(failure, **given) == delay


def test_the_users_conditions_are_asked_in_tenacitys_order_and_no_more_than_needed():
    all_asked, refused = Conditions(), Conditions(wants=False)
    decided(OVERLOADED, choices=OWN, conditions=all_asked)
    decided(OVERLOADED, choices=OWN, conditions=refused)

    assert all_asked.asked == ["retry", "wait", "stop 1"]
    assert refused.asked == ["retry"]


# -- what a failure tells


def behind(*errors):
    names = {f"endpoint-{number}": error for number, error in enumerate(errors)}
    return AllEndpointsFailedError(
        "ask", names, error_types={name: classify(error).error_type for name, error in names.items()}
    )


FULL = CircuitOpenError("openai", 60.0, "half_open_full")
OPEN = CircuitOpenError("openai", 60.0)
DOWN = EndpointRestingError("openai", marked_down=True)


@pytest.mark.parametrize(
    ("error", "refused", "probes_in_flight", "not_asked"),
    [
        (TimeoutError(), False, False, False),
        (OPEN, True, False, True),
        (FULL, True, True, True),
        (LimitReachedError("ask", limit=1, waiting=0, retry_after=1.0), True, False, False),
        (QueueFullError("ask", max_queue_size=1), True, False, False),
        (behind(OPEN, OPEN), True, False, True),
        (behind(OPEN, FULL), True, True, True),
        (behind(OPEN, DOWN), True, False, True),
        (behind(OPEN, QueueFullError("ask", max_queue_size=1)), True, False, False),
        (behind(TimeoutError(), OPEN), False, False, False),
    ],
)
def test_a_failure_tells_who_refused(error, refused, probes_in_flight, not_asked):
    failure = Failure.of(error, classify(error), RetryChoices())

    assert (failure.refused, failure.probes_in_flight, failure.not_asked) == (refused, probes_in_flight, not_asked)


def test_whether_it_was_sent_is_looked_at_only_where_that_matters():
    error = ConnectionRefusedError()

    assert Failure.of(error, classify(error), RetryChoices(unsent_only=True)).unsent
    assert not Failure.of(error, classify(error), RetryChoices()).unsent
