"""What `classify` can be relied on for, beyond the recorded replies in `providers/`."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its cancellation is classified
import json
import time

import httpx
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

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
    classify_result,
    register_classifier,
    register_rules,
)
from resilient_ai._classification.wait_hints import duration, wait_of


def reply(status=None, body=None, headers=None, *, name="APIStatusError", module="openai", **attributes):
    """An exception as an SDK builds one."""
    error = type(name, (Exception,), {"__module__": module})("Error")
    error.__dict__.update(attributes)
    if status is not None:
        error.status_code = status
    error.body = body
    if headers is not None:
        error.response = httpx.Response(status or 200, headers=headers)
    return error


def kind(error) -> str:
    return classify(error).error_type.value


# -- odd replies


@pytest.mark.parametrize(
    "body",
    [
        {"message": "x", "code": "insufficient_quota"},
        {"error": {"message": "x", "code": "insufficient_quota"}},
        [{"error": {"code": "insufficient_quota"}}],
        '{"error": {"code": "insufficient_quota"}}',
        b'{"error": {"type": "insufficient_quota"}}',
        {"error": "insufficient_quota"},
        {"detail": [{"error": {"reason": "insufficient_quota"}}]},
        {"error": {"message": '{"error": {"code": "insufficient_quota"}}'}},
    ],
)
def test_a_code_is_found_in_a_body_of_any_shape(body):
    assert kind(reply(429, body)) == "quota_exceeded"


@pytest.mark.parametrize("body", [None, "", "<html><title>503</title></html>", 3, [], {}, "\ufeff{", "[" * 10_000])
def test_without_a_readable_body_the_status_decides(body):
    assert kind(reply(429, body)) == "rate_limit"
    assert kind(reply(503, body)) == "model_overloaded"
    assert kind(reply(400, body)) == "invalid_request"


@pytest.mark.parametrize("status", [200, -1, None])
def test_a_status_that_lies_is_no_status(status):
    error = reply(status, {"error": {"type": "overloaded_error", "message": "Overloaded"}})

    assert kind(error) == "model_overloaded"
    assert classify(error).in_stream


def test_a_status_is_found_wherever_it_is():
    for attributes in (
        {"code": 429},
        {"status": 429},
        {"http_status": 429},
        {"status_code": "429"},
        {"response": httpx.Response(429)},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": 429}}},
    ):
        assert kind(reply(module="somebody", **attributes)) == "rate_limit", attributes


def test_the_request_that_a_server_echoes_is_no_evidence():
    echo = {"error": {"message": "bad", "param": "x"}, "input": {"code": "insufficient_quota", "message": "overloaded"}}

    assert kind(reply(400, echo)) == "invalid_request"


def test_a_page_from_a_proxy_speaks_through_its_title_only():
    page = "<html><head><title>502 Bad Gateway</title></head><body>see our billing page, credit balance</body></html>"

    assert kind(reply(502, page)) == "internal_error"


def test_x_should_retry_overrules_the_table_of_statuses():
    for status, told, retryable in ((500, "false", False), (429, "false", False), (400, "true", True)):
        assert classify(reply(status, headers={"x-should-retry": told})).retryable is retryable
    quota = reply(429, {"code": "insufficient_quota"}, {"x-should-retry": "true"})

    assert not classify(quota).retryable


def test_statuses_without_words_have_a_class():
    expected = {
        401: "authentication", 402: "quota_exceeded", 403: "permission", 404: "not_found", 408: "timeout",
        409: "internal_error", 410: "not_found", 413: "invalid_request", 418: "invalid_request", 422: "invalid_request",
        424: "invalid_request", 425: "internal_error", 429: "rate_limit", 451: "permission", 499: "timeout",
        500: "internal_error", 501: "internal_error", 502: "internal_error", 503: "model_overloaded", 504: "timeout",
        520: "internal_error", 522: "timeout", 524: "timeout", 529: "model_overloaded", 599: "internal_error",
    }  # fmt: skip

    assert {status: kind(reply(status)) for status in expected} == expected
    assert not classify(reply(501)).retryable


def test_a_token_of_the_text_is_no_credential():
    for said in ("invalid token 84297", "Invalid token ids: [7]", "token 12 is invalid", "invalid token at position 3"):
        assert kind(reply(400, {"message": said})) == "invalid_request", said
    for said in (
        "invalid token",
        "Invalid token.",
        "The token has expired",
        "bad token provided",
        "missing auth token",
    ):
        assert kind(reply(400, {"message": said})) == "authentication", said


def test_what_is_not_allowed_in_a_request_is_no_lack_of_permission():
    for said in ("special token '<|im_start|>' is not allowed in text", "'x' is not allowed in tools[0]"):
        assert kind(reply(400, {"message": said})) == "invalid_request", said
    assert kind(reply(400, {"message": "The model is not allowed in your country"})) == "permission"


def test_what_there_is_no_access_to_is_no_matter_of_money():
    assert kind(reply(403, {"message": "You do not have access to credits management"})) == "permission"
    assert kind(reply(403, {"message": "Your team doesn't have any credits yet"})) == "quota_exceeded"


def test_a_quota_of_googles_is_a_rate_unless_it_is_for_the_day():
    said = "Quota exceeded for aiplatform.googleapis.com/generate_requests_per_{} with base model: m."

    assert kind(reply(429, {"message": said.format("minute")})) == "rate_limit"
    assert kind(reply(429, {"message": said.format("model")})) == "rate_limit"
    assert kind(reply(429, {"message": said.format("day")})) == "quota_exceeded"


# -- what is no reply


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (trio.TooSlowError(), "timeout"),
        (ConnectionResetError(), "network_error"),
        (BrokenPipeError(), "network_error"),
        (OSError("no route to host"), "network_error"),
        (json.JSONDecodeError("x", "y", 0), "internal_error"),
        (httpx.ReadTimeout("x"), "timeout"),
        (httpx.ConnectError("x"), "network_error"),
        (httpx.RemoteProtocolError("x"), "network_error"),
        (httpx.DecodingError("x"), "internal_error"),
    ],
)
def test_what_the_transport_raises_has_a_class(error, expected):
    assert kind(error) == expected
    assert classify(error).retryable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate limit exceeded", "rate_limit"),
        ("You are being rate limited", "rate_limit"),
        ("the model is overloaded right now", "model_overloaded"),
        ("You exceeded your current quota", "quota_exceeded"),
        ("request timed out", "timeout"),
        ("connection reset by peer", "network_error"),
        ("Incorrect API key provided", "authentication"),
        ("This model's maximum context length is 8192 tokens", "context_length"),
    ],
)
def test_a_plain_exception_is_known_by_whole_phrases(text, expected):
    assert kind(RuntimeError(text)) == expected
    assert kind(Exception(f"calling the provider failed: {text}")) == expected


def test_a_wait_in_plain_text_is_taken():
    assert classify(Exception("rate limit reached, try again in 1m30s")).retry_after == 90


@pytest.mark.parametrize(
    "error",
    [
        Exception("got 429 items and 503 tokens"),
        Exception("the crate limiter and the moderate limitation"),
        KeyError("rate limit"),
        TypeError("ask() got an unexpected keyword argument 'rate_limit'"),
        ValueError("rate limit must be positive"),
        AttributeError("'NoneType' object has no attribute 'overloaded'"),
        AssertionError("timed out"),
        FileNotFoundError(2, "No such file", "prompt.txt"),
        PermissionError(13, "Permission denied", "cache.db"),
        Exception(),
    ],
)
def test_what_nothing_recognises_is_unknown_and_not_retried(error):
    verdict = classify(error)

    assert (verdict.error_type, verdict.retryable, verdict.blame) == (ErrorType.INTERNAL_ERROR, False, "unknown")


@pytest.mark.parametrize("leaving", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_leaving_is_no_failure_of_anybody(leaving):
    error = leaving()
    error.__context__ = TimeoutError()
    verdict = classify(error)

    assert (verdict.retryable, verdict.endpoint_fault, verdict.blame) == (False, False, "unknown")


def test_an_sdk_on_the_wrong_event_loop_is_a_bug_of_ours():
    wrapped = reply(name="HTTPClientError", module="botocore.exceptions")
    wrapped.__cause__ = RuntimeError("no running event loop")

    assert classify(wrapped).blame == "unknown"
    assert not classify(wrapped).retryable


# -- chains


def test_causes_contexts_and_groups_are_searched():
    limited = reply(429)
    by_cause, by_context = RuntimeError("wrapped"), RuntimeError("wrapped")
    by_cause.__cause__ = limited
    by_context.__context__ = limited

    assert kind(by_cause) == kind(by_context) == "rate_limit"
    assert kind(ExceptionGroup("several", [RuntimeError("x"), limited])) == "rate_limit"


def test_a_suppressed_context_and_what_a_bug_was_raised_over_say_nothing():
    hidden = RuntimeError("wrapped")
    hidden.__context__ = reply(429)
    hidden.__suppress_context__ = True
    bug = TypeError("while handling")
    bug.__context__ = reply(429)

    assert classify(hidden).blame == classify(bug).blame == "unknown"


def test_a_cycle_of_causes_ends():
    one, two = RuntimeError("a"), RuntimeError("b")
    one.__cause__, two.__cause__ = two, one

    assert classify(one).blame == "unknown"


# -- our own exceptions, and the users'


def test_our_own_exceptions_say_what_they_are():
    limited = reply(429, headers={"retry-after": "7"})
    given_up = AIServiceError("ask", limited, error_type=ErrorType.RATE_LIMIT, attempts=3, elapsed=1.0)
    assert (kind(given_up), classify(given_up).retryable, classify(given_up).retry_after) == ("rate_limit", False, 7)

    is_open = classify(CircuitOpenError("x", retry_after=3))
    assert (is_open.error_type, is_open.retryable, is_open.retry_after) == (ErrorType.CIRCUIT_OPEN, True, 3)
    assert kind(CallTimeoutError("x", timeout_seconds=1)) == "timeout"
    assert kind(RejectedResultError("x", ErrorType.CONTENT_FILTER)) == "content_filter"
    assert not classify(QueueFullError("x", max_queue_size=1)).endpoint_fault
    assert not classify(BatchResultError("x")).retryable
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
    assert classify(KeyError("one")).blame == "unknown"


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


# -- results

ANSWER = {"choices": [{"finish_reason": "stop", "message": {"content": "an error occurred: rate limit"}}]}


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("<html><body>502</body></html>", ErrorType.INTERNAL_ERROR),
        ({"error": {"code": 429, "message": "slow down"}}, ErrorType.RATE_LIMIT),
        ({"error": {"code": "insufficient_quota"}}, ErrorType.QUOTA_EXCEEDED),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "x"}}]}, ErrorType.INTERNAL_ERROR),
        ({"status": "failed"}, ErrorType.INTERNAL_ERROR),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ErrorType.CONTENT_FILTER),
        ({"candidates": [{"finishReason": "SAFETY"}]}, ErrorType.CONTENT_FILTER),
        ([{"type": "delta"}, {"type": "error", "code": "rate_limit_exceeded"}], ErrorType.RATE_LIMIT),
        (ANSWER, None),
        ("rate limit", None),
        ("", None),
        (None, None),
        (3.5, None),
        ({"error": None, "status": "completed"}, None),
    ],
)
def test_a_returned_failure_is_told_from_an_answer(result, kind):
    assert classify_result(result) is kind


# -- waits


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "1234"}, 1.234),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after-ms": "-1", "retry-after": "4"}, 4),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "12.5s",
            },
            12.5,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "10"}, 10),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2015-10-21T07:28:00Z"}, 0),
    ],
)  # fmt: skip
def test_a_wait_in_headers_is_read_or_refused(headers, wait):
    assert wait_of(headers, [], "") == wait


def test_a_reset_may_be_a_unix_time_in_seconds_or_milliseconds():
    for factor in (1, 1000):
        moment = str(int((time.time() + 40) * factor))  # noqa: TID251 - the header is wall time
        wait = wait_of({"x-ratelimit-remaining": "0", "x-ratelimit-reset": moment}, [], "")

        assert wait == pytest.approx(40, abs=2)


def test_a_wait_in_a_body_is_read():
    assert wait_of({}, [{"error": {"details": [{"retryDelay": "18.25s"}]}}], "") == 18.25
    assert wait_of({}, [{"retryDelay": {"seconds": 3, "nanos": 500_000_000}}], "") == 3.5
    assert wait_of({}, [{"error": {"retry_after": 4}}], "") == 4
    assert wait_of({}, [{"error": {"retry_after_ms": 4}}], "") == 0.004
    assert wait_of({}, [{"retry_after": float("nan")}, {"retry_after": -1}, {"retry_after": True}], "") is None


def test_a_duration_in_a_message_about_a_bad_request_is_no_wait():
    assert classify(reply(400, {"message": "timeout must be less than 5 s, try again in 3 s"})).retry_after is None


@given(st.text(max_size=60))
def test_any_text_is_a_sane_duration_or_none(text):
    wait = duration(text)

    assert wait is None or 0 <= wait <= 366 * 86_400


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
                "x-should-retry",
            ]
        ),
        st.text(max_size=30) | st.floats().map(str) | st.integers().map(str),
    ),
    st.text(max_size=100),
)
def test_any_headers_give_a_sane_wait_or_none(headers, text):
    wait = wait_of(headers, [], text)

    assert wait is None or 0 <= wait <= 366 * 86_400


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_written_duration_is_read_back(hours, minutes, seconds, millis):
    text = f"{hours}h{minutes}m{seconds}.{millis:03}s"

    assert duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + millis / 1000)


# -- anything whatever


class Raises:
    """Every look at it raises."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("no text")


class Huge:
    def __str__(self):
        return "tokens exceed " * 100_000


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.sampled_from([Raises(), Huge(), object(), "insufficient_quota", "a " * 50_000, "{" * 5_000, -1, 200, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["status_code", "code", "status", "http_status", "response", "headers", "body", "details", "raw_response", "type",
     "error_code", "reason", "error", "error_type", "retry_after", "message", "original_error", "exceptions"]
)  # fmt: skip


class WithPropertiesError(Exception):
    """Its attributes are answered by a dictionary, or raise."""

    def __init__(self, answers):
        super().__init__()
        self.__dict__["answers"] = answers

    def __getattr__(self, name):
        answer = self.__dict__.get("answers", {}).get(name)
        if isinstance(answer, Raises):
            raise RuntimeError(name)
        return answer

    def __str__(self):
        return str(self.__dict__["answers"].get("message"))


@settings(max_examples=300)
@given(
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.sampled_from(["openai", "botocore.exceptions", "aiohttp", "grpc", "somebody"]),
    st.lists(VALUES, max_size=2),
)
def test_any_exception_whatever_is_classified_in_bounded_time(answers, module, args):
    cls = type("SomeError", (WithPropertiesError,), {"__module__": module})
    error = cls(answers)
    error.args = tuple(args)
    error.__cause__ = OSError(*args)
    error.__cause__.__cause__ = error
    started = time.perf_counter()
    verdict = classify(error)

    assert isinstance(verdict, Verdict)
    assert verdict.retry_after is None or verdict.retry_after >= 0
    assert time.perf_counter() - started < 1


@given(VALUES)
def test_any_result_whatever_is_looked_at_without_raising(result):
    assert classify_result(result) is None or isinstance(classify_result(result), ErrorType)


@pytest.mark.parametrize(
    "text",
    [
        "tokens " * 20_000,
        "the prompt is a " * 10_000,
        "exceeded your " * 10_000,
        "try again in " * 10_000,
        "1h" * 20_000,
        "a" * 200_000,
        "{" * 50_000 + "}" * 50_000,
        "model " * 10_000 + "does not exist",
        "blocked by the safety " * 5_000,
        "credits are " * 10_000,
    ],
)
def test_no_message_makes_it_slow(text):
    started = time.perf_counter()
    for status in (None, 200, 400, 403, 429, 500):
        classify(reply(status, {"message": text}))
        classify(Exception(text))

    assert time.perf_counter() - started < 2
