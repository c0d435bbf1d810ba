"""What a web application answers for each error."""

from __future__ import annotations

import anyio
import openai
import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    BatchResultError,
    CallTimeoutError,
    CircuitOpenError,
    ErrorType,
    LimitReachedError,
    QueueFullError,
    RejectedResultError,
    ResilienceError,
    StreamTruncatedError,
    classified_retry,
    failover,
)
from resilient_ai.providers import MissingKeyError, OpenAIEndpoint, ParameterError
from resilient_ai.testing import FakeProvider
from resilient_ai.types import EndpointRestingError
from resilient_ai.web import http_status
from tests.helpers import ProviderError

SECRET = "the answer nobody may see"


def after_retries(error: BaseException, **more) -> AIServiceError:
    return AIServiceError("ask", error, error_type=ErrorType.INTERNAL_ERROR, attempts=3, elapsed=2.0, **more)


def at_all(kind: ErrorType, retry_after: float | None = None) -> AllEndpointsFailedError:
    error = ProviderError(kind, retry_after)
    return AllEndpointsFailedError(
        "ask", {"us": error}, error_types={"us": kind}, error_type=kind, retry_after=retry_after
    )


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (CircuitOpenError("us", 12.4), (503, {"Retry-After": "13"})),
        (CircuitOpenError("us", None, "forced_open"), (503, {})),
        (CallTimeoutError("us", timeout_seconds=30), (504, {})),
        (QueueFullError("batch", max_queue_size=10), (503, {})),
        (LimitReachedError("limit", limit=2, waiting=1, retry_after=0.2), (503, {"Retry-After": "1"})),
        (BatchResultError("a batch of 3 gave 2"), (502, {})),
        (StreamTruncatedError("us", items=2), (503, {})),
        (EndpointRestingError("us", retry_after=9.0), (503, {"Retry-After": "9"})),
        (MissingKeyError("us", variable="OPENAI_API_KEY"), (503, {})),
        (ParameterError("us", "takes no parameter 'colour'"), (500, {})),
        (RejectedResultError(SECRET, ErrorType.INVALID_OUTPUT), (502, {})),
        (RejectedResultError(SECRET, ErrorType.CONTENT_FILTER), (400, {})),
        (ResilienceError("of a kind to come"), (503, {})),
        (at_all(ErrorType.MODEL_OVERLOADED, 3.0), (503, {"Retry-After": "3"})),
        (at_all(ErrorType.RATE_LIMIT, 0.1), (429, {"Retry-After": "1"})),
        (at_all(ErrorType.TIMEOUT), (504, {})),
        (at_all(ErrorType.INVALID_REQUEST), (400, {})),
        (at_all(ErrorType.AUTHENTICATION), (503, {})),
        (after_retries(TimeoutError()), (504, {})),
        (after_retries(ParameterError("us", "no")), (500, {})),
        (after_retries(at_all(ErrorType.RATE_LIMIT, 61.5)), (429, {"Retry-After": "62"})),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Exception) else "",
)
def test_each_error_of_ours_has_its_status(error, answer):
    assert http_status(error) == answer


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ErrorType.RATE_LIMIT, 429),
        (ErrorType.QUOTA_EXCEEDED, 503),
        (ErrorType.AUTHENTICATION, 503),
        (ErrorType.PERMISSION, 503),
        (ErrorType.MODEL_OVERLOADED, 503),
        (ErrorType.NETWORK_ERROR, 503),
        (ErrorType.TIMEOUT, 504),
        (ErrorType.INVALID_REQUEST, 400),
        (ErrorType.CONTEXT_LENGTH, 400),
        (ErrorType.CONTENT_FILTER, 400),
        (ErrorType.INVALID_OUTPUT, 502),
        (ErrorType.NOT_FOUND, 503),
        (ErrorType.INTERNAL_ERROR, 503),
        (ErrorType.CIRCUIT_OPEN, 503),
    ],
)
def test_each_type_of_error_has_its_status_and_a_wait_where_there_is_something_to_wait_for(
    kind, status, provider_errors
):
    waits = {"Retry-After": "8"} if status in (429, 503) else {}

    assert http_status(ProviderError(kind, 7.2)) == (status, waits)
    assert http_status(ProviderError(kind)) == (status, {})


def test_every_type_of_error_is_in_the_list():
    assert len(ErrorType) == 14


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "0"), (0.001, "1"), (1.0, "1"), (1.001, "2"), (59.999, "60"), (86_400.0, "86400"), (-3.0, "0")],
)
def test_a_wait_is_told_in_whole_seconds_and_never_too_short(seconds, told):
    assert http_status(CircuitOpenError("us", seconds))[1] == {"Retry-After": told}


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
def test_a_wait_that_is_no_number_of_seconds_is_not_told(seconds):
    assert http_status(CircuitOpenError("us", seconds)) == (503, {})


@pytest.mark.parametrize(
    "bug",
    [
        KeyError("choices"),
        TypeError("ask() missing 1 required positional argument"),
        ExceptionGroup("two", [ConnectionResetError(), AttributeError("no")]),
        after_retries(KeyError("choices")),
        RuntimeError("whatever"),
        KeyboardInterrupt(),
        anyio.get_cancelled_exc_class,
    ],
    ids=["lookup", "wrong call", "in a group", "after retries", "unrecognised", "ctrl-c", "cancelled"],
)
async def test_a_bug_is_a_500(bug):
    error = bug if isinstance(bug, BaseException) else BaseException.__new__(bug())

    assert http_status(error) == (500, {})


def test_of_a_group_the_outage_counts():
    assert http_status(ExceptionGroup("both", [ConnectionResetError(), ConnectionResetError()])) == (503, {})
    assert http_status(BaseExceptionGroup("slow", [TimeoutError()])) == (504, {})


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("openai_invalid_key", 503),
        ("openai_insufficient_quota", 503),
        ("context_length", 400),
        ("model_not_found", 503),
        (400, 400),
        (500, 503),
        (503, 503),
    ],
)
async def test_an_error_of_an_sdk_is_read_for_what_it_is(fault, status, us):
    us.script(fault)
    async with openai.AsyncOpenAI(api_key="x", base_url=us.base_url, max_retries=0) as client:
        with pytest.raises(openai.APIError) as caught:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])

    assert http_status(caught.value)[0] == status


async def test_the_providers_wait_comes_through_a_whole_stack(us, registry):
    us.outage("rate_limit")
    endpoint = OpenAIEndpoint("us", model="m", api_key="x", base_url=us.base_url)

    @classified_retry(max_attempts=1, registry=registry)
    @failover(endpoint, registry=registry)
    async def ask(endpoint, text: str) -> str:
        return await endpoint.complete(text)

    with pytest.raises(AIServiceError) as caught:
        await ask("hi")
    await endpoint.aclose()
    status, headers = http_status(caught.value)

    assert status == 429
    assert float(headers["Retry-After"]) >= caught.value.retry_after


def test_headers_hold_a_number_and_nothing_else():
    """An answer, a prompt or a key in an error never gets into one."""
    errors = [RejectedResultError(SECRET, kind) for kind in ErrorType]
    errors += [after_retries(error, retry_after=1.0) for error in errors]
    for error in errors:
        headers = http_status(error)[1]

        assert set(headers) <= {"Retry-After"}
        assert all(value.isdigit() for value in headers.values())


@pytest.fixture
def us():
    with FakeProvider("us") as provider:
        yield provider
