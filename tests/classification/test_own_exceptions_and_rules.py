"""Our own exceptions, those of users, and the rules that users add."""

from __future__ import annotations

import pytest
import structlog

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    BatchResultError,
    CallTimeoutError,
    CircuitOpenError,
    ErrorType,
    QueueFullError,
    RejectedResultError,
    Verdict,
    classify,
    register_classifier,
    register_rules,
)
from tests.classification.support import kind, reply


def test_our_own_exceptions_say_what_they_are():
    limited = reply(429, headers={"retry-after": "7"})
    given_up = AIServiceError("ask", limited, error_type=ErrorType.RATE_LIMIT, attempts=3, elapsed=1.0)
    assert (kind(given_up), classify(given_up).retryable, classify(given_up).retry_after) == ("rate_limit", False, 7)

    is_open = classify(CircuitOpenError("x", retry_after=3))
    assert (is_open.error_type, is_open.retryable, is_open.retry_after) == (ErrorType.CIRCUIT_OPEN, True, 3)
    assert kind(CallTimeoutError("x", timeout_seconds=1)) == "timeout"
    assert kind(RejectedResultError("x", ErrorType.CONTENT_FILTER)) == "content_filter"
    assert not classify(QueueFullError("x", max_queue_size=1)).endpoint_fault
    assert kind(BatchResultError("x")) == "invalid_output"
    everywhere = AllEndpointsFailedError("ask", {"a": limited}, error_types={"a": ErrorType.RATE_LIMIT}, retry_after=2)
    assert (kind(everywhere), classify(everywhere).retry_after) == ("rate_limit", 2)


def test_errors_that_name_each_other_as_original_end_somewhere():
    one, two = (
        AIServiceError("ask", OSError(), error_type=ErrorType.TIMEOUT, attempts=1, elapsed=0.0) for _ in range(2)
    )
    one.original_error, two.original_error = two, one

    assert kind(one) == "timeout"


def test_a_small_number_called_code_is_no_status():
    error = RuntimeError({"message": "exit"})
    error.code = 1

    assert classify(error).blame == "unknown"


def test_an_exception_of_the_users_may_carry_its_type():
    class OurGatewayError(Exception):
        error_type = ErrorType.MODEL_OVERLOADED
        retry_after = 5

    assert classify(OurGatewayError()).error_type is ErrorType.MODEL_OVERLOADED
    assert classify(OurGatewayError()).retry_after == 5


@pytest.fixture
def rules():
    """Registers for one test."""
    undo = []

    def register(how, *args, **kwargs):
        undo.append(how(*args, **kwargs))
        return undo[-1]

    yield register
    for each in undo:
        each()


def test_a_registered_classifier_comes_first_and_the_latest_before_all(rules):
    first = rules(register_classifier, lambda error: ErrorType.TIMEOUT if isinstance(error, KeyError) else None)
    latest = Verdict(ErrorType.NOT_FOUND, retryable=True, endpoint_fault=False, blame="deployment")
    second = rules(register_classifier, lambda error: latest if error.args == ("both",) else None)

    assert classify(KeyError("both")) is latest
    assert kind(KeyError("one")) == "timeout"
    second()
    assert kind(KeyError("both")) == "timeout"
    first()
    assert classify(KeyError("one")).blame == "program"


@pytest.mark.parametrize(
    "answer", [lambda error: 1 / 0, lambda error: "nonsense", lambda error: 3], ids=["raises", "text", "number"]
)
def test_a_broken_classifier_is_told_of_once_and_breaks_nothing(rules, answer):
    rules(register_classifier, answer)
    with structlog.testing.capture_logs() as logs:
        assert kind(reply(429)) == kind(reply(429)) == "rate_limit"

    assert [line["event"] for line in logs] == ["resilient_ai.classifier_failed"]


def test_a_user_adds_rows_to_the_tables(rules):
    rules(
        register_rules,
        codes={"acme_tokens_gone": ErrorType.QUOTA_EXCEEDED},
        phrases={r"come back tomorrow": ErrorType.QUOTA_EXCEEDED},
        statuses={430: ErrorType.RATE_LIMIT},
    )
    rules(register_rules, statuses={418: ErrorType.MODEL_OVERLOADED}, sdk="anthropic")

    assert kind(reply(500, {"error": {"code": "AcmeTokensGone"}})) == "quota_exceeded"
    assert kind(reply(429, {"message": "Come back tomorrow"})) == "quota_exceeded"
    assert classify(reply(430, headers={"retry-after": "3"})).retry_after == 3
    assert kind(reply(418, module="anthropic")) == "model_overloaded"
    assert kind(reply(418)) == "invalid_request"
    assert kind(reply(429)) == "rate_limit"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"codes": {"x": "rate_limit_of_mine"}}, "a rule leads to an ErrorType, got 'x': 'rate_limit_of_mine'"),
        ({"statuses": {430: None}}, "a rule leads to an ErrorType, got 430: None"),
        ({"phrases": {"(": ErrorType.TIMEOUT}}, "a phrase is no regular expression"),
    ],
)
def test_a_bad_row_is_a_value_error(rows, message):
    with pytest.raises(ValueError, match=message):
        register_rules(**rows)
