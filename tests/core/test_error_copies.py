"""One error for many callers: each gets a copy of its own."""

from __future__ import annotations

from typing import Self

import openai
import pytest

from resilient_ai import BatchResultError, CircuitOpenError
from resilient_ai._core.error_copies import own_copy


class KeywordError(Exception):
    """Like an SDK's: it asks for more than its args."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response


class StubbornError(Exception):
    """Cannot be made again in any way: each differs."""

    made = 0

    def __new__(cls, *args: object) -> Self:
        cls.made += 1
        error = super().__new__(cls, *args)
        error.__dict__[f"number {cls.made}"] = True
        return error

    def __copy__(self) -> Self:
        raise TypeError("no copies")


def openai_error() -> openai.APIStatusError:
    import httpx2

    request = httpx2.Request("POST", "http://test/v1/embeddings")
    return openai.RateLimitError("slow down", response=httpx2.Response(429, request=request), body={"code": "x"})


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain", 1),
        OSError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        KeywordError("down", response={"status": 503}),
        CircuitOpenError("circuit", retry_after=3.0),
        BatchResultError("broken"),
        ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
        openai_error(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_has_the_type_text_attributes_cause_and_notes_and_is_another(error):
    cause = KeyError("cause")
    try:
        try:
            raise cause
        except KeyError:
            error.add_note("seen")
            raise error from cause
    except Exception as caught:
        copy = own_copy(caught)

    assert type(copy) is type(error)
    assert copy is not error
    assert (str(copy), copy.args, copy.__dict__.keys()) == (str(error), error.args, error.__dict__.keys())
    assert (copy.__cause__, copy.__context__, copy.__suppress_context__) == (cause, cause, True)
    assert copy.__traceback__ is error.__traceback__
    copy.add_note("mine")
    assert error.__notes__ == ["seen"]


def test_what_cannot_be_copied_is_shared():
    error = StubbornError("x")

    assert own_copy(error) is error
