"""Failover of token streams: before the first item, and never after it."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, failover
from resilient_ai._core.call_facts import watch
from resilient_ai.types import EndpointState

US, EU = Endpoint("us"), Endpoint("eu")


class Streams:
    """Scripted streams: what each endpoint yields; an exception among the items is raised in its place."""

    def __init__(self, **scripts) -> None:
        self.scripts = scripts
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def __call__(self, endpoint):
        self.opened.append(endpoint.name)
        try:
            for item in self.scripts[endpoint.name]:
                await anyio.lowlevel.checkpoint()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed.append(endpoint.name)


@pytest.fixture
def over(registry):
    def make(streams, **settings):
        async def tokens(endpoint):
            async with aclosing(streams(endpoint)) as items:
                async for item in items:
                    yield item

        return failover(US, EU, name="tokens", strategy="priority", registry=registry, **settings)(tokens)

    return make


async def test_a_stream_that_fails_before_its_first_item_comes_from_another_endpoint(over):
    streams = Streams(us=[OSError("down")], eu=["a", "b"])
    with watch() as seen:
        items = [item async for item in over(streams)()]

    assert items == ["a", "b"]
    assert streams.opened == streams.closed == ["us", "eu"]
    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))


async def test_a_stream_that_breaks_later_is_raised_as_that_endpoints_failure_and_never_repeated(over, registry):
    streams = Streams(us=["a", OSError("cut")], eu=["a", "b"])
    items = []
    with pytest.raises(OSError, match="cut"):
        async for item in over(streams)():
            items.append(item)  # noqa: PERF401 - the items before the error matter

    assert items == ["a"]
    assert streams.opened == ["us"]
    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


async def test_when_no_stream_begins_the_error_names_each_endpoint(over):
    streams = Streams(us=[OSError("down")], eu=[TimeoutError()])

    with pytest.raises(AllEndpointsFailedError, match=r"us: network_error .* eu: timeout"):
        await anext(over(streams)())


async def test_a_consumer_that_leaves_early_is_neutral_and_closes_everything(over, registry):
    streams = Streams(us=["a", "b", "c"], eu=[])
    async with aclosing(over(streams)()) as items:
        async for _ in items:
            break
    stats = registry.endpoints["us"].stats()

    assert streams.closed == ["us"]
    assert (stats.calls, stats.failures, stats.in_flight) == (0, 0, 0)


async def test_a_stream_counts_when_it_ends_with_the_time_of_its_first_item(over, registry, clock):
    async def tokens(endpoint):
        clock.advance(1)
        yield "a"
        clock.advance(100)
        yield "b"

    call = failover(US, registry=registry)(tokens)
    async with aclosing(call()) as items:
        await anext(items)
        before = registry.endpoints["us"].stats().calls
        rest = [item async for item in items]
    stats = registry.endpoints["us"].stats()

    assert (before, rest, stats.calls, stats.latency_p50) == (0, ["b"], 1, 1)


async def test_an_empty_stream_is_an_answer(over, registry):
    streams = Streams(us=[], eu=["a"])

    assert [item async for item in over(streams)()] == []
    assert registry.endpoints["us"].stats().calls == 1


async def test_a_value_that_the_consumer_sends_in_is_refused_and_not_dropped(over, registry):
    streams = Streams(us=["a", "b"], eu=[])
    items = over(streams)()
    await items.asend(None)
    with pytest.raises(TypeError, match="takes no values by asend"):
        await items.asend("mine")

    assert registry.endpoints["us"].stats().failures == 0
    assert streams.closed == ["us"]


async def test_what_the_consumer_throws_in_is_not_the_endpoints_failure(over, registry):
    streams = Streams(us=["a", "b"], eu=[])
    items = over(streams)()
    await anext(items)
    with pytest.raises(OSError, match="mine"):
        await items.athrow(OSError("mine"))

    assert registry.endpoints["us"].stats().failures == 0
    assert streams.closed == ["us"]
