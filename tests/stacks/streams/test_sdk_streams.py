"""Streams as the SDKs of four APIs really return them, over loopback: begun, cut, silent, left, and taken over."""

from __future__ import annotations

import gc
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    CallTimeoutError,
    CircuitState,
    Endpoint,
    ErrorType,
    Registry,
    RejectedResultError,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    classify,
    classify_result,
    failover,
    watch,
)
from resilient_ai.testing import FakeProvider, Fault, VirtualClock
from tests.stacks.streams.support import at_rest

pytestmark = [
    # On trio the SDKs leave their inner generators to the collector; the connection itself is closed.
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    # Of Google's SDK, against aiohttp.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

ASKED = "one two three four"


class Sdk:
    """
    One SDK's client of one provider, as a user makes it.

    Args:
        kind: "openai" (chat), "responses", "anthropic", "google" (over httpx2), or "google on aiohttp", which that SDK
            takes by itself on asyncio.
        provider: Whom it talks to.
    """

    def __init__(self, kind: str, provider: FakeProvider) -> None:
        self.kind = kind
        make = {"anthropic": _anthropic, "google": _google, "google on aiohttp": _google_on_aiohttp}
        self.client, self._close = make.get(kind, _openai)(provider)

    async def open(self) -> Any:
        """The stream of an answer."""
        messages: Any = [{"role": "user", "content": ASKED}]
        if self.kind == "openai":
            return await self.client.chat.completions.create(model="m", messages=messages, stream=True)
        if self.kind == "responses":
            return await self.client.responses.create(model="m", input=ASKED, stream=True)
        if self.kind == "anthropic":
            return await self.client.messages.create(model="m", max_tokens=99, messages=messages, stream=True)
        return await self.client.aio.models.generate_content_stream(model="m", contents=ASKED)

    async def close(self) -> None:
        await self._close()


@cache
def _tls() -> ssl.SSLContext:
    """Reading the machine's certificates takes longer than all the rest of a test; once will do."""
    return ssl.create_default_context()


def _http() -> Any:
    import httpx2

    return httpx2.AsyncClient(verify=_tls())


def _openai(provider: FakeProvider) -> Any:
    import openai

    client = openai.AsyncOpenAI(api_key="x", base_url=provider.base_url, max_retries=0, http_client=_http())
    return client, client.close


def _anthropic(provider: FakeProvider) -> Any:
    import anthropic

    client = anthropic.AsyncAnthropic(api_key="x", base_url=provider.url, max_retries=0, http_client=_http())
    return client, client.close


def _google_options(provider: FakeProvider) -> Any:
    return {
        "base_url": provider.url,
        "retry_options": {"attempts": 1},
        "client_args": {"verify": _tls()},
        "async_client_args": {"ssl": _tls()},
    }


def _google(provider: FakeProvider) -> Any:
    from google import genai

    http = _http()
    options: Any = {**_google_options(provider), "httpx_async_client": http}
    client = genai.Client(api_key="x", http_options=options)

    async def close() -> None:
        await client.aio.aclose()
        await http.aclose()
        client.close()

    return client, close


def _google_on_aiohttp(provider: FakeProvider) -> Any:
    from google import genai

    client = genai.Client(api_key="x", http_options=_google_options(provider))

    async def close() -> None:
        await client.aio.aclose()
        client.close()

    return client, close


def text_of(item: Any) -> str:
    """The text that an item of a stream carries."""
    if (choices := getattr(item, "choices", None)) is not None:
        return "".join(each.delta.content or "" for each in choices)
    if getattr(item, "candidates", None) is not None:
        return item.text or ""
    kind = getattr(item, "type", "")
    if kind == "content_block_delta":
        return getattr(item.delta, "text", "")
    return item.delta if kind == "response.output_text.delta" else ""


@pytest.fixture(
    params=[
        "responses",
        "google",
        "google on aiohttp",
        # Chunks and events of these two are read in many other tests.
        pytest.param("openai", marks=pytest.mark.slow),
        pytest.param("anthropic", marks=pytest.mark.slow),
    ]
)
def kind(request: pytest.FixtureRequest, anyio_backend: str) -> str:
    if request.param == "google on aiohttp" and (
        anyio_backend == "trio" or importlib.util.find_spec("aiohttp") is None
    ):
        pytest.skip("aiohttp runs on asyncio only")
    return str(request.param)


@pytest.fixture
def virtual() -> bool:
    """Whether the registry has a clock that a test moves."""
    return False


class World:
    """Two providers of one kind, and a stack over them."""

    def __init__(self, kind: str, us: FakeProvider, eu: FakeProvider, clock: VirtualClock | None) -> None:
        self.kind, self.us, self.eu, self.clock = kind, us, eu, clock
        self.leaves_replies_open = False
        self.registry = registry = Registry(clock=clock, listeners=())
        self.sdks = [Sdk(kind, us), Sdk(kind, eu)]
        self.asked: list[str] = []
        self.opened: list[Any] = []
        endpoints = [Endpoint(each.name, client=sdk) for each, sdk in zip((us, eu), self.sdks, strict=True)]

        @classified_retry("retry", registry=registry)
        @failover(*endpoints, name="regions", strategy="priority", registry=registry)
        @adaptive_limit("limit", registry=registry)
        @circuit_breaker(
            "circuit",
            timeout_seconds=20,
            idle_timeout_seconds=3,
            failure_threshold=1,
            reject=classify_result,
            registry=registry,
        )
        async def ask(endpoint: Endpoint) -> Any:
            self.asked.append(endpoint.name)
            self.opened.append(await endpoint.client.open())
            return self.opened[-1]

        self.ask = ask

    async def pass_time_while(self, claim: Callable[[], bool]) -> None:
        """Move the clock on, once the first provider has got its request, for as long as this is so."""
        await self.us.until(lambda it: it.count() == 1)
        while claim():
            self.clock.advance(1)
            await anyio.lowlevel.checkpoint()

    def us_failed_alone(self) -> bool:
        """Whether the first endpoint and its circuit have counted one failure, and the second nothing."""
        us, eu = (self.registry.endpoints[each].stats() for each in ("us", "eu"))
        circuit = self.registry.circuit_breakers["circuit[us]"].stats()
        return (us.failures, us.ok, eu.failures, eu.ok, circuit.total_failures) == (1, 0, 0, 0, 1)

    async def at_rest(self) -> bool:
        """Whether nothing is held here, and no provider is still answering."""
        gc.collect()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        if not self.leaves_replies_open:
            for each in (self.us, self.eu):
                await each.until(lambda it: it.in_flight == 0)
        return at_rest(self.registry)


@pytest.fixture
async def world(kind: str, us: FakeProvider, eu: FakeProvider, virtual: bool) -> AsyncIterator[World]:
    made = World(kind, us, eu, VirtualClock() if virtual else None)
    yield made
    for each in made.sdks:
        await each.close()


async def texts(stream: Any) -> list[str]:
    return [text for item in [item async for item in stream] if (text := text_of(item))]


async def test_the_caller_gets_the_sdks_own_stream_and_all_of_it(world):
    stream = await world.ask()

    assert isinstance(stream, type(world.opened[0]))
    assert "".join(await texts(stream)) == f"[us] {ASKED}"
    assert world.registry.endpoints["us"].stats().ok == 1
    assert await world.at_rest()


@pytest.mark.parametrize(
    "fault",
    ["overloaded", Fault.reset(), Fault.reset(after_items=0), Fault.tear(after_items=0)],
    ids=["refused", "reset", "reset before content", "torn before content"],
)
async def test_a_failure_before_the_first_content_moves_on(world, fault):
    world.us.script(fault)
    with watch() as seen:
        stream = await world.ask()

    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))
    assert "".join(await texts(stream)) == f"[eu] {ASKED}"
    assert world.registry.endpoints["us"].stats().failures == 1
    assert world.registry.circuit_breakers["circuit[us]"].state is CircuitState.OPEN
    assert await world.at_rest()


async def test_an_error_inside_the_stream_before_the_first_content_moves_on(world):
    world.us.script(Fault.in_stream("overloaded", after_items=0))
    stream = await world.ask()

    assert "".join(await texts(stream)) == f"[eu] {ASKED}"
    assert world.registry.endpoints["us"].stats().failures == 1
    assert await world.at_rest()


@pytest.mark.parametrize("virtual", [True])
async def test_silence_before_the_first_content_moves_on(world):
    world.us.script(Fault.stall(after_items=0))
    got: list[str] = []

    async def caller() -> None:
        got.extend(await texts(await world.ask()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await world.pass_time_while(lambda: world.asked == ["us"])

    assert "".join(got) == f"[eu] {ASKED}"
    assert world.registry.endpoints["us"].stats().failures == 1
    assert await world.at_rest()
    assert world.us.disconnects == 1


# -- after the first content, the error is the consumer's and the failure the endpoint's


@pytest.mark.parametrize(
    "fault", [Fault.reset(after_items=2), Fault.tear(after_items=2)], ids=["connection reset", "torn"]
)
async def test_a_stream_that_breaks_is_its_endpoints_failure(world, fault):
    world.us.script(fault)
    got: list[str] = []
    stream = await world.ask()
    with pytest.raises(Exception) as caught:
        async for item in stream:
            got.append(text_of(item))  # noqa: PERF401 - what came before the error is wanted

    assert classify(caught.value).error_type is ErrorType.NETWORK_ERROR
    assert f"[us] {ASKED}".startswith("".join(got))
    assert "".join(got)
    assert world.us_failed_alone()
    assert await world.at_rest()


async def test_an_error_inside_the_stream_is_its_endpoints_failure(world):
    world.us.script(Fault.in_stream("overloaded", after_items=2))
    stream = await world.ask()
    with pytest.raises(Exception) as caught:
        await texts(stream)

    error = caught.value
    if isinstance(error, RejectedResultError):  # Responses say it in an ordinary event, which nothing raises
        assert error.result.type == "response.failed"
    assert world.us_failed_alone()
    assert await world.at_rest()


@pytest.mark.parametrize("virtual", [True])
async def test_a_stream_that_falls_silent_is_cut(world):
    world.us.script(Fault.stall(after_items=2))
    errors: list[CallTimeoutError] = []
    stream = await world.ask()

    async def reader() -> None:
        with pytest.raises(CallTimeoutError) as caught:
            await texts(stream)
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await world.pass_time_while(lambda: not errors)

    assert errors[0].timeout_seconds == 3
    assert world.us_failed_alone()
    assert await world.at_rest()
    assert world.us.disconnects == 1


# -- leaving


@pytest.mark.parametrize("how", ["close", "drop", "never begin", "cancel"])
async def test_a_consumer_who_leaves_holds_nothing_and_is_nobodys_failure(world, how):
    world.us.script(Fault.stall(after_items=2))  # else the provider has said all before anybody leaves
    stream = await world.ask()
    if how != "never begin":
        await anext(stream)
    if how == "cancel":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(texts, stream)
            await world.us.until(lambda it: it.requests[0].items == 2)
            tasks.cancel_scope.cancel()
    elif how == "close":
        await (stream.close if hasattr(stream, "close") else stream.aclose)()
    world.opened.clear()
    del stream
    # Google's SDK closes its generator and not the reply below it, with a policy or without one. `GoogleEndpoint` does.
    world.leaves_replies_open = world.kind.startswith("google") and how != "cancel"

    assert await world.at_rest()
    assert world.us.disconnects == int(not world.leaves_replies_open)
    stats = world.registry.circuit_breakers["circuit[us]"].stats()
    assert (stats.total_failures, stats.ok, world.registry.endpoints["us"].stats().failures) == (0, 0, 0)


async def test_a_stream_may_be_read_by_another_task(world):
    stream = await world.ask()
    got: list[str] = []

    async def reader() -> None:
        got.extend(await texts(stream))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)

    assert "".join(got) == f"[us] {ASKED}"
    assert await world.at_rest()
