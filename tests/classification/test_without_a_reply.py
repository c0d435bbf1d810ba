"""Errors without a reply: transport, plain exceptions, leaving."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its cancellation is classified
import errno
import io
import json
import shutil

import httpx
import pytest
import trio

from resilient_ai import ErrorType, classify
from resilient_ai._classification.unsent import unsent
from tests.classification.support import kind, reply


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (trio.TooSlowError(), "timeout"),
        (ConnectionResetError(), "network_error"),
        (BrokenPipeError(), "network_error"),
        (OSError("no route to host"), "network_error"),
        (json.JSONDecodeError("x", "y", 0), "invalid_output"),
        (httpx.ReadTimeout("x"), "timeout"),
        (httpx.ConnectError("x"), "network_error"),
        (httpx.RemoteProtocolError("x"), "network_error"),
        (httpx.DecodingError("x"), "internal_error"),
    ],
)
def test_what_the_transport_raises_has_a_class(error, expected):
    assert kind(error) == expected
    assert classify(error).retryable


BUILT_IN = [
    BrokenPipeError,
    ConnectionAbortedError,
    ConnectionError,
    ConnectionRefusedError,
    ConnectionResetError,
    TimeoutError,
]


@pytest.mark.parametrize("cls", BUILT_IN)
@pytest.mark.parametrize("args", [(), ("invalid api key",), (errno.ENOSPC, "no space left")])
def test_a_built_in_error_of_the_connection_means_the_same_alone_and_with_a_silent_cause(cls, args):
    alone, caused = cls(*args), cls(*args)
    caused.__cause__ = Exception("something happened")

    assert classify(alone) == classify(caused)


@pytest.mark.parametrize("cls", BUILT_IN)
def test_what_was_set_on_it_or_has_caused_it_counts_more_than_its_class(cls):
    replied, caused = cls("x"), cls("x")
    replied.status_code = 429
    caused.__context__ = RuntimeError("no running event loop")

    assert kind(replied) == "rate_limit"
    assert classify(caused).blame == "program"


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


@pytest.mark.parametrize(
    "text",
    [
        "no running event loop",
        "Task <Task pending> got Future <Future pending> attached to a different loop",
        "<asyncio.locks.Event object at 0x7f> is bound to a different event loop",
    ],
)
def test_a_client_on_an_event_loop_that_is_not_its_own_is_a_bug_of_the_program(text):
    wrapped = reply(name="HTTPClientError", module="botocore.exceptions")
    wrapped.__cause__ = RuntimeError(text)

    assert classify(wrapped).blame == "program"
    assert not classify(wrapped).retryable
    assert "event loop" in classify(wrapped).evidence


def test_a_connection_that_a_closed_event_loop_left_behind_is_worth_a_retry_and_was_not_asked():
    error = RuntimeError("Event loop is closed")
    verdict = classify(error)

    assert (verdict.error_type, verdict.retryable) == (ErrorType.NETWORK_ERROR, True)
    assert unsent(error, verdict)


@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EPIPE,
        errno.EADDRNOTAVAIL,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.ESHUTDOWN,
    ],
    ids=errno.errorcode.get,
)
def test_an_errno_of_the_network_is_worth_a_retry(number):
    verdict = classify(OSError(number, "what the system says"))

    assert verdict.error_type in (ErrorType.NETWORK_ERROR, ErrorType.TIMEOUT)
    assert verdict.retryable


@pytest.mark.parametrize(
    "number",
    [
        errno.ENOSPC,
        errno.EMFILE,
        errno.ENFILE,
        errno.EROFS,
        errno.EDQUOT,
        errno.EIO,
        errno.ENOMEM,
        errno.EACCES,
        errno.ENOENT,
        errno.EISDIR,
        errno.EAGAIN,
        errno.EINVAL,
        errno.EBADF,
        errno.ECHILD,
    ],
    ids=errno.errorcode.get,
)
def test_an_errno_of_this_machine_is_no_network_error_and_not_retried(number):
    verdict = classify(OSError(number, "what the system says"))

    assert (verdict.error_type, verdict.retryable, verdict.blame) == (ErrorType.INTERNAL_ERROR, False, "unknown")


@pytest.mark.parametrize("error", [io.UnsupportedOperation("not writable"), shutil.Error("same file")])
def test_file_errors_of_the_standard_library_are_no_network_errors(error):
    assert classify(error).blame in ("unknown", "program")
