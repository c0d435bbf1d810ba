"""Any object at all is classified, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import ErrorType, Verdict, classify, classify_result
from tests.classification.support import reply


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
    started = time.thread_time()  # of this thread alone: other work on the machine does not count
    verdict = classify(error)

    assert isinstance(verdict, Verdict)
    assert verdict.retry_after is None or verdict.retry_after >= 0
    assert time.thread_time() - started < 5


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
    started = time.thread_time()
    for status in (None, 200, 400, 403, 429, 500):
        classify(reply(status, {"message": text}))
        classify(Exception(text))

    assert time.thread_time() - started < 5
