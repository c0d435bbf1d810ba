"""Errors without a reply: transport, plain exceptions, leaving."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its cancellation is classified
import json

import httpx
import pytest
import trio

from resilient_ai import ErrorType, classify
from tests.classification.support import kind, reply


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
