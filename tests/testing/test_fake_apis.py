"""The pretend provider speaks Responses, Google's API, tools, schemas and refusals so that real SDKs take them."""

from __future__ import annotations

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from resilient_ai import ErrorType, classify
from resilient_ai.providers import ToolCall
from resilient_ai.testing import FakeAnswer, FakeProvider, Fault

QUESTION = "where is the moon"
PARAMETERS = {"type": "object", "properties": {"planet": {"type": "string"}}, "required": ["planet"]}


class Place(BaseModel):
    name: str
    age: int


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


@pytest.fixture
async def gpt(provider):
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-planted", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(provider):
    async with anthropic.AsyncAnthropic(base_url=provider.url, api_key="sk-planted", max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(provider):
    async with httpx2.AsyncClient() as http:
        options = types.HttpOptions(base_url=provider.url, httpx_async_client=http)
        yield genai.Client(api_key="planted", http_options=options).aio


# -- Responses


async def test_responses_have_text_and_usage(gpt, provider):
    response = await gpt.responses.create(model="gpt-5", input=QUESTION)

    assert response.output_text == "[moon] where is the moon"
    assert (response.status, response.usage.input_tokens, response.usage.output_tokens) == ("completed", 4, 5)
    assert provider.prompts == [QUESTION]


async def test_responses_stream_through_the_helpers_of_the_sdk(gpt, provider):
    provider.script(
        FakeAnswer("so so", reasoning="let me think", tool_calls=[ToolCall("", "look", {"planet": "moon"})])
    )
    async with gpt.responses.stream(model="gpt-5", input=QUESTION) as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()

    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.function_call_arguments.done" in kinds
    assert response.output_text == "so so"
    assert response.output[-1].arguments == '{"planet": "moon"}'


async def test_responses_parse_a_schema(gpt):
    response = await gpt.responses.parse(model="gpt-5", input=QUESTION, text_format=Place)

    assert response.output_parsed == Place(name="[moon] where is the moon", age=1)


async def test_responses_are_cut_filtered_and_refused(gpt, provider):
    provider.script("length", "filtered", "refusal")
    cut, filtered, refused = [await gpt.responses.create(model="gpt-5", input=QUESTION) for _ in range(3)]

    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (filtered.status, filtered.incomplete_details.reason) == ("incomplete", "content_filter")
    assert refused.output[0].content[0].refusal == "I cannot help with that."


async def test_a_response_fails_on_its_way(gpt, provider):
    provider.script(Fault.in_stream("rate_limit"))
    async with await gpt.responses.create(model="gpt-5", input=QUESTION, stream=True) as stream:
        events = [event async for event in stream]

    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "rate_limit_exceeded"
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "m"}, "Missing required parameter: 'input'"),
        ({"model": "m", "input": [{"role": "bot", "content": "x"}]}, "input\\[0\\].role"),
        (
            {"model": "m", "input": [{"type": "function_call_output", "call_id": "a", "output": ""}]},
            "No tool call found",
        ),
        ({"model": "m", "input": [{"type": "function_call", "call_id": "a", "name": "f"}]}, "No tool output found"),
    ],
)
async def test_wrong_responses_requests_are_refused(provider, body, message):
    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{provider.base_url}/responses", json=body)

    assert reply.status_code == 400
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(reply.json()["error"]["message"])


# -- Google


async def test_google_answers_and_streams(gemini, provider):
    reply = await gemini.models.generate_content(model="gemini-3-flash", contents=QUESTION)
    chunks = [
        each async for each in await gemini.models.generate_content_stream(model="gemini-3-flash", contents=QUESTION)
    ]

    assert reply.text == "[moon] where is the moon"
    assert reply.usage_metadata.candidates_token_count == 5
    assert "".join(each.text or "" for each in chunks) == reply.text
    assert chunks[-1].candidates[0].finish_reason.value == "STOP"
    assert [each.stream for each in provider.requests] == [False, True]
    assert provider.requests[0].headers["x-goog-api-key"] == "[secret]"
    assert provider.prompts == [QUESTION, QUESTION]


async def test_google_calls_functions_and_fits_schemas(gemini):
    function = types.FunctionDeclaration(name="look", parameters_json_schema=PARAMETERS)
    tools = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[function])])
    called = await gemini.models.generate_content(model="gemini-3-flash", contents=QUESTION, config=tools)
    form = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Place)
    parsed = await gemini.models.generate_content(model="gemini-3-flash", contents=QUESTION, config=form)

    assert [(each.name, each.args) for each in called.function_calls] == [("look", {"planet": QUESTION})]
    assert parsed.parsed == Place(name="[moon] where is the moon", age=1)


async def test_google_blocks_cuts_and_filters(gemini, provider):
    provider.script("refusal", "length", "filtered")
    replies = [await gemini.models.generate_content(model="gemini-3-flash", contents=QUESTION) for _ in range(3)]

    assert replies[0].prompt_feedback.block_reason.value == "PROHIBITED_CONTENT"
    assert [each.candidates[0].finish_reason.value for each in replies[1:]] == ["MAX_TOKENS", "SAFETY"]


async def test_google_fails_in_its_own_words(gemini, provider):
    provider.script("rate_limit", "overloaded", Fault.in_stream("overloaded"))
    for expected in (ErrorType.RATE_LIMIT, ErrorType.MODEL_OVERLOADED):
        with pytest.raises(errors.APIError) as caught:
            await gemini.models.generate_content(model="gemini-3-flash", contents=QUESTION)
        assert classify(caught.value).error_type is expected
    said = []
    with pytest.raises(errors.APIError):
        async for each in await gemini.models.generate_content_stream(model="gemini-3-flash", contents=QUESTION):
            said.append(each.text)  # noqa: PERF401 - what came before the error is wanted

    assert said == ["[moon]"]
    assert [each.fault for each in provider.requests] == [
        "google_rate_limit", "google_overloaded", "google_overloaded in stream",
    ]  # fmt: skip


async def test_google_counts_embeds_and_lists(gemini, provider):
    counted = await gemini.models.count_tokens(model="gemini-3-flash", contents=QUESTION)
    embedded = await gemini.models.embed_content(model="gemini-embedding-001", contents=["a cat", "a dog"])
    model = await gemini.models.get(model="gemini-3-flash")
    async with httpx2.AsyncClient() as client:
        listed = await client.get(f"{provider.url}/v1beta/models", headers={"x-goog-api-key": "planted"})

    assert counted.total_tokens == 4
    assert [len(each.values) for each in embedded.embeddings] == [64, 64]
    assert model.name == "models/gemini-3-flash"
    assert listed.json()["models"][0]["name"] == "models/gemini-3-flash"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("models/m:generateContent", {}, 400),
        ("models/m:generateContent", {"contents": [{"role": "bot", "parts": [{"text": "x"}]}]}, 400),
        ("models/m:generateContent", {"contents": [{"role": "user", "parts": []}]}, 400),
        ("models/m:generateContent", {"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}, 400),
        ("models/m:predict", {"contents": []}, 404),
        ("nowhere", {}, 404),
    ],
)
async def test_wrong_google_requests_are_refused(provider, path, body, status):
    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{provider.url}/v1beta/{path}", json=body)

    assert reply.status_code == reply.json()["error"]["code"] == status


# -- tools, schemas and refusals at the others


async def test_chat_calls_the_tool_that_it_must(gpt):
    tools = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("look", "listen")]
    messages = [{"role": "user", "content": QUESTION}]
    free = await gpt.chat.completions.create(model="m", messages=messages, tools=tools)
    must = {"type": "function", "function": {"name": "listen"}}
    bound = await gpt.chat.completions.create(model="m", messages=messages, tools=tools, tool_choice=must)
    none = await gpt.chat.completions.create(model="m", messages=messages, tools=tools, tool_choice="none")

    assert free.choices[0].message.tool_calls[0].function.name == "look"
    assert free.choices[0].finish_reason == "tool_calls"
    assert bound.choices[0].message.tool_calls[0].function.name == "listen"
    assert none.choices[0].message.content == "[moon] where is the moon"


async def test_chat_streams_through_the_helpers_of_the_sdk(gpt, provider):
    tools = [
        {
            "type": "function",
            "function": {"name": "look", "parameters": {**PARAMETERS, "additionalProperties": False}, "strict": True},
        }
    ]
    messages = [{"role": "user", "content": QUESTION}]
    async with gpt.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
        completion = await stream.get_final_completion()
    parsed = await gpt.chat.completions.parse(model="m", messages=messages, response_format=Place)

    assert completion.choices[0].message.tool_calls[0].function.parsed_arguments == {"planet": QUESTION}
    assert parsed.choices[0].message.parsed == Place(name="[moon] where is the moon", age=1)


async def test_claude_streams_through_the_helpers_of_the_sdk(claude, provider):
    provider.script(
        FakeAnswer("so so", reasoning="let me think", tool_calls=[ToolCall("", "look", {"planet": "moon"})])
    )
    asked = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": QUESTION}]}
    async with claude.messages.stream(**asked) as stream:
        message = await stream.get_final_message()
    parsed = await claude.messages.parse(**asked, output_format=Place)

    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].input == {"planet": "moon"}
    assert message.stop_reason == "tool_use"
    assert parsed.parsed_output == Place(name="[moon] where is the moon", age=1)


async def test_refusals_are_said_in_the_words_of_each_api(gpt, claude, provider):
    provider.script("refusal", "refusal")
    messages = [{"role": "user", "content": QUESTION}]
    chat = await gpt.chat.completions.create(model="m", messages=messages)
    message = await claude.messages.create(model="m", max_tokens=50, messages=messages)

    assert (chat.choices[0].message.refusal, chat.choices[0].message.content) == ("I cannot help with that.", None)
    assert (message.stop_reason, message.content) == ("refusal", [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [{"role": "user", "content": "x", "extra": 1}]}, "Unknown parameter: 'messages[0].extra'."),
        ({"messages": [{"role": "tool", "tool_call_id": "a", "content": ""}]}, "must be a response to"),
        (
            {
                "messages": [{"role": "user", "content": "x"}],
                "response_format": {"type": "json_schema", "json_schema": {"strict": True, "schema": PARAMETERS}},
            },
            "'additionalProperties' is required to be supplied and to be false",
        ),
    ],
    ids=["unknown field", "a result of no call", "an open schema"],
)
async def test_wrong_chat_requests_are_refused(provider, body, message):
    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{provider.base_url}/chat/completions", json={"model": "m", **body})

    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


async def test_results_that_are_missing_are_missed_by_claude(claude):
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "look", "input": {}}]}
    with pytest.raises(anthropic.BadRequestError, match="`tool_use` ids were found without `tool_result` blocks"):
        await claude.messages.create(model="m", max_tokens=5, messages=[use, {"role": "user", "content": "and?"}])


# -- faults


async def test_a_fault_inside_a_stream_takes_the_names_that_a_script_takes(gpt, provider):
    provider.script(Fault.in_stream("overloaded", after_items=2), Fault.in_stream(503))
    for expected in ([0, 2], [0, 1]):
        said = []
        with pytest.raises(openai.APIError):
            async for chunk in await gpt.chat.completions.create(
                model="m", messages=[{"role": "user", "content": QUESTION}], stream=True
            ):
                said.append(chunk)  # noqa: PERF401 - what came before the error is wanted
        assert len(said) == expected[1] + 1  # with the role

    assert [each.fault for each in provider.requests] == ["openai_overloaded in stream", "status 503 in stream"]


@pytest.mark.parametrize("name", ["nonsense", "refusal", 5, None])
def test_a_fault_inside_a_stream_that_is_none_is_refused_when_made(name):
    with pytest.raises(ValueError, match=r"a fault|no fault named"):
        Fault.in_stream(name)


async def test_an_answer_of_the_users_may_call_tools_and_refuse(gpt):
    def answer(question: str) -> str | FakeAnswer:
        if "weapon" in question:
            return FakeAnswer(refusal="No.")
        return "plain" if "plain" in question else FakeAnswer(tool_calls=[ToolCall("call_1", "look", {})])

    with FakeProvider(answer=answer) as provider:
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
            said = [
                (await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])).choices[
                    0
                ]
                for text in ("plain", "weapon", "look")
            ]

    assert [each.message.content for each in said] == ["plain", None, None]
    assert said[1].message.refusal == "No."
    assert said[2].message.tool_calls[0].id == "call_1"
