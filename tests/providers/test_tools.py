"""Tools in OpenAI's form at every API, and what cannot be said there."""

from __future__ import annotations

import json

import pytest
from google.genai import types

from resilient_ai.providers import ParameterError, ToolCall
from resilient_ai.testing import FakeAnswer, FakeProvider
from tests.providers.support import KINDS, VENDORS, make

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": PARAMETERS}}
FLAT_TOOL = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": PARAMETERS}
OTHER_TOOL = {"type": "function", "function": {"name": "time"}}


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


async def body_of(provider, kind, **params) -> dict:
    async with make(kind, provider) as endpoint:
        await endpoint.complete("hi", **params)
    return provider.requests[-1].body


@pytest.mark.parametrize("tool", [CHAT_TOOL, FLAT_TOOL], ids=["chat's form", "Responses' form"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_tool_is_called_at_every_api(provider, kind, tool):
    async with make(kind, provider) as endpoint:
        reply = await endpoint.complete("how is Oslo", tools=[tool])
        stream = endpoint.stream("how is Oslo", tools=[tool])
        pieces = [piece async for piece in stream]

    for each in (reply, stream.reply):
        assert (each, each.finish_reason) == ("", "tool_calls")
        assert [(call.name, call.arguments) for call in each.tool_calls] == [("weather", {"city": "how is Oslo"})]
        assert all(call.id for call in each.tool_calls)
    assert pieces == []


@pytest.mark.parametrize("kind", KINDS)
async def test_several_calls_and_a_text_come_together(provider, kind):
    calls = [ToolCall("", "weather", {"city": "Oslo"}), ToolCall("", "time", {})]
    answer = FakeAnswer("Let me look.", tool_calls=calls)
    provider.script(answer, answer)
    async with make(kind, provider) as endpoint:
        reply = await endpoint.complete("hi", tools=[CHAT_TOOL, OTHER_TOOL])
        stream = endpoint.stream("hi", tools=[CHAT_TOOL, OTHER_TOOL])
        pieces = [piece async for piece in stream]

    for each in (reply, stream.reply):
        assert each == "".join(pieces) == "Let me look."
        assert [(call.name, call.arguments) for call in each.tool_calls] == [
            ("weather", {"city": "Oslo"}),
            ("time", {}),
        ]
        assert len({call.id for call in each.tool_calls}) == 2


async def test_each_api_gets_tools_in_its_own_form(provider):
    chat = await body_of(provider, "openai", tools=[FLAT_TOOL])
    responses = await body_of(provider, "responses", tools=[CHAT_TOOL])
    claude = await body_of(provider, "anthropic", tools=[CHAT_TOOL])
    gemini = await body_of(provider, "google", tools=[CHAT_TOOL])

    assert chat["tools"] == [CHAT_TOOL]
    assert responses["tools"] == [{**FLAT_TOOL, "strict": False}]
    assert claude["tools"] == [{"name": "weather", "description": "Of a city.", "input_schema": PARAMETERS}]
    (declared,) = gemini["tools"][0]["functionDeclarations"]
    assert (declared["name"], declared["description"]) == ("weather", "Of a city.")
    assert PARAMETERS in declared.values()


@pytest.mark.parametrize(
    ("choice", "chat", "responses", "claude", "gemini"),
    [
        ("auto", "auto", "auto", {"type": "auto"}, {"mode": "AUTO"}),
        ("none", "none", "none", {"type": "none"}, {"mode": "NONE"}),
        ("required", "required", "required", {"type": "any"}, {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "time"}},
            {"type": "function", "function": {"name": "time"}},
            {"type": "function", "name": "time"},
            {"type": "tool", "name": "time"},
            {"mode": "ANY", "allowedFunctionNames": ["time"]},
        ),
    ],
    ids=["auto", "none", "required", "named"],
)
async def test_the_choice_of_a_tool_is_said_in_the_words_of_each_api(provider, choice, chat, responses, claude, gemini):
    asked = {"tools": [CHAT_TOOL, OTHER_TOOL], "tool_choice": choice}

    assert (await body_of(provider, "openai", **asked))["tool_choice"] == chat
    assert (await body_of(provider, "responses", **asked))["tool_choice"] == responses
    assert (await body_of(provider, "anthropic", **asked))["tool_choice"] == claude
    assert (await body_of(provider, "google", **asked))["toolConfig"]["functionCallingConfig"] == gemini


async def test_one_tool_at_a_time_is_asked_for_where_it_can_be(provider):
    asked = {"tools": [CHAT_TOOL], "parallel_tool_calls": False}

    assert (await body_of(provider, "openai", **asked))["parallel_tool_calls"] is False
    assert (await body_of(provider, "responses", **asked))["parallel_tool_calls"] is False
    claude = await body_of(provider, "anthropic", **asked)
    assert claude["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    with pytest.raises(ParameterError, match="Google's API cannot be told to call one tool at a time"):
        await body_of(provider, "google", **asked)


async def test_an_api_takes_tools_in_its_own_form(provider):
    claude = {"name": "weather", "input_schema": PARAMETERS}
    search = {"type": "web_search_20250305", "name": "web_search"}
    gemini = types.Tool(function_declarations=[types.FunctionDeclaration(name="weather")])
    hosted = {"type": "web_search"}

    assert (await body_of(provider, "anthropic", tools=[claude, search]))["tools"] == [claude, search]
    assert (await body_of(provider, "google", tools=[gemini]))["tools"] == [
        {"functionDeclarations": [{"name": "weather"}]}
    ]
    assert (await body_of(provider, "responses", tools=[hosted, CHAT_TOOL]))["tools"][1] == hosted


@pytest.mark.parametrize("kind", VENDORS)
async def test_a_tool_in_the_form_of_another_vendor_is_refused_before_anything_is_sent(provider, kind):
    forms = {
        "anthropic": {"name": "weather", "input_schema": PARAMETERS},
        "google": {"function_declarations": [{"name": "weather"}]},
        "openai": {"type": "code_interpreter", "container": {"type": "auto"}},
    }
    async with make(kind, provider) as endpoint:
        for owner, tool in forms.items():
            if owner == {"responses": "openai"}.get(kind, kind):
                continue
            with pytest.raises(ParameterError, match=r"tool 0 is in .*'s own form, which this API does not take"):
                await endpoint.complete("hi", tools=[tool])

    assert provider.count() == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tools": {"type": "function"}}, "tools must be a list, got a dict"),
        ({"tools": [{"type": "function", "function": {}}]}, "tool 0 has no name"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": "x"}]},
            "parameters of tool 0 must be a JSON schema",
        ),
        ({"tools": [CHAT_TOOL], "tool_choice": "always"}, 'tool_choice must be "auto", "none", "required" or'),
        ({"tools": [CHAT_TOOL], "parallel_tool_calls": 1}, "parallel_tool_calls must be True or False, got 1"),
    ],
    ids=["no list", "no name", "no schema", "no choice", "no bool"],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_tools_that_make_no_sense_are_refused_before_anything_is_sent(provider, kind, params, message):
    async with make(kind, provider) as endpoint:
        with pytest.raises(ParameterError, match=f"endpoint 'here': {message}"):
            await endpoint.complete("hi", **params)

    assert provider.count() == 0


async def test_the_arguments_of_calls_are_sent_back_as_each_api_wants_them(provider):
    messages = [
        {"role": "user", "content": "how is Oslo"},
        {"role": "assistant", "tool_calls": [call("a", "weather", {"city": "Oslo"}), call("b", "time", {})]},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "noon"}]},
    ]
    bodies = {}
    for kind in VENDORS:
        async with make(kind, provider) as endpoint:
            assert await endpoint.complete(messages, tools=[CHAT_TOOL]) == "[moon] how is Oslo: rain, noon"
        bodies[kind] = provider.requests[-1].body

    assert bodies["openai"]["messages"] == messages
    assert bodies["responses"]["input"][1:] == [
        {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call", "call_id": "b", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b", "output": "noon"},
    ]
    assert bodies["anthropic"]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "b", "name": "time", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "b", "content": "noon"},
            ],
        },
    ]
    calls, results = bodies["google"]["contents"][1:]
    assert [part["functionCall"] for part in calls["parts"]] == [
        {"name": "weather", "args": {"city": "Oslo"}},
        {"name": "time", "args": {}},
    ]
    assert [part["functionResponse"] for part in results["parts"]] == [
        {"name": "weather", "response": {"output": "rain"}},
        {"name": "time", "response": {"output": "noon"}},
    ]


async def test_signatures_of_thoughts_go_back_to_the_vendor_that_made_them_and_to_nobody_else(provider):
    messages = [{"role": "user", "content": "how is Oslo"}]
    answer = FakeAnswer(reasoning="hm", tool_calls=[ToolCall("", "weather", {"city": "Oslo"})])
    for kind in ("anthropic", "google"):
        provider.script(answer)
        async with make(kind, provider) as endpoint:
            first = await endpoint.complete(messages, tools=[CHAT_TOOL])
        went_on = [
            *messages,
            first.message,
            {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"},
        ]
        json.dumps(went_on)
        for other in VENDORS:
            async with make(other, provider) as endpoint:
                assert await endpoint.complete(went_on, tools=[CHAT_TOOL]) == "[moon] how is Oslo: rain"
            sent = json.dumps(provider.requests[-1].body)
            assert ("c2lnbmVk" in sent) is (other == kind)
            assert "extra_content" not in sent


async def test_calls_of_another_vendors_model_are_marked_as_unsigned_for_gemini(provider):
    messages = [
        {"role": "user", "content": "how is Oslo"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [call("a", "weather", {}), call("b", "time", {})],
        },
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
    ]
    async with make("google", provider) as endpoint:
        await endpoint.complete(messages)
    parts = provider.requests[-1].body["contents"][1]["parts"]

    assert ["thoughtSignature" in part for part in parts] == [False, True, False]


async def test_a_result_of_no_call_is_refused_where_the_api_wants_the_name_of_the_tool(provider):
    async with make("google", provider) as endpoint:
        with pytest.raises(ParameterError, match="the result of call 'a' belongs to no call of a tool before it"):
            await endpoint.complete([{"role": "tool", "tool_call_id": "a", "content": "rain"}])


def call(given_id: str, name: str, arguments: dict) -> dict:
    return {"id": given_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
