"""Answers in a form that was asked for: schemas for every API, values out, and what does not fit."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from resilient_ai import ErrorType, classified_retry, classify
from resilient_ai.providers import InvalidOutputError, ParameterError
from resilient_ai.testing import FakeAnswer, FakeProvider
from tests.providers.support import KINDS, VENDORS, make


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class River(BaseModel):
    name: str


class City(BaseModel):
    """A city."""

    name: str
    size: Size = Size.SMALL
    kind: Literal["city"] = "city"
    river: River | None = Field(None, description="The largest one.")
    districts: list[River] = []


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


@dataclasses.dataclass
class Point:
    x: int
    y: int


JSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
}


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


@pytest.mark.parametrize(
    "schema", [City, Node, Open, Point, JSON], ids=["model", "recursive", "open", "dataclass", "json"]
)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_comes_in_the_form_of_its_schema(provider, kind, schema):
    async with make(kind, provider) as endpoint:
        reply = await endpoint.complete("Oslo", schema=schema)
        stream = endpoint.stream("Oslo", schema=schema)
        pieces = [piece async for piece in stream]

    assert "".join(pieces) == reply == stream.reply
    assert stream.reply.parsed == reply.parsed
    if schema is JSON:
        assert reply.parsed == json.loads(reply)
    else:
        assert isinstance(reply.parsed, schema)


async def test_each_api_gets_the_schema_in_its_own_place(provider):
    bodies = {}
    for kind in VENDORS:
        async with make(kind, provider) as endpoint:
            await endpoint.complete("Oslo", schema=JSON)
        bodies[kind] = provider.requests[-1].body
    closed = {**JSON, "required": ["name", "age", "tags"], "additionalProperties": False}

    form = bodies["openai"]["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "answer", "schema": closed, "strict": True}}
    assert bodies["responses"]["text"]["format"] == {
        "type": "json_schema", "name": "answer", "schema": closed, "strict": True,
    }  # fmt: skip
    assert bodies["anthropic"]["output_config"]["format"]["type"] == "json_schema"
    assert bodies["anthropic"]["output_config"]["format"]["schema"]["additionalProperties"] is False
    config = bodies["google"]["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", JSON)


async def test_a_form_that_is_open_on_purpose_is_not_asked_for_strictly(provider):
    async with make("openai", provider) as endpoint:
        await endpoint.complete("Oslo", schema=Open)
    form = provider.requests[-1].body["response_format"]["json_schema"]

    assert form["strict"] is False
    assert form["schema"]["additionalProperties"] is True


async def test_a_strict_schema_is_closed_and_complete_all_the_way_down(provider):
    async with make("openai", provider) as endpoint:
        await endpoint.complete("Oslo", schema=City)
    schema = provider.requests[-1].body["response_format"]["json_schema"]["schema"]
    text = json.dumps(schema)

    assert schema["required"] == ["name", "size", "kind", "river", "districts"]
    assert schema["$defs"]["River"]["additionalProperties"] is False
    assert '"default"' not in text
    assert schema["properties"]["river"]["description"] == "The largest one."


async def test_a_schema_is_not_changed_by_being_used(provider):
    schema = json.loads(json.dumps(JSON))
    for kind in KINDS:
        async with make(kind, provider) as endpoint:
            await endpoint.complete("Oslo", schema=schema)

    assert schema == JSON


async def test_a_wrapped_schema_is_taken_by_its_name(provider):
    async with make("openai", provider) as endpoint:
        reply = await endpoint.complete("Oslo", schema={"name": "person of note", "schema": JSON})
    form = provider.requests[-1].body["response_format"]["json_schema"]

    assert form["name"] == "person_of_note"
    assert set(reply.parsed) == {"name", "age", "tags"}


@pytest.mark.parametrize(
    ("schema", "answer", "problems"),
    [
        (City, "I do not know", ("json_invalid",)),
        (City, '{"name": "Oslo", "size": "huge"}', ("enum",)),
        (City, '{"size": "small"}', ("missing",)),
        (Point, '{"x": "one", "y": 2}', ("int_parsing",)),
        (JSON, "", ("json_invalid",)),
        (JSON, "[]", ("object_type",)),
        (JSON, '{"age": "secret planted"}', ("missing", "integer_type")),
        (JSON, '{"name": "x", "tags": ["a", 5]}', ("string_type",)),
        ({**JSON, "additionalProperties": False}, '{"name": "x", "planted": 1}', ("extra_forbidden",)),
        ({"type": "object", "properties": {"n": {"enum": [1, 2]}}}, '{"n": 3}', ("enum",)),
        ({"type": "object", "properties": {"n": {"const": 1}}}, '{"n": 3}', ("literal_error",)),
        ({"type": "object", "properties": {"n": {"anyOf": [{"type": "null"}, JSON]}}}, '{"n": 3}', ("union_error",)),
        ({"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}, '{"n": true}', ("integer_type",)),
        (
            {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "number"}}},
            '{"n": "x"}',
            ("number_type",),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_an_answer_that_does_not_fit_is_invalid_output_and_no_part_of_it_is_told(
    provider, schema, answer, problems
):
    provider.script(FakeAnswer(answer), FakeAnswer(answer))
    async with make("openai", provider) as endpoint:
        with pytest.raises(InvalidOutputError) as whole:
            await endpoint.complete("hi", schema=schema)
        with pytest.raises(InvalidOutputError) as stream:
            async for _ in endpoint.stream("hi", schema=schema):
                pass

    for error in (whole.value, stream.value):
        verdict = classify(error)
        assert (verdict.error_type, verdict.retryable, verdict.endpoint_fault) == (ErrorType.INVALID_OUTPUT, True, True)
        assert error.problems == problems
        assert error.reply == answer
        assert "planted" not in f"{error} {error!r}"
        assert error.__cause__ is None
        assert pickle.loads(pickle.dumps(error)).problems == problems


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (JSON, '{"name": "x", "age": 3.0, "other": [1]}'),
        ({"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}, '{"n": null}'),
        ({"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}, '{"a": 1}'),
        ({"type": "object", "properties": {"n": {"allOf": [{"type": "string"}]}}, "x-own": 5}, '{"n": "x"}'),
        (JSON, '```json\n{"name": "x"}\n```'),
        (City, '```\n{"name": "x"}\n```'),
    ],
    ids=["open", "nullable", "values", "unknown words", "fenced", "fenced for a model"],
)
async def test_an_answer_that_fits_is_parsed(provider, schema, answer):
    provider.script(FakeAnswer(answer))
    async with make("openai", provider) as endpoint:
        reply = await endpoint.complete("hi", schema=schema)

    assert reply == answer
    assert reply.parsed is not None


async def test_a_cut_answer_says_what_may_help(provider):
    async with make("openai", provider) as endpoint:
        with pytest.raises(InvalidOutputError, match="it was cut, a larger max_tokens may help") as caught:
            await endpoint.complete("Oslo", schema=City, max_tokens=2)

    assert caught.value.reply.finish_reason == "length"


async def test_a_call_of_a_tool_is_no_answer_in_another_form(provider):
    tool = {"type": "function", "function": {"name": "weather", "parameters": JSON}}
    async with make("openai", provider) as endpoint:
        reply = await endpoint.complete("Oslo", schema=City, tools=[tool])

    assert (reply.finish_reason, reply.parsed) == ("tool_calls", None)


async def test_a_retry_may_bring_an_answer_that_fits(provider, registry):
    provider.script(FakeAnswer("no JSON"))
    async with make("openai", provider) as endpoint:
        reply = await classified_retry(registry=registry)(endpoint.complete)("Oslo", schema=City)

    assert reply.parsed.name == "[moon] Oslo"


@pytest.mark.parametrize(
    "schema",
    ["City", 5, int, list[int], {"type": "string"}, {}, object()],
    ids=lambda value: type(value).__name__ + str(value)[:12],
)
async def test_what_is_no_schema_of_an_object_is_refused_before_anything_is_sent(provider, schema):
    async with make("openai", provider) as endpoint:
        with pytest.raises(ParameterError, match="schema must be a pydantic model or the JSON schema of an object"):
            await endpoint.complete("hi", schema=schema)

    assert provider.count() == 0
