"""One stack over four APIs answers questions of every shape while any three of them fail, each in another way."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, aclosing

import pytest
from pydantic import BaseModel

from resilient_ai import circuit_breaker, classified_retry, degrade_to, failover
from resilient_ai.testing import FakeProvider, Fault
from tests.providers.support import VENDORS, make

HTML = Fault.reply(200, "<html><h1>maintenance</h1></html>", {"content-type": "text/html"})
TROUBLE = [
    ["overloaded", Fault.reset(), "insufficient_quota"],
    ["invalid_key", "refusal", Fault.in_stream("server_error", after_items=0)],
    [HTML, Fault.cut(after_items=0), "rate_limit"],
    [Fault.tear(after_items=0), "model_not_found", 504],
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]
IMAGE = "data:image/png;base64,iVBORw0KGgo="


class Place(BaseModel):
    name: str
    inhabitants: int
    river: str | None = None


class World:
    """Four providers, four endpoints, and one stack over them whose last resort is a text."""

    def __init__(self, registry, survivor: str) -> None:
        at = VENDORS.index(survivor) + 1
        self.order = [*VENDORS[at:], *VENDORS[:at]]  # the survivor is asked last
        self.providers = {kind: FakeProvider(kind) for kind in VENDORS}
        self.registry = registry

    def start(self) -> None:
        endpoints = [make(kind, self.providers[kind], kind) for kind in self.order]
        self.endpoints = endpoints

        @degrade_to("later", registry=self.registry)
        @classified_retry(registry=self.registry)
        @failover(*endpoints, strategy="priority", registry=self.registry)
        @circuit_breaker(registry=self.registry)
        async def ask(endpoint, prompt, **params):
            return await endpoint.complete(prompt, **params)

        @degrade_to("later", registry=self.registry)
        @classified_retry(registry=self.registry)
        @failover(*endpoints, strategy="priority", registry=self.registry)
        @circuit_breaker(registry=self.registry)
        async def stream(endpoint, prompt, **params):
            async with aclosing(endpoint.stream(prompt, **params)) as pieces:
                async for piece in pieces:
                    yield piece

        self.ask, self.stream = ask, stream

    def fail(self, faults) -> None:
        for kind, fault in zip(self.order, faults, strict=False):
            self.providers[kind].outage(fault)

    def everybody_was_asked(self) -> bool:
        return all(provider.count() for provider in self.providers.values())


@pytest.fixture(params=VENDORS)
async def world(request, registry):
    world = World(registry, request.param)
    with ExitStack() as running:
        for provider in world.providers.values():
            running.enter_context(provider)
        world.start()
        async with AsyncExitStack() as closing:
            for each in world.endpoints:
                await closing.enter_async_context(each)
            yield world


@pytest.fixture(params=[0, 1], ids=["one trouble", "another"])
def trouble(request, world):
    """Two of the four troubles for each survivor, so that each comes twice."""
    world.fail(TROUBLE[(VENDORS.index(world.order[-1]) + request.param) % len(TROUBLE)])
    return world


async def test_a_plain_text(trouble):
    survivor = trouble.order[-1]
    reply = await trouble.ask("where is the moon")

    assert reply == f"[{survivor}] where is the moon"
    assert (reply.finish_reason, reply.endpoint) == ("stop", survivor)
    assert trouble.everybody_was_asked()


async def test_a_stream(trouble):
    survivor = trouble.order[-1]
    pieces = [piece async for piece in trouble.stream("where is the moon")]

    assert pieces == [f"[{survivor}]", " where", " is", " the", " moon"]
    assert trouble.everybody_was_asked()


async def test_a_round_trip_with_a_tool(trouble):
    survivor = trouble.order[-1]
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how is Oslo"}]
    first = await trouble.ask(messages, tools=TOOLS, tool_choice="required")
    (call,) = first.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    second = await trouble.ask([*messages, first.message, result], tools=TOOLS)

    assert (first.finish_reason, call.name, call.arguments) == ("tool_calls", "weather", {"place": "how is Oslo"})
    assert (second, second.endpoint) == (f"[{survivor}] how is Oslo: rain", survivor)
    assert trouble.everybody_was_asked()


async def test_a_pydantic_schema(trouble):
    survivor = trouble.order[-1]
    reply = await trouble.ask("Oslo", schema=Place)

    assert isinstance(reply.parsed, Place)
    assert reply.parsed.name == f"[{survivor}] Oslo"
    assert trouble.everybody_was_asked()


async def test_a_message_with_an_image(trouble):
    survivor = trouble.order[-1]
    parts = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": IMAGE}}]

    assert await trouble.ask([{"role": "user", "content": parts}]) == f"[{survivor}] what is this"


async def test_when_all_four_fail_the_last_resort_answers(world, clock):
    world.fail(["overloaded", Fault.reset(), "insufficient_quota", "invalid_key"])
    async with clock.autojump():
        assert await world.ask("where is the moon") == "later"
        assert [piece async for piece in world.stream("where is the moon")] == ["later"]


@pytest.mark.parametrize("then", VENDORS)
async def test_a_conversation_moves_from_one_api_to_another_between_a_call_of_a_tool_and_its_result(world, then):
    """What one vendor's model called, another one's hears the result of."""
    first_by = next(each for each in world.endpoints if each.name == world.order[-1])
    second_by = next(each for each in world.endpoints if each.name == then)
    messages = [{"role": "user", "content": "how is Oslo"}]
    first = await first_by.complete(messages, tools=TOOLS)
    messages += [first.message, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"}]
    second = await second_by.complete(messages, tools=TOOLS)

    assert second == f"[{then}] how is Oslo: rain"
