"""What users see of endpoints, replies and usage; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, Literal, assert_type

import anthropic
import openai
from google import genai
from pydantic import BaseModel

from resilient_ai import Registry, circuit_breaker, failover
from resilient_ai.providers import (
    AnthropicEndpoint,
    ContentFilterError,
    GoogleEndpoint,
    InvalidOutputError,
    OpenAIEndpoint,
    ProviderEndpoint,
    Reply,
    ReplyStream,
    ToolCall,
)
from resilient_ai.testing import FakeAnswer, FakeProvider, Fault
from resilient_ai.usage import Usage, usage_of


class City(BaseModel):
    name: str


us = OpenAIEndpoint("us", model="gpt-5", api="responses", params={"temperature": 0.2})
azure = OpenAIEndpoint("azure", model="m", client=openai.AsyncAzureOpenAI(azure_endpoint="https://x", api_version="1"))
bedrock = AnthropicEndpoint("bedrock", model="m", client=anthropic.AsyncAnthropicBedrock())  # pyright: ignore[reportPrivateImportUsage]
gemini = GoogleEndpoint("gemini", model="gemini-3-flash", client=genai.Client())
OpenAIEndpoint("us", model="m", api="completions")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@failover(us, gemini)
@circuit_breaker
async def ask(endpoint: ProviderEndpoint, prompt: str) -> Reply:
    return await endpoint.complete(prompt, schema=City, tools=[], temperature=0.5)


async def uses() -> None:
    reply = await ask("hello")
    assert_type(reply, Reply)
    assert_type(reply.finish_reason, Literal["stop", "length", "tool_calls", "content_filter", "refusal"] | None)
    assert_type(reply.usage, Usage | None)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.tool_calls[0].arguments, dict[str, Any])
    assert_type(reply.with_text("x"), Reply)
    text: str = reply
    assert_type(text.upper(), str)
    assert_type(usage_of(reply), Usage | None)

    stream = us.stream([{"role": "user", "content": "hello"}])
    assert_type(stream, ReplyStream)
    async for piece in stream:
        assert_type(piece, str)
    assert_type(stream.reply, Reply | None)
    async with us.stream("hello") as stream:
        assert_type(stream, ReplyStream)
    async for piece in circuit_breaker(us.stream)("hello"):
        assert_type(piece, str)

    assert_type(await us.embed(["hello"]), list[list[float]])
    await Registry().aclose()
    try:
        await us.complete("hello")
    except ContentFilterError as error:
        assert_type(error.reply, Reply)
    except InvalidOutputError as error:
        assert_type(error.problems, tuple[str, ...])


def rehearses(provider: FakeProvider) -> None:
    provider.script("refusal", FakeAnswer("x", tool_calls=[ToolCall("a", "f")]), Fault.in_stream("overloaded"), 503)
    FakeProvider(answer=lambda question: FakeAnswer(refusal=question))
    FakeProvider(answer=lambda question: question.upper())
    FakeProvider(answer=lambda question: 5)  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType,reportReturnType]
