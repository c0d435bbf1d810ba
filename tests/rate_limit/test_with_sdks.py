"""Usage and headers as real SDKs hand them out, over loopback."""

from __future__ import annotations

from contextlib import suppress

import anthropic
import openai
import pytest

from resilient_ai import Endpoint, failover, rate_limit
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint
from resilient_ai.testing import FakeProvider, Fault

# On trio the SDKs leave their inner generators to the collector; the connection itself is closed.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
MESSAGES = [{"role": "user", "content": "tell me something about the weather"}]


@pytest.fixture
def provider():
    with FakeProvider("provider") as each:
        yield each


def limited(registry, fn):
    """With 1,000 tokens in its bucket."""
    return rate_limit("q", tokens_per_minute=12_000, requests_per_minute=600, cost=500, registry=registry)(fn)


def settled(registry, usage):
    """Whether all that is missing in the bucket is what the answer said it took."""
    return registry.rate_limits["q"].stats().tokens_left == 1000 - usage


async def test_a_chat_completion_of_openai(registry, provider):
    async with openai.AsyncOpenAI(api_key="none", base_url=provider.base_url, max_retries=0) as client:
        ask = limited(registry, client.chat.completions.create)
        answer = await ask(model="gpt-4o-mini", messages=MESSAGES)

    assert settled(registry, answer.usage.total_tokens)


async def test_a_stream_of_openai_that_was_asked_for_its_usage(registry, provider):
    async with openai.AsyncOpenAI(api_key="none", base_url=provider.base_url, max_retries=0) as client:
        ask = limited(registry, client.chat.completions.create)
        options = {"include_usage": True}
        stream = await ask(model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options=options)
        usage = [chunk.usage async for chunk in stream][-1]

    assert settled(registry, usage.total_tokens)


async def test_a_stream_of_anthropic_which_tells_its_usage_in_parts(registry, provider):
    async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url, max_retries=0) as client:
        ask = limited(registry, client.messages.create)
        stream = await ask(model="claude-haiku-4-5", messages=MESSAGES, max_tokens=100, stream=True)
        events = [event async for event in stream]
    read = events[0].message.usage.input_tokens
    written = next(event.usage.output_tokens for event in events if event.type == "message_delta")

    assert written > 1
    assert settled(registry, read + written)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [OpenAIEndpoint, AnthropicEndpoint])
async def test_the_endpoints_of_this_package_whatever_the_function_returns(registry, provider, kind, stream):
    url = provider.base_url if kind is OpenAIEndpoint else provider.url
    us = kind("us", model="model", base_url=url, api_key="none")
    seen = []

    @failover(us, registry=registry)
    @rate_limit("q", tokens_per_minute=12_000, cost=500, registry=registry)
    async def ask(endpoint):
        if stream:
            pieces = endpoint.stream("tell me something about the weather")
            _ = [piece async for piece in pieces]
            reply = pieces.reply
        else:
            reply = await endpoint.complete("tell me something about the weather")
        seen.append(reply.usage.input_tokens + reply.usage.output_tokens)
        return reply.upper()  # which knows nothing any more

    async with us:
        await ask()

    assert registry.rate_limits["q[us]"].stats().tokens_left == 1000 - seen[0]


LOW = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "3"}
NONE = {"x-ratelimit-remaining-requests": "0", "retry-after": "7"}


@pytest.mark.parametrize(("reply", "expected"), [((200, LOW), (3, 0, 1)), ((429, NONE), (0, 7, 0.9))])
async def test_headers_of_a_raw_response_and_of_a_refusal(registry, clock, provider, reply, expected):
    status, headers = reply
    provider.script(Fault.reply(status, {"choices": []}, headers))
    async with openai.AsyncOpenAI(api_key="none", base_url=provider.base_url, max_retries=0) as client:
        ask = limited(registry, client.chat.completions.with_raw_response.create)
        with suppress(openai.RateLimitError):
            await ask(model="gpt-4o-mini", messages=MESSAGES)
    stats = registry.rate_limits["q"].stats()

    assert (stats.requests_left, stats.paused_for, stats.factor) == expected


async def test_an_endpoint_s_numbers_are_kept(registry, provider):
    us = OpenAIEndpoint("us", model="model", base_url=provider.base_url, api_key="none")
    us.requests_per_minute = 30

    @failover(us, Endpoint("eu"), registry=registry)
    @rate_limit("q", requests_per_minute=60, registry=registry)
    async def ask(endpoint):
        return await endpoint.complete("hello")

    assert registry.rate_limits["q[us]"].stats().requests_per_minute == 30
    assert registry.rate_limits["q[eu]"].stats().requests_per_minute == 60
