"""INVALID_OUTPUT: the provider answered, and the answer does not fit; no event quotes it."""

from __future__ import annotations

import json

import httpx
import pydantic
import pytest

from resilient_ai import (
    AIServiceError,
    BatchResultError,
    ErrorType,
    RejectedResultError,
    circuit_breaker,
    classified_retry,
    classify,
    degrade_to,
)
from resilient_ai._classification.error_text import error_message, error_text
from tests.classification.support import reply
from tests.classification.test_bugs_of_the_program import raised_by, sdk_function

SECRET = "the model's secret answer"


class Answer(pydantic.BaseModel):
    number: int
    words: dict[str, int] = {}


def misfit(text: str = SECRET) -> Exception:
    return raised_by(Answer.model_validate, {"number": text, "words": {text: text}})


def named(name, module, base=Exception):
    return type(name, (base,), {"__module__": module})("x")


MISFITS = {
    "pydantic": misfit(),
    "pydantic json": raised_by(Answer.model_validate_json, "{"),
    "json": raised_by(json.loads, SECRET),
    "httpx": raised_by(httpx.Response(200, text="<html>").json),
    "batch": BatchResultError("3 results for 4 items"),
    "rejected": RejectedResultError("x", ErrorType.INVALID_OUTPUT),
    "openai length": named("LengthFinishReasonError", "openai._exceptions"),
    "openai validation": named("APIResponseValidationError", "openai"),
    "mistral": named("ResponseValidationError", "mistralai.models"),
    "google": named("UnknownApiResponseError", "google.genai.errors", ValueError),
    "langchain": named("OutputParserException", "langchain_core.exceptions", ValueError),
    "instructor": named("IncompleteOutputException", "instructor.core.exceptions"),
    "pydantic_ai": named("UnexpectedModelBehavior", "pydantic_ai.exceptions", RuntimeError),
    "agents": named("ModelBehaviorError", "agents.exceptions"),
    "jsonschema": named("ValidationError", "jsonschema.exceptions"),
    "msgspec": named("ValidationError", "msgspec"),
    "orjson": named("JSONDecodeError", "orjson", ValueError),
    "simplejson": named("JSONDecodeError", "simplejson.errors", ValueError),
}


@pytest.mark.parametrize("error", list(MISFITS.values()), ids=MISFITS)
def test_an_answer_that_does_not_fit_is_invalid_output(error):
    verdict = classify(error)

    assert (verdict.error_type, verdict.retryable, verdict.endpoint_fault) == (ErrorType.INVALID_OUTPUT, True, True)


@pytest.mark.parametrize("name", ["ContentFilterFinishReasonError", "ContentFilterError", "StopCandidateException"])
def test_an_sdks_error_about_a_filtered_answer_is_a_content_filter(name):
    assert classify(named(name, "openai._exceptions")).error_type is ErrorType.CONTENT_FILTER


def test_a_misfit_that_a_program_wraps_is_still_one():
    wrapped = RuntimeError("cannot use this")
    wrapped.__cause__ = misfit()

    assert classify(wrapped).error_type is ErrorType.INVALID_OUTPUT
    assert classify(ExceptionGroup("tasks", [misfit()])).error_type is ErrorType.INVALID_OUTPUT


def test_what_an_sdk_does_not_accept_before_it_sends_is_the_callers_mistake():
    run = sdk_function("mistralai.models", "def run(validate): return validate({'number': 'x'})")

    assert classify(raised_by(run, Answer.model_validate)).error_type is ErrorType.INVALID_REQUEST


def test_what_it_does_not_accept_of_a_reply_is_not():
    run = sdk_function("mistralai.models", "def run(validate, response): return validate(response.json())")
    error = raised_by(run, Answer.model_validate, httpx.Response(200, json={"number": "x"}))

    assert classify(error).error_type is ErrorType.INVALID_OUTPUT


def test_a_failed_reply_decides_and_not_the_class_of_the_exception():
    assert classify(reply(503, name="ResponseValidationError", module="mistralai")).error_type is (
        ErrorType.MODEL_OVERLOADED
    )


async def test_it_is_asked_three_times_without_delay_and_opens_no_circuit(registry, clock):
    calls = []

    @classified_retry("r", registry=registry)
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask():
        calls.append(clock.now())
        raise misfit()

    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert calls == [0.0, 0.0, 0.0]
    assert caught.value.error_type is ErrorType.INVALID_OUTPUT
    assert registry.circuit_breakers["c"].stats().total_failures == 0


async def test_a_second_answer_that_fits_saves_the_call(registry):
    answers = [misfit(), "fits"]

    @classified_retry(registry=registry)
    async def ask():
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    assert await ask() == "fits"


async def test_a_fallback_answers_for_it(registry):
    @degrade_to("sorry", registry=registry)
    async def ask():
        raise misfit()

    assert await ask() == "sorry"


def quoting():
    """Errors of programs that quote the answer in their own way."""
    yield misfit()
    yield raised_by(int, SECRET)
    yield raised_by({}.__getitem__, SECRET)
    yield raised_by(getattr, object(), SECRET)
    yield ExceptionGroup(SECRET, [misfit()])
    wrapped = RuntimeError(f"cannot use {SECRET}")
    wrapped.__cause__ = misfit()
    yield wrapped


@pytest.mark.parametrize("error", list(quoting()), ids=lambda error: type(error).__name__)
async def test_no_event_and_no_error_of_ours_quotes_the_answer(registry, clock, events, error):
    @degrade_to("sorry", on=(Exception,), registry=registry)
    @classified_retry(registry=registry)
    async def ask():
        raise error

    assert await ask() == "sorry"
    assert events
    assert not [event for event in events if SECRET in str(event)]


async def test_the_library_s_last_word_on_it_quotes_nothing(registry):
    @classified_retry(registry=registry)
    async def ask():
        raise misfit()

    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert SECRET not in str(caught.value)


def test_the_text_tells_which_mistakes_and_where():
    error = misfit()

    assert error_message(error, classify(error)).startswith("ValidationError (2 x int_parsing) in raised_by (test_bugs")


def test_the_text_of_other_errors_is_theirs():
    error = ConnectionError("connection refused")

    assert error_text(error, classify(error)) == "connection refused"
