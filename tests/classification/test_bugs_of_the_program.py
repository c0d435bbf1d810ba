"""Python's own programming errors are the program's, unless an SDK raised them over a reply."""

from __future__ import annotations

import types

import anyio
import httpx
import pytest

from resilient_ai import ErrorType, classify
from resilient_ai._core.errors import ParameterError
from tests.classification.support import reply

BUGS = [
    KeyError("rate limit"),
    IndexError("list index out of range"),
    TypeError("ask() got an unexpected keyword argument 'rate_limit'"),
    ValueError("rate limit must be positive"),
    AttributeError("'NoneType' object has no attribute 'overloaded'"),
    AssertionError("timed out"),
    NameError("name 'model' is not defined"),
    ZeroDivisionError("division by zero"),
    NotImplementedError(),
    ImportError("no module"),
    UnboundLocalError("x"),
    RecursionError("maximum recursion depth exceeded"),
]


def is_bug(error) -> bool:
    verdict = classify(error)
    return (verdict.error_type, verdict.retryable, verdict.blame) == (ErrorType.INTERNAL_ERROR, False, "program")


def sdk_function(module, source, **names):
    """A function `run` whose code lies in a module of that name, as an SDK's does."""
    scope = types.ModuleType(module).__dict__ | names
    scope["__name__"] = module
    exec(source, scope)  # so that the traceback says so
    return scope["run"]


def raised_by(run, *args):
    try:
        run(*args)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_programming_error_is_a_bug_whatever_its_text_says(error):
    assert is_bug(error)


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_anywhere_in_a_group_is_one(error):
    group = ExceptionGroup("a", [reply(429), ExceptionGroup("b", [ConnectionError(), ExceptionGroup("c", [error])])])

    assert is_bug(group)
    assert is_bug(ExceptionGroup("alone", [error]))


def test_a_bug_among_very_many_errors_of_a_group_is_found():
    assert is_bug(ExceptionGroup("many", [*(ConnectionError() for _ in range(500)), TypeError()]))


def test_a_group_without_a_bug_is_what_its_members_are():
    assert classify(ExceptionGroup("a", [RuntimeError("x"), reply(429)])).error_type is ErrorType.RATE_LIMIT


async def test_a_bug_in_a_task_group_is_one():
    async def part():
        raise TypeError("bug")

    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(part)

    assert is_bug(caught.value)


def test_what_is_raised_from_an_error_of_the_providers_is_the_providers():
    error = ValueError("no summary")
    error.__cause__ = reply(429)

    assert classify(error).error_type is ErrorType.RATE_LIMIT


def test_a_generator_that_lets_an_exhausted_iterator_through_is_a_bug():
    async def tokens():
        next(iter(()))
        yield

    async def read():
        return await anext(tokens())

    coroutine = read()
    with pytest.raises(RuntimeError) as caught:
        coroutine.send(None)

    assert is_bug(caught.value)


def test_our_own_errors_and_those_of_sdks_are_never_bugs():
    class RequestError(ValueError):
        __module__ = "openai.errors"

    assert classify(ParameterError("gpt", "it takes no parameter 'x'")).error_type is ErrorType.INVALID_REQUEST
    assert not is_bug(RequestError("x"))


def test_a_librarys_own_kind_of_value_error_is_no_bug():
    class AnswerError(ValueError):
        pass

    assert classify(AnswerError("rate limit exceeded")).error_type is ErrorType.RATE_LIMIT
    assert classify(AnswerError("no")).blame == "unknown"


RESPONSE = httpx.Response(200, json={})


@pytest.mark.parametrize("module", ["openai._base_client", "anthropic._response", "httpx._client", "mistralai.chat"])
@pytest.mark.parametrize(
    "source",
    [
        "def run(response): return response.json()['choices'][0]",
        "def run(response):\n    data = response.json()\n    return parse(data)\ndef parse(data): return data.choices",
        "class Stream:\n    def __init__(self, response): self.response = response\n"
        "    def read(self): return [][0]\n"
        "def run(response): return Stream(response).read()",
        "import json\ndef run(response): return json.dumps(response)",
    ],
    ids=["here", "below", "its own field", "the standard library"],
)
def test_an_sdk_that_stumbles_over_a_reply_says_that_the_answer_does_not_fit(module, source):
    verdict = classify(raised_by(sdk_function(module, source), RESPONSE))

    assert (verdict.error_type, verdict.retryable, verdict.endpoint_fault) == (ErrorType.INVALID_OUTPUT, True, True)


def test_an_sdk_that_stumbles_before_there_is_a_reply_met_a_bug():
    error = raised_by(sdk_function("openai.resources", "def run(model): return model.strip()"), None)

    assert is_bug(error)


def test_a_callback_of_the_programs_inside_an_sdk_is_the_programs():
    run = sdk_function("openai._base_client", "def run(response, hook): return hook(response)")
    error = raised_by(run, RESPONSE, lambda response: response.no_such_field)

    assert is_bug(error)


def test_the_programs_own_reading_of_an_answer_is_the_programs():
    assert is_bug(raised_by(lambda answer: answer["choices"][0], {}))


def test_a_response_whose_fields_raise_breaks_nothing():
    class Odd:
        @property
        def headers(self):
            raise RuntimeError("not read yet")

    error = raised_by(sdk_function("openai.x", "def run(response): return [][0]"), Odd())

    assert is_bug(error)
