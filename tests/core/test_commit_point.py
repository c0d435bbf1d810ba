"""Which items of a stream have content, and which only begin it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from resilient_ai import Endpoint, circuit_breaker, classified_retry, failover
from resilient_ai._core.commit_point import MOST_HELD, has_content


def chunk(**delta):
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


PREAMBLE = {
    "empty text": "",
    "role": chunk(role="assistant", content="", refusal=None),
    "no delta": {"choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]},
    "prompt filter": {"choices": [], "prompt_filter_results": []},
    "finish": {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
    "object": SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(role="assistant", content=None))]),
    "inside an event": SimpleNamespace(data=SimpleNamespace(choices=[])),
    "response": {"type": "response.created"},
    "in progress": {"type": "response.in_progress"},
    "item": {"type": "response.output_item.added", "item": {"type": "message"}},
    "failed": {"type": "response.failed"},
    "message": {"type": "message_start", "message": {}},
    "ping": {"type": "ping"},
    "empty block": {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
    "empty thought": {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": ""}},
    "empty delta": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}},
    "Google": {"candidates": [{"content": {"role": "model", "parts": []}}]},
    "Google usage": {"candidates": None, "usage_metadata": {}},
    "Bedrock": {"messageStart": {"role": "assistant"}},
    "Bedrock block": {"contentBlockStart": {"contentBlockIndex": 0}},
    "Cohere": {"type": "message-start"},
}
CONTENT = {
    "text": "a",
    "number": 0,
    "none": None,
    "anything": object(),
    "content": chunk(content="a"),
    "refusal": chunk(refusal="no"),
    "reasoning": chunk(reasoning_content="hm"),
    "of a vendor": chunk(reasoning_details=[{}]),
    "tool call": chunk(tool_calls=[{"index": 0, "function": {"name": "f"}}]),
    "audio": chunk(audio={"data": "…"}),
    "completion": {"choices": [{"text": "a"}]},
    "inside an event": SimpleNamespace(data=SimpleNamespace(choices=[{"delta": {"content": "a"}}])),
    "response text": {"type": "response.output_text.delta", "delta": "a"},
    "response refusal": {"type": "response.refusal.delta", "delta": "a"},
    "response arguments": {"type": "response.function_call_arguments.delta", "delta": "{"},
    "response item": {"type": "response.output_item.done"},
    "block delta": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
    "signature": {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "…"}},
    "tool use": {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f", "input": {}}},
    "Google": {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
    "Google call": {"candidates": [{"content": {"parts": [{"function_call": {"name": "f"}}]}}]},
    "Bedrock": {"contentBlockDelta": {"delta": {"text": "a"}}},
    "Bedrock tool": {"contentBlockStart": {"start": {"toolUse": {"name": "f"}}}},
    "Cohere": {"type": "content-delta", "delta": {}},
    "of one's own": {"type": "word", "text": "a"},
}


@pytest.mark.parametrize("item", PREAMBLE.values(), ids=PREAMBLE)
def test_an_item_that_says_nothing_yet_is_no_content(item):
    assert not has_content(item)


@pytest.mark.parametrize("item", CONTENT.values(), ids=CONTENT)
def test_whatever_a_consumer_could_show_or_nobody_knows_is_content(item):
    assert has_content(item)


def over(registry, streams, **settings):
    """A failover over two endpoints, each with its stream: items, and an exception to raise."""
    a, b = Endpoint("a"), Endpoint("b")

    @failover(a, b, strategy="priority", name="it", registry=registry, **settings)
    async def tokens(endpoint):
        for item in streams[endpoint.name]:
            if isinstance(item, Exception):
                raise item
            yield item

    return tokens


async def test_what_was_held_back_is_handed_on_in_its_order(registry):
    items = [chunk(role="assistant"), {"type": "ping"}, chunk(content="a"), chunk(content="b")]

    assert [item async for item in over(registry, {"a": items})()] == items


async def test_a_stream_without_content_is_handed_on_as_it_is(registry):
    assert [item async for item in over(registry, {"a": [{"type": "ping"}]})()] == [{"type": "ping"}]


async def test_no_more_than_so_many_items_are_held_back(registry):
    items = [{"type": "ping"}] * (MOST_HELD + 1)
    tokens = over(registry, {"a": [*items, ConnectionError("cut")], "b": ["never"]})
    got = []
    with pytest.raises(ConnectionError, match="cut"):
        async for item in tokens():
            got.append(item)  # noqa: PERF401 - the items before the error matter

    assert got == items


async def test_commits_says_what_content_is_in_items_of_ones_own(registry):
    streams = {"a": ["thinking", ConnectionError("cut")], "b": ["thinking", "answer"]}
    tokens = over(registry, streams, commits=lambda item: item == "answer")

    assert [item async for item in tokens()] == ["thinking", "answer"]


async def test_it_holds_for_the_whole_stack_and_is_given_once(registry):
    ends = []

    async def tokens(_endpoint=None):
        ends.append(1)
        yield "thinking"
        if len(ends) == 1:
            raise ConnectionError
        yield "answer"

    ask = circuit_breaker("circuit", registry=registry)(tokens)
    ask = classified_retry("retry", commits=lambda item: item == "answer", registry=registry)(ask)
    async with registry.clock.autojump():
        assert [item async for item in ask()] == ["thinking", "answer"]

    with pytest.raises(ValueError, match="commits= is given twice"):
        failover(Endpoint("a"), name="regions", commits=bool, registry=registry)(ask)
