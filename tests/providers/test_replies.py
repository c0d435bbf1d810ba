"""What `complete` and `stream` tell besides the text, alike for every API, and what is no answer."""

from __future__ import annotations

import json
import pickle

import pytest

from resilient_ai import ErrorType, StreamTruncatedError, classify
from resilient_ai.providers import ContentFilterError, EndpointReplyError, InvalidOutputError, OpenAIEndpoint, Reply
from resilient_ai.testing import FakeAnswer, FakeProvider, Fault
from resilient_ai.usage import Usage
from tests.providers.support import KINDS, VENDORS, make


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


@pytest.fixture(params=KINDS)
async def endpoint(request, provider):
    async with make(request.param, provider) as endpoint:
        yield endpoint


@pytest.fixture(params=VENDORS)
async def vendor(request, provider):
    """An endpoint whose API tells everything."""
    async with make(request.param, provider) as endpoint:
        yield endpoint


async def streamed(endpoint, *args, **params):
    """Pieces of a stream, and its reply."""
    stream = endpoint.stream(*args, **params)
    pieces = [piece async for piece in stream]
    return pieces, stream.reply


async def both_ways(endpoint, *args, **params) -> list[Reply]:
    """The reply of a whole answer and of a stream."""
    whole = await endpoint.complete(*args, **params)
    _, reply = await streamed(endpoint, *args, **params)
    return [whole, reply]


async def errors_both_ways(provider, endpoint, fault, error=Exception, **params):
    """What a whole answer and a stream raise for the same fault."""
    provider.script(fault, fault)
    with pytest.raises(error) as whole:
        await endpoint.complete("hi there", **params)
    with pytest.raises(error) as stream:
        await streamed(endpoint, "hi there", **params)
    return [whole.value, stream.value]


async def test_a_reply_says_why_it_ended_and_what_it_cost(vendor, provider):
    answer = FakeAnswer("forty two", reasoning="let me think", cached=1)
    provider.script(answer, answer)
    for reply in await both_ways(vendor, "what is it"):
        assert reply == "forty two"
        assert reply.finish_reason == "stop"
        assert reply.usage == Usage(3, 5, cache_read_tokens=1, reasoning_tokens=3)
        assert reply.model == vendor.model
        assert reply.endpoint == "here"
        assert reply.raw is not None
        assert pickle.loads(pickle.dumps(reply)).usage == reply.usage


async def test_a_stream_has_its_reply_once_it_has_ended(endpoint):
    stream = endpoint.stream("where are you")
    first = await anext(stream)
    before = stream.reply
    rest = [piece async for piece in stream]

    assert before is None
    assert stream.reply == "".join([first, *rest]) == "[moon] where are you"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_that_is_entered_is_the_stream_and_has_its_reply_afterwards(endpoint):
    whole = endpoint.stream("where are you")
    async with whole as stream:
        pieces = [piece async for piece in stream]

    assert stream is whole
    assert whole.reply == "".join(pieces) == "[moon] where are you"


async def test_a_stream_that_is_left_has_no_reply(endpoint):
    stream = endpoint.stream("where are you")
    await anext(stream)
    await stream.aclose()

    assert stream.reply is None


async def test_a_cut_answer_says_so(endpoint, provider):
    provider.script("length", "length")
    for reply in await both_ways(endpoint, "hi"):
        assert reply == "This is where it was cut"
        assert reply.finish_reason == "length"


@pytest.mark.parametrize("fault", ["refusal", "filtered"])
async def test_a_refused_or_filtered_answer_is_an_error_with_the_words_kept_apart(endpoint, provider, fault):
    for error in await errors_both_ways(provider, endpoint, fault, ContentFilterError):
        verdict = classify(error)

        assert verdict.error_type is ErrorType.CONTENT_FILTER
        assert verdict.endpoint_fault
        assert error.reply.finish_reason in ("refusal", "content_filter")
        assert "'here'" in str(error)
        for words in ("cannot help", "This is how"):
            assert words not in f"{error} {error!r}"
        again = pickle.loads(pickle.dumps(error))
        assert (again.reply, again.name, str(again)) == (error.reply, "here", str(error))


async def test_the_words_of_a_refusal_are_in_the_reply_of_the_error(provider):
    for kind in ("openai", "responses", "anthropic", "http"):
        async with make(kind, provider) as endpoint:
            for error in await errors_both_ways(provider, endpoint, "refusal", ContentFilterError):
                assert (error.reply, error.reply.finish_reason) == ("I cannot help with that.", "refusal")


async def test_what_was_said_before_the_filter_is_yielded_and_then_the_error_is_raised(endpoint, provider):
    provider.script("filtered")
    pieces = []
    with pytest.raises(ContentFilterError) as caught:
        async for piece in endpoint.stream("hi"):
            pieces.append(piece)  # noqa: PERF401 - what came before the error is wanted

    assert "".join(pieces) == caught.value.reply == "This is how"


async def test_an_answer_that_calls_a_tool_with_no_json_is_invalid_output(provider):
    broken = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"city": '}}
    async with make("openai", provider) as endpoint:
        provider.script(Fault.reply(200, chat({"content": None, "tool_calls": [broken]}, "tool_calls")))
        with pytest.raises(InvalidOutputError, match=r"does not have the form that was asked for \(json_invalid\)"):
            await endpoint.complete("hi")
        provider.script(Fault.reply(200, chat({"content": "so", "tool_calls": [broken]}, "length")))
        reply = await endpoint.complete("hi")

    assert (reply, reply.finish_reason, reply.tool_calls) == ("so", "length", ())


async def test_a_content_that_comes_in_parts_is_a_text(provider):
    """As Mistral's reasoning models send it at an address that else speaks OpenAI's language."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Hello"},
        {"type": "text", "text": " you"},
    ]
    frames = [
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": [part]}}]} for part in parts
    ]
    frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    sse = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    async with make("openai", provider) as endpoint:
        provider.script(Fault.reply(200, chat({"content": parts}, "stop")))
        provider.script(Fault.reply(200, sse, {"content-type": "text/event-stream"}))
        whole = await endpoint.complete("hi")
        pieces, reply = await streamed(endpoint, "hi")

    assert whole == reply == "Hello you"
    assert pieces == ["Hello", " you"]


@pytest.mark.parametrize(
    ("message", "choice", "expected"),
    [
        ({"content": None}, {"finish_reason": "error", "error": {"code": 429, "message": "slow"}}, "rate_limit"),
        ({"content": ""}, {"finish_reason": "error"}, "internal_error"),
        ({"content": "half"}, {"finish_reason": "insufficient_system_resource"}, "model_overloaded"),
    ],
    ids=["openrouter", "bare", "deepseek"],
)
async def test_an_answer_that_ended_in_an_error_is_one(provider, message, choice, expected):
    body = chat(message, None)
    body["choices"][0].update(choice)
    async with make("openai", provider) as endpoint:
        provider.script(Fault.reply(200, body))
        with pytest.raises(EndpointReplyError) as caught:
            await endpoint.complete("hi")

    assert classify(caught.value).error_type == expected


async def test_an_error_object_in_place_of_an_answer_is_an_error(provider):
    error = {"object": "error", "message": "The model is overloaded", "type": "overloaded_error", "code": 503}
    async with make("openai", provider) as endpoint:
        provider.script(Fault.reply(200, error), sse(error))
        with pytest.raises(EndpointReplyError) as whole:
            await endpoint.complete("hi")
        with pytest.raises(EndpointReplyError) as stream:
            await streamed(endpoint, "hi")

    assert classify(whole.value).error_type is ErrorType.MODEL_OVERLOADED
    assert classify(stream.value).error_type is ErrorType.MODEL_OVERLOADED


async def test_a_stream_may_end_in_an_error(provider):
    ends = chunk({}, "error")
    ends["choices"][0]["error"] = {"code": 502, "message": "Provider returned error"}
    async with make("openai", provider) as endpoint:
        provider.script(sse(chunk({"content": "Hel"}), ends))
        with pytest.raises(EndpointReplyError) as caught:
            await streamed(endpoint, "hi")

    assert classify(caught.value).error_type is ErrorType.INTERNAL_ERROR


async def test_notes_of_a_filter_that_runs_beside_the_stream_are_passed_over(provider):
    note = {"id": "", "object": "", "created": 0, "model": "", "choices": [{"index": 0, "finish_reason": None}]}
    empty = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    parts = [empty, chunk({"content": "Hel"}), note, chunk({"content": "lo"}), chunk({}, "stop"), note]
    async with make("openai", provider) as endpoint:
        provider.script(sse(*parts))
        pieces, reply = await streamed(endpoint, "hi")

    assert pieces == ["Hel", "lo"]
    assert (reply, reply.finish_reason) == ("Hello", "stop")


async def test_a_second_choice_is_not_mixed_into_the_first(provider):
    second = chunk({"content": "No"})
    second["choices"][0]["index"] = 1
    async with make("openai", provider) as endpoint:
        provider.script(sse(chunk({"content": "Yes"}), second, chunk({}, "stop")))
        pieces, _ = await streamed(endpoint, "hi", n=2)

    assert pieces == ["Yes"]


async def test_a_response_that_failed_is_an_error_and_one_that_never_ended_too(provider):
    failed = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "failed", "output": []}
    failed["error"] = {"code": "rate_limit_exceeded", "message": "slow down"}
    waiting = {**failed, "status": "in_progress", "error": None}
    async with make("responses", provider) as endpoint:
        provider.script(Fault.reply(200, failed), Fault.reply(200, waiting), Fault.cut(after_items=1))
        with pytest.raises(EndpointReplyError) as refused:
            await endpoint.complete("hi there")
        with pytest.raises(EndpointReplyError, match="without an answer"):
            await endpoint.complete("hi there")
        with pytest.raises(StreamTruncatedError, match="broke off after 1 item"):
            await streamed(endpoint, "hi there")

    assert classify(refused.value).error_type is ErrorType.RATE_LIMIT


async def test_a_server_that_knows_no_usage_in_streams_is_asked_without_from_then_on(provider):
    refused = {"error": {"message": "Unknown parameter: stream_options", "type": "invalid_request_error"}}
    async with make("openai", provider) as endpoint:
        provider.script(Fault.reply(400, refused))
        first = await streamed(endpoint, "hi")
        second = await streamed(endpoint, "hi")

    assert first[0] == second[0] == ["[moon]", " hi"]
    assert first[1].usage is None
    assert ["stream_options" in each.body for each in provider.requests] == [True, False, False]


async def test_another_refusal_is_not_asked_again(provider):
    async with make("openai", provider) as endpoint:
        provider.script("invalid_request")
        with pytest.raises(Exception, match="temperature"):
            await streamed(endpoint, "hi")

    assert provider.count() == 1


async def test_a_stream_says_nothing_before_it_is_read(endpoint, provider):
    stream = endpoint.stream("hi")
    await stream.aclose()

    assert provider.count() == 0
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_old_calls_of_functions_are_calls_of_tools(provider):
    message = {"content": None, "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    async with OpenAIEndpoint("old", model="m", api_key="x", base_url=provider.base_url) as endpoint:
        provider.script(
            Fault.reply(200, chat(message, "function_call")),
            sse(
                chunk({"function_call": {"name": "weather", "arguments": ""}}),
                chunk({"function_call": {"arguments": '{"city": "Oslo"}'}}),
                chunk({}, "function_call"),
            ),
        )
        replies = await both_ways(endpoint, "hi")

    assert [(call.name, call.arguments) for reply in replies for call in reply.tool_calls] == [
        *[("weather", {"city": "Oslo"})] * 2,
    ]


async def test_calls_that_a_server_counts_alike_are_told_apart_by_their_ids(provider):
    def call(given_id: str | None, name: str | None, arguments: str) -> dict:
        return chunk({"tool_calls": [{"index": 0, "id": given_id, "function": {"name": name, "arguments": arguments}}]})

    parts = [call("a", "f", '{"x"'), call(None, None, ": 1}"), call("b", "g", "{}"), chunk({}, "tool_calls")]
    async with make("openai", provider) as endpoint:
        provider.script(sse(*parts))
        _, reply = await streamed(endpoint, "hi")

    assert [(each.id, each.name, each.arguments) for each in reply.tool_calls] == [("a", "f", {"x": 1}), ("b", "g", {})]


HEAD = {"id": "c", "created": 1, "model": "m"}


def chat(message: dict, finish: str | None) -> dict:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return {**HEAD, "object": "chat.completion", "choices": [choice]}


def chunk(delta: dict, finish: str | None = None) -> dict:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def sse(*parts: dict) -> Fault:
    text = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
    return Fault.reply(200, text, {"content-type": "text/event-stream"})
