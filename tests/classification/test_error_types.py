"""One row for each error type, and the policies' tables are views of the rows."""

from __future__ import annotations

import pytest

from resilient_ai import (
    UNAVAILABLE,
    AIServiceError,
    CircuitState,
    ErrorType,
    RetryBudget,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
)
from resilient_ai._batched.runner import POISON
from resilient_ai._classification.error_types import ERROR_TYPES, RETRYABLE, check_complete
from resilient_ai._classification.verdict import verdict
from resilient_ai._classified_retry.rules import DEFAULT_RULES, RetryRule


@pytest.mark.parametrize("kind", ErrorType)
def test_every_error_type_has_a_row(kind):
    assert kind in ERROR_TYPES


def test_a_type_without_a_row_ends_the_import_and_not_a_users_call():
    without = {kind: row for kind, row in ERROR_TYPES.items() if kind is not ErrorType.TIMEOUT}

    with pytest.raises(LookupError, match="needs a row for TIMEOUT"):
        check_complete(without, ErrorType)


@pytest.mark.parametrize("kind", ErrorType)
def test_every_error_type_has_a_verdict(kind):
    row, said = ERROR_TYPES[kind], verdict(kind)

    assert (said.blame, said.retryable, said.endpoint_fault) == (row.blame, row.retryable, row.next_endpoint != "none")


@pytest.mark.parametrize("kind", ErrorType)
def test_a_type_that_is_worth_a_retry_has_a_rule(kind):
    row = ERROR_TYPES[kind]

    assert not row.retryable or row.retry is not None


@pytest.mark.parametrize("kind", ErrorType)
def test_what_says_nothing_about_the_endpoint_is_neutral_to_its_circuit_and_teaches_its_limit_nothing(kind):
    row = ERROR_TYPES[kind]

    assert row.endpoint != "spared" or (row.circuit, row.limit) == ("neutral", "nothing")


def test_the_default_rules_are_those_of_the_contract():
    expected = {
        ErrorType.RATE_LIMIT: RetryRule(5, 1.0, 60.0),
        ErrorType.MODEL_OVERLOADED: RetryRule(4, 2.0, 30.0, multiplier=1.5),
        ErrorType.NETWORK_ERROR: RetryRule(3, 0.5, 10.0),
        ErrorType.TIMEOUT: RetryRule(2, 0.5, 10.0),
        ErrorType.INVALID_OUTPUT: RetryRule(2, 0.0, 0.0),
        ErrorType.INTERNAL_ERROR: RetryRule(2, 0.5, 8.0),
        ErrorType.CIRCUIT_OPEN: RetryRule(3, 0.0, 5.0),
    }

    assert expected == DEFAULT_RULES


def test_the_request_is_at_fault_in_what_no_fallback_answers_and_what_is_looked_for_in_halves():
    at_fault = {ErrorType.INVALID_REQUEST, ErrorType.CONTEXT_LENGTH, ErrorType.CONTENT_FILTER}

    assert set(ErrorType) - set(UNAVAILABLE) == at_fault
    assert at_fault == POISON
    assert not at_fault & RETRYABLE


def test_a_retry_costs_what_its_error_tells_about_the_provider():
    budget = RetryBudget(price=3.0, throttled_price=1.0)
    prices = {kind: budget.price_of(kind) for kind in ErrorType}

    assert prices.pop(ErrorType.CIRCUIT_OPEN) == 0.0
    assert prices.pop(ErrorType.RATE_LIMIT) == prices.pop(ErrorType.INVALID_OUTPUT) == 1.0
    assert set(prices.values()) == {3.0}


class KindError(Exception):
    def __init__(self, kind: ErrorType) -> None:
        super().__init__("something")
        self.error_type = kind


@pytest.mark.parametrize("kind", ErrorType)
async def test_a_circuit_and_a_retry_do_what_the_row_says(kind, registry, clock):
    row = ERROR_TYPES[kind]

    @classified_retry("r", max_attempts=2, registry=registry)
    @circuit_breaker("c", failure_threshold=2, registry=registry)
    async def ask():
        raise KindError(kind)

    async with clock.autojump():
        with pytest.raises((KindError, AIServiceError)):
            await ask()
    circuit, retry = registry.circuit_breakers["c"], registry.retries["r"]

    assert retry.stats().attempts == (1 if row.retry is None else 2)
    if row.circuit == "opens":
        assert circuit.state is CircuitState.OPEN
    else:
        assert circuit.stats().total_failures == (retry.stats().attempts if row.circuit == "failure" else 0)


@pytest.mark.parametrize("kind", [kind for kind in ErrorType if ERROR_TYPES[kind].limit in ("nothing", "not sent")])
async def test_a_limit_stays_as_it_is_after_an_error_that_says_nothing_about_how_much_is_taken(kind, registry):
    @adaptive_limit("l", initial=8, registry=registry)
    async def ask():
        raise KindError(kind)

    for _ in range(5):
        with pytest.raises(KindError):
            await ask()
    stats = registry.limits["l"].stats()

    assert (stats.limit, stats.rate, stats.in_flight) == (8, None, 0)
