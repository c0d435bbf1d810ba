"""Tokens are counted alike, whoever gave the answer."""

from __future__ import annotations

from unittest.mock import MagicMock

import anthropic
import openai
import pytest
from google.genai.types import GenerateContentResponse

from resilient_ai.providers import Reply
from resilient_ai.usage import Usage, usage_of

CHAT = {
    "usage": {
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
}
RESPONSES = {
    "usage": {
        "input_tokens": 120,
        "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 12},
        "total_tokens": 150,
    }
}
ANTHROPIC = {
    "usage": {
        "input_tokens": 15,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 5,
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
    }
}
GOOGLE = {
    "usageMetadata": {
        "promptTokenCount": 110,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": 18,
        "thoughtsTokenCount": 12,
        "cachedContentTokenCount": 100,
        "totalTokenCount": 150,
    }
}


@pytest.mark.parametrize(
    ("told", "written"),
    [(CHAT, 5), (RESPONSES, 5), (ANTHROPIC, 5), (GOOGLE, 0)],
    ids=["chat", "responses", "anthropic", "google"],
)
def test_the_same_answer_costs_the_same_whoever_counted(told, written):
    expected = Usage(120, 30, cache_read_tokens=100, cache_write_tokens=written, reasoning_tokens=12)

    assert usage_of(told) == expected


def test_the_objects_of_the_sdks_are_read_like_their_json():
    chat = openai.types.chat.ChatCompletion.model_validate(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [], **CHAT}
    )
    message = anthropic.types.Message.model_validate(
        {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], **ANTHROPIC}
    )
    google = GenerateContentResponse.model_validate(GOOGLE)

    assert [usage_of(each) for each in (chat, message, google)] == [
        usage_of(each) for each in (CHAT, ANTHROPIC, GOOGLE)
    ]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "response.completed", "response": RESPONSES}, usage_of(RESPONSES)),
        ({"type": "message_start", "message": ANTHROPIC}, usage_of(ANTHROPIC)),
        ({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 30}}, Usage(output_tokens=30)),
        ({"choices": [], **CHAT}, usage_of(CHAT)),
    ],
    ids=["responses", "anthropic start", "anthropic end", "chat"],
)
def test_the_events_of_streams_are_read_too(event, expected):
    assert usage_of(event) == expected


def test_embeddings_and_replies_tell_theirs():
    assert usage_of({"data": [], "usage": {"prompt_tokens": 7, "total_tokens": 7}}) == Usage(input_tokens=7)
    assert usage_of(Reply("hi", usage=Usage(1, 2))) == Usage(1, 2)


class Raising:
    @property
    def usage(self):
        raise RuntimeError("closed")


@pytest.mark.parametrize(
    "silent",
    [
        None,
        "text",
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": {"input_tokens": True}},
        Reply("hi"),
        Raising(),
        MagicMock(),
    ],
    ids=[
        "none",
        "text",
        "nothing",
        "null",
        "empty",
        "no number",
        "a reply by hand",
        "a property that raises",
        "a mock",
    ],
)
def test_what_tells_no_usage_has_none(silent):
    assert usage_of(silent) is None


def test_usages_add_up():
    assert sum([Usage(1, 2, 3, 4, 5), Usage(1, 1, 1, 1, 1)]) == Usage(2, 3, 4, 5, 6)
    with pytest.raises(TypeError):
        Usage() + 5


@pytest.mark.parametrize("count", [-1, 10**400, float("nan"), "7", True])
def test_a_count_that_can_be_none_is_not_told(count):
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": 2}}) == Usage(output_tokens=2)
    assert usage_of({"usageMetadata": {"promptTokenCount": count}}) is None


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"input_tokens": -5}, "input_tokens must be an integer of at least 0, got -5"),
        ({"reasoning_tokens": -1}, "reasoning_tokens must be an integer of at least 0, got -1"),
        ({"output_tokens": None}, "output_tokens must be an integer of at least 0, got None"),
        ({"cache_read_tokens": float("nan")}, "cache_read_tokens must be an integer of at least 0, got nan"),
    ],
)
def test_a_usage_of_numbers_that_cannot_be_is_refused(numbers, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Usage(**numbers)
