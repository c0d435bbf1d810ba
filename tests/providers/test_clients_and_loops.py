"""Clients belong to a loop: made when they are needed, closed with it, and never left behind."""

from __future__ import annotations

import asyncio  # noqa: TID251 - loops of asyncio's, one after the other, are what this is about
import gc
import threading
import warnings
from contextlib import aclosing

import anyio
import pytest

from resilient_ai import Registry
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider
from tests.providers.support import KINDS, make


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


def closed_soon(provider: FakeProvider, connections: int = 0) -> int:
    """How many connections are open once the server has heard of those that were closed."""

    async def wait() -> None:
        await provider.until(lambda it: it.connections <= connections)

    anyio.run(wait)
    return provider.connections


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_ends_closes_its_clients(provider, kind, backend):
    endpoint = make(kind, provider)
    for _ in range(3):
        assert anyio.run(endpoint.complete, "hi", backend=backend) == "[moon] hi"

    assert closed_soon(provider) == 0


def test_a_stream_that_was_left_open_goes_with_its_loop(provider):
    endpoint = make("openai", provider)

    async def leave() -> None:
        stream = endpoint.stream("where are you")
        await anext(stream)
        left.append(stream)

    left: list[object] = []
    asyncio.run(leave())

    assert closed_soon(provider) == 0


def test_loops_that_are_closed_by_hand_lose_their_clients_to_the_next_one(provider):
    endpoint = make("openai", provider)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # whoever closes a loop so leaves its sockets to the collector
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(endpoint.complete("hi"))
            loop.close()
        del loop
        asyncio.run(endpoint.complete("hi"))
        gc.collect()

    assert closed_soon(provider) == 0


def test_loops_side_by_side_have_a_client_each(provider):
    endpoint = make("openai", provider)
    both = threading.Barrier(2)
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await endpoint.complete("hi"))
        await anyio.to_thread.run_sync(both.wait)
        answers.append(await endpoint.complete("hi"))

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["[moon] hi"] * 4
    assert closed_soon(provider) == 0


async def test_the_registry_closes_the_clients_of_all_endpoints_of_this_loop(provider):
    endpoints = [make(kind, provider, kind) for kind in KINDS]
    for each in endpoints:
        await each.complete("hi")
    await Registry(listeners=()).aclose()
    await provider.until(lambda it: it.connections == 0)

    assert [await each.complete("hi") for each in endpoints] == ["[moon] hi"] * len(KINDS)
    for each in endpoints:
        await each.aclose()


async def test_one_client_that_cannot_be_closed_does_not_keep_the_others_open(provider):
    class Stuck(OpenAIEndpoint):
        async def _close(self, client):
            await super()._close(client)
            raise OSError("stuck")

    stuck = Stuck("stuck", model="m", api_key="x", base_url=provider.base_url)
    other = make("openai", provider)
    for each in (stuck, other):
        await each.complete("hi")
    with pytest.raises(OSError, match="stuck"):
        await Registry(listeners=()).aclose()
    await provider.until(lambda it: it.connections == 0)


def test_an_endpoint_that_nobody_refers_to_takes_its_client_along(provider):
    async def main() -> None:
        endpoint = make("openai", provider)
        await endpoint.complete("hi")
        del endpoint
        gc.collect()  # the endpoint, and then its client
        gc.collect()
        await provider.until(lambda it: it.connections == 0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # as for a file that nobody closes
        asyncio.run(main())


async def test_calls_share_the_client_and_its_connections(provider):
    async with make("openai", provider) as endpoint:
        for _ in range(3):
            await endpoint.complete("hi")
        async with aclosing(endpoint.stream("hi")) as stream:
            assert [piece async for piece in stream] == ["[moon]", " hi"]

        assert provider.connections == 1
