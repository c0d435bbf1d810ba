"""A stream that has begun before the web framework sends its status."""

from __future__ import annotations

import gc

import anyio
import anyio.lowlevel
import openai
import pytest

from resilient_ai import CircuitOpenError, Endpoint, circuit_breaker, degrade_to, failover
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider
from resilient_ai.web import http_status, started

CUT = ConnectionResetError("cut")


class Pieces:
    """An async generator function that says when it ends, and how often it was asked."""

    def __init__(self, *items):
        self.items, self.given, self.closed = items, 0, 0

    async def __call__(self, *_args):
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                self.given += 1
                yield item
        finally:
            self.closed += 1


async def read(stream) -> list:
    return [item async for item in stream]


@pytest.mark.parametrize("items", [(), ("a",), ("a", "b", None)])
async def test_it_gives_all_items_and_then_ends(items):
    stream = await started(Pieces(*items)())

    assert await read(stream) == list(items)
    assert await read(stream) == []


async def test_an_error_of_the_first_item_is_raised_before_there_is_a_stream(registry):
    ask = circuit_breaker("it", failure_threshold=1, registry=registry)(Pieces(CUT).__call__)
    with pytest.raises(ConnectionResetError):
        await started(ask())
    with pytest.raises(CircuitOpenError) as caught:
        await started(ask())

    assert http_status(caught.value) == (503, {"Retry-After": "60"})


async def test_a_later_error_is_the_readers():
    stream = await started(Pieces("a", CUT)())

    assert await anext(stream) == "a"
    with pytest.raises(ConnectionResetError):
        await anext(stream)


async def test_nothing_is_read_ahead_but_the_first_item():
    pieces = Pieces("a", "b", "c")
    stream = await started(pieces())
    assert pieces.given == 1
    await anext(stream)
    assert pieces.given == 1
    await anext(stream)

    assert pieces.given == 2
    await stream.aclose()


@pytest.mark.parametrize("begun", [False, True])
async def test_closing_it_closes_the_stream_below(begun):
    pieces = Pieces("a", "b")
    async with await started(pieces()) as stream:
        if begun:
            await anext(stream)
        assert pieces.closed == 0

    assert pieces.closed == 1
    assert await read(stream) == []


async def test_a_caller_who_is_cancelled_before_the_first_item_leaves_nothing_open():
    closed = []

    async def silent():
        try:
            await anyio.sleep_forever()
            yield
        finally:
            closed.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started, silent())
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert closed == [True]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_stream_that_nobody_reads_gives_back_what_it_held(registry):
    """A client may go before the framework has read a single item."""
    ask = failover(Endpoint("us"), registry=registry, name="it")(Pieces("a", "b").__call__)
    stream = await started(ask())
    assert registry.endpoints["us"].stats().in_flight == 1
    del stream
    gc.collect()
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

    assert registry.endpoints["us"].stats().in_flight == 0


async def test_it_takes_what_a_coroutine_returns_and_the_coroutine_itself(us, registry):
    client = openai.AsyncOpenAI(api_key="x", base_url=us.base_url, max_retries=0)

    @circuit_breaker("it", registry=registry)
    async def chat(text: str):
        messages = [{"role": "user", "content": text}]
        return await client.chat.completions.create(model="m", messages=messages, stream=True)

    for stream in (await started(await chat("hi")), await started(chat("hi")), await started(chat.__wrapped__("hi"))):
        async with stream:
            chunks = await read(stream)
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == "[us] hi"
    await client.close()


async def test_an_endpoints_stream_and_a_fallback_can_be_started(us, registry):
    us.script("ok", "overloaded")
    async with OpenAIEndpoint("us", model="m", api_key="x", base_url=us.base_url) as endpoint:
        stream = await started(endpoint.stream("hi"))
        assert "".join(await read(stream)) == "[us] hi"

        @degrade_to("later", stream=True, registry=registry)
        async def tell():
            async for piece in endpoint.stream("hi"):
                yield piece

        assert await read(await started(tell())) == ["later"]


async def test_what_is_no_stream_is_said_to_be_none():
    async def answer():
        return "text"

    with pytest.raises(TypeError, match="read with `async for`, got a str; pass what the decorated function returns"):
        await started(answer())
    with pytest.raises(TypeError, match="got a list"):
        await started(["text"])


@pytest.fixture
def us():
    with FakeProvider("us") as provider:
        yield provider
