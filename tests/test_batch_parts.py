"""The small parts under `@batched`: whose call may share a batch, and one error for many callers."""

from __future__ import annotations

import inspect
from typing import Self

import openai
import pytest

from resilient_ai import BatchResultError, CircuitOpenError
from resilient_ai._batched.grouping import Grouping
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


def grouping(function, leading: int = 0) -> Grouping:
    return Grouping(inspect.signature(function), leading)


def test_names_given_by_position_only_are_no_keywords():
    async def embed(texts, model="m", /, **extra): ...

    key = grouping(embed).key

    assert key((), {}) == key(("m",), {})
    assert key(("x",), {}) != key((), {"model": "x"})
    assert key(("m",), {"model": "x"}) == key((), {"model": "x"})


def test_more_positional_arguments_and_keywords_than_names_make_groups_too():
    async def embed(texts, model="m", *rest, **extra): ...

    key = grouping(embed).key

    assert key(("m", 1), {}) != key(("m", 2), {})
    assert key(("m", 1), {"a": 1, "b": [2]}) == key(("m", 1), {"b": [2], "a": 1})
    assert key(("m",), {"a": 1}) != key(("m",), {"a": True})


def test_without_a_signature_arguments_are_taken_as_they_are():
    key = Grouping(None, 0).key

    assert key((), {}) == key((), {})
    assert key((1, []), {"b": 1, "a": {}}) == key((1, []), {"a": {}, "b": 1})
    assert key((1,), {}) != key((), {"x": 1})
    assert Grouping(None, 0).item_name is None


def test_the_item_may_be_named_where_it_has_a_name():
    async def embed(self, texts, *, model="m"): ...

    async def no_name(*texts): ...

    assert grouping(embed, 1).item_name == "texts"
    assert grouping(no_name).item_name is None
