"""A refusal names what opened the circuit, and the circuit keeps nothing more of it."""

from __future__ import annotations

import gc
import traceback
import weakref

import pytest

from resilient_ai import CircuitOpenError, ErrorType
from resilient_ai._classification.verdict import verdict
from resilient_ai.events import CircuitOpened, CircuitWouldOpen
from tests.circuit_breaker.support import FAULT, fail_once, handle


def test_a_refusal_names_only_what_opened_it_this_time(registry):
    breaker, error = handle(registry, failure_threshold=1), OSError("down")
    breaker.failed(breaker.admit(0), 0, 0.1, error, FAULT)
    with pytest.raises(CircuitOpenError) as by_failure:
        breaker.admit(0)
    breaker.force_closed()
    breaker.trip()
    with pytest.raises(CircuitOpenError) as by_operator:
        breaker.admit(0)

    assert str(by_failure.value.__cause__) == "OSError: down"
    assert by_operator.value.__cause__ is None


def test_a_refusal_names_what_failed_last_while_probes_are_in_flight_and_after_one_failed(registry):
    breaker, first, second = handle(registry, failure_threshold=1, success_threshold=1), OSError("1"), OSError("2")
    breaker.failed(breaker.admit(0), 0, 0.1, first, FAULT)
    probe = breaker.admit(60)
    with pytest.raises(CircuitOpenError) as while_probing:
        breaker.admit(60)
    breaker.failed(probe, 60, 0.1, second, FAULT)
    with pytest.raises(CircuitOpenError) as after:
        breaker.admit(60)

    assert (while_probing.value.reason, while_probing.value.__cause__.text) == ("half_open_full", "1")
    assert after.value.__cause__.text == "2"


class SDKError(Exception):
    """Like the error of an SDK, a class written in Python."""

    def __init__(self, message: str, *, body: object) -> None:
        super().__init__(message)
        self.body = body


class Prompt:
    """Something in a frame that an error came through."""


def opened_by(breaker, ask):
    """Open a circuit with the error of a function that has a prompt in its frame; a weak reference to that."""
    prompt = Prompt()
    kept = weakref.ref(prompt)
    try:
        ask(prompt)
    except Exception as error:
        breaker.failed(breaker.admit(0), 0, 0.1, error, FAULT)
    return kept


def cause_of_a_refusal(breaker):
    with pytest.raises(CircuitOpenError) as caught:
        breaker.admit(0)
    return caught.value.__cause__


def sdk_error(prompt):
    raise SDKError("overloaded", body={"code": 529})


def sdk_error_with_causes(prompt):
    try:
        try:
            raise OSError("reset")
        except OSError as below:
            raise SDKError("connection", body=None) from below
    except SDKError:
        raise SDKError("overloaded", body={"code": 529})  # noqa: B904 - the chain is wanted as it comes


def sdk_errors_together(prompt):
    try:
        sdk_error(prompt)
    except SDKError as error:
        raise ExceptionGroup("several", [error, OSError("reset")]) from None


@pytest.mark.parametrize("ask", [sdk_error, sdk_error_with_causes, sdk_errors_together])
def test_a_circuit_keeps_no_frame_of_the_failure_that_opened_it(registry, ask):
    breaker = handle(registry, failure_threshold=1)
    prompt = opened_by(breaker, ask)
    gc.collect()
    cause = cause_of_a_refusal(breaker)

    assert prompt() is None
    assert cause.__traceback__ is None
    assert f", in {ask.__name__}" in cause.__notes__[-1]
    assert "Prompt" not in "".join(traceback.format_exception(cause))


def test_what_it_keeps_says_all_that_the_failure_said(registry):
    breaker = handle(registry, failure_threshold=1)
    opened_by(breaker, sdk_error_with_causes)
    cause = cause_of_a_refusal(breaker)

    assert (cause.class_name, cause.text) == ("SDKError", "overloaded")
    assert [str(cause.__cause__), str(cause.__cause__.__cause__)] == ["SDKError: connection", "OSError: reset"]


def test_a_failure_that_somebody_has_is_left_as_it_is(registry):
    breaker = handle(registry, failure_threshold=1)
    with pytest.raises(SDKError) as caught:
        sdk_error("hi")
    before = caught.value.__traceback__
    breaker.failed(breaker.admit(0), 0, 0.1, caught.value, FAULT)

    assert cause_of_a_refusal(breaker) is not caught.value
    assert caught.value.__traceback__ is before
    assert not hasattr(caught.value, "__notes__")


def test_an_opening_says_why_in_words(registry, events):
    quota = verdict(ErrorType.QUOTA_EXCEEDED)
    fail_once(handle(registry, failure_threshold=1), 0)
    fail_once(handle(registry, failure_rate_threshold=0.5, minimum_calls=1), 0)
    slow = handle(registry, slow_call_seconds=1, minimum_calls=1)
    slow.succeeded(slow.admit(0), 0, 2)
    spent = handle(registry)
    spent.failed(spent.admit(0), 0, 0.1, OSError(), quota)
    spent.failed(spent.admit(60), 60, 0.1, OSError(), FAULT)
    handle(registry).trip()

    assert [event.reason for event in events if isinstance(event, CircuitOpened)] == [
        "failure count reached 1",
        "1 of 1 calls failed",
        "1 of 1 calls were slow",
        "quota exceeded",
        "a probe failed",
        "tripped by an operator",
    ]


def test_a_circuit_that_is_only_watched_tells_each_breach_once_and_why(registry, events):
    breaker = handle(registry, failure_threshold=2)
    breaker.metrics_only()
    for _ in range(3):
        fail_once(breaker, 0)
    for _ in range(3):
        breaker.succeeded(breaker.admit(0), 0, 0.1)
    fail_once(breaker, 0)
    fail_once(breaker, 0)

    assert [event.reason for event in events if isinstance(event, CircuitWouldOpen)] == [
        "failure count reached 2",
        "failure count reached 2",
    ]


def test_the_memory_of_good_answers_is_bounded(registry):
    breaker = handle(registry)
    for _ in range(1_000):
        breaker.succeeded(breaker.admit(0), 0, 0.1)

    assert breaker.stats().total_calls == 1_000
    assert len(breaker.circuit.record.answer_times) <= 400


def test_nothing_of_an_error_is_kept_once_it_is_closed_again(registry):
    breaker = handle(registry, failure_threshold=1)
    fail_once(breaker, 0)
    breaker.reset()

    assert breaker.circuit.opening is None
    assert breaker.circuit.reason == ""


def test_once_failures_are_made_good_successes_pass_without_a_lock_again(registry):
    breaker = handle(registry)
    assert breaker.circuit.fast_ticket is breaker.admit(0)
    fail_once(breaker, 0)
    assert breaker.circuit.fast_ticket is None
    breaker.succeeded(breaker.admit(0), 0, 0.1)

    assert breaker.circuit.fast_ticket is breaker.admit(0)
