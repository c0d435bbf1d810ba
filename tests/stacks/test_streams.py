"""Token streams through whole stacks, over real HTTP: what the consumer gets, what is counted, what is closed."""

from __future__ import annotations

import random
import warnings
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anthropic  # noqa: F401 - loaded before the clock of a call runs: under load that takes longer than its timeout
import anyio
import openai  # noqa: F401
import pytest

from resilient_ai import (
    CallTimeoutError,
    CircuitState,
    Endpoint,
    ErrorType,
    Registry,
    StreamTruncatedError,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    classify,
    degrade_to,
    failover,
    watch,
)
from resilient_ai.providers import AnthropicEndpoint, HTTPEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import FakeProvider, Fault
from resilient_ai.types import EndpointState

KINDS = ["openai", "anthropic", "http"]
IDLE = 0.4
ANSWER = ["[eu]", " a", " b", " c"]


@pytest.fixture
def registry() -> Registry:
    """Real time: sockets know no other."""
    return Registry(rng=random.Random(1), listeners=())


def endpoint_of(kind: str, provider: FakeProvider) -> ProviderEndpoint:
    if kind == "openai":
        return OpenAIEndpoint(provider.name, model="gpt-4o-mini", api_key="sk-none", base_url=provider.base_url)
    if kind == "anthropic":
        return AnthropicEndpoint(provider.name, model="claude-haiku-4-5", api_key="sk-none", base_url=provider.url)
    return HTTPEndpoint(provider.name, url=f"{provider.url}/complete")


@pytest.fixture(params=KINDS)
async def endpoints(request, us, eu):
    async with endpoint_of(request.param, us) as first, endpoint_of(request.param, eu) as second:
        yield first, second


@pytest.fixture
def tokens(endpoints, registry):
    """The whole stack over two regions, the first preferred."""

    @degrade_to("[later]", registry=registry)
    @classified_retry("retry", registry=registry)
    @failover(*endpoints, name="regions", strategy="priority", registry=registry)
    @circuit_breaker("circuit", timeout_seconds=5, idle_timeout_seconds=IDLE, registry=registry)
    @adaptive_limit("limit", registry=registry)
    async def tokens(endpoint: ProviderEndpoint, prompt: str) -> AsyncGenerator[str, None]:
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    return tokens


def at_rest(registry: Registry) -> bool:
    """Whether no policy believes that a call is under way."""
    return not any(each.stats().in_flight for each in (*registry.endpoints.values(), *registry.limits.values()))


async def read(stream) -> list[str]:
    return [item async for item in stream]


# -- before the first item


async def test_a_healthy_stream_arrives_as_it_was_sent(tokens, registry):
    with watch() as seen:
        items = await read(tokens("a b c"))

    assert items == ["[us]", " a", " b", " c"]
    assert seen.endpoint == "us"
    assert at_rest(registry)


@pytest.mark.parametrize(
    "fault",
    ["overloaded", "rate_limit", "insufficient_quota", "invalid_key", 502, Fault.reset(), Fault.reset(after_items=0)],
    ids=str,
)
async def test_what_goes_wrong_before_the_first_item_is_not_seen_by_the_consumer(tokens, us, registry, fault):
    us.script(fault)
    with watch() as seen:
        items = await read(tokens("a b c"))

    assert items == ANSWER
    assert seen.endpoints_tried == ("us", "eu")
    assert registry.endpoints["us"].stats().state is EndpointState.RESTING
    assert at_rest(registry)


@pytest.mark.parametrize("fault", [Fault.in_stream("openai_server_error", after_items=0), Fault.cut(after_items=0)])
async def test_an_error_inside_a_200_moves_on_like_any_other(tokens, us, fault):
    us.script(fault)

    assert await read(tokens("a b c")) == ANSWER


async def test_when_every_region_is_gone_the_fallback_is_one_item(tokens, us, eu):
    us.outage("insufficient_quota")
    eu.outage("invalid_key")
    with watch() as seen:
        items = await read(tokens("a b c"))

    assert items == ["[later]"]
    assert seen.degraded


# -- after it


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.tear(), Fault.reset(after_items=1)], ids=lambda fault: fault.name)
async def test_a_stream_that_breaks_off_is_an_error_of_that_region_and_nothing_is_repeated(
    tokens, us, eu, registry, fault
):
    us.script(fault)
    items = []
    with pytest.raises(Exception) as broken:
        async for item in tokens("a b c"):
            items.append(item)  # noqa: PERF401 - the items before the error matter

    assert classify(broken.value).error_type is ErrorType.NETWORK_ERROR
    assert items == ["[us]"]
    assert (us.count(), eu.count()) == (1, 0)
    assert registry.endpoints["us"].stats().failures == 1
    assert registry.circuit_breakers["circuit[us]"].stats().total_failures == 1
    assert registry.retries["retry"].stats().retries == 0
    assert at_rest(registry)


async def test_a_cleanly_cut_stream_is_no_success(tokens, us):
    us.script(Fault.cut(after_items=2))
    with pytest.raises(StreamTruncatedError):
        await read(tokens("a b c"))


async def test_a_stream_that_falls_silent_is_given_up_after_the_idle_timeout(tokens, us, registry):
    us.script(Fault.stall(after_items=1))
    with pytest.raises(CallTimeoutError, match=f"timeout_seconds={IDLE}"):
        await read(tokens("a b c"))
    await us.until(lambda it: it.disconnects == 1)

    assert registry.circuit_breakers["circuit[us]"].stats().total_failures == 1
    assert at_rest(registry)


# -- leaving early


async def test_a_consumer_who_leaves_closes_everything_and_the_server_sees_it(tokens, us, registry):
    us.item_seconds = 0.05
    async with aclosing(tokens("a b c")) as stream:
        async for _ in stream:
            break
    await us.until(lambda it: it.disconnects == 1)

    assert neutral(registry)


async def test_break_without_aclosing_closes_everything_too(tokens, us, registry, anyio_backend):
    us.item_seconds = 0.05
    with warnings.catch_warnings():
        if anyio_backend == "trio":  # tells of every generator that is left to the garbage collector
            warnings.simplefilter("ignore", ResourceWarning)
        async for _ in tokens("a b c"):
            break
        await us.until(lambda it: it.disconnects == 1)
        await anyio.wait_all_tasks_blocked()

    assert neutral(registry)


async def test_cancellation_in_the_middle_closes_everything_and_blames_nobody(tokens, us, registry):
    us.script(Fault.stall(after_items=2))
    items, second = [], anyio.Event()

    async def consume() -> None:
        async with aclosing(tokens("a b c")) as stream:
            async for item in stream:
                items.append(item)
                if len(items) == 2:
                    second.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await second.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await us.until(lambda it: it.disconnects == 1)

    assert items == ["[us]", " a"]
    assert neutral(registry)


async def test_cancellation_before_the_first_item_closes_everything_and_blames_nobody(tokens, us, registry):
    us.script(Fault.stall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, tokens("a b c"))
        await us.until(lambda it: it.in_flight)
        tasks.cancel_scope.cancel()
    await us.until(lambda it: it.disconnects == 1)

    assert neutral(registry)


async def test_a_stream_that_is_never_read_asks_nobody(tokens, us):
    async with aclosing(tokens("a b c")):
        pass

    assert us.count() == 0


def neutral(registry: Registry) -> bool:
    circuit = registry.circuit_breakers["circuit[us]"].stats()
    endpoint = registry.endpoints["us"].stats()
    return (
        circuit.state is CircuitState.CLOSED
        and circuit.total_failures == endpoint.failures == endpoint.calls == 0
        and at_rest(registry)
    )


# -- hedged


async def test_the_loser_of_a_hedged_stream_is_hung_up_on(endpoints, us, eu, registry):
    @failover(*endpoints, name="regions", strategy="priority", hedge_after=0.1, registry=registry)
    async def tokens(endpoint: ProviderEndpoint, prompt: str) -> AsyncGenerator[str, None]:
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    us.script(Fault.stall())
    items = await read(tokens("a b c"))
    await us.until(lambda it: it.disconnects == 1)

    assert items == ANSWER
    assert eu.disconnects == 0
    assert at_rest(registry)


# -- other orders, and what cannot be stacked


async def test_retries_below_failover_come_before_the_next_region(endpoints, us, eu, registry):
    @failover(*endpoints, strategy="priority", registry=registry)
    @classified_retry(registry=registry)
    async def tokens(endpoint: ProviderEndpoint, prompt: str) -> AsyncGenerator[str, None]:
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    us.script(Fault.reply(500, "", {"retry-after-ms": "1"}), "ok")
    items = await read(tokens("a b c"))

    assert items == ["[us]", " a", " b", " c"]
    assert (us.count(), eu.count()) == (2, 0)


def test_batched_refuses_streams_and_says_why(registry):
    async def tokens(prompts: list[str]):
        yield prompts

    with pytest.raises(TypeError, match=r"tokens is an async generator"):
        batched(registry=registry)(tokens)


async def test_a_method_may_be_a_stream(registry):
    class Chat:
        @degrade_to("[later]", registry=registry)
        @classified_retry(registry=registry)
        @failover(Endpoint("us"), registry=registry)
        @circuit_breaker(registry=registry)
        async def tokens(self, endpoint: Endpoint, count: int):
            for number in range(count):
                await anyio.lowlevel.checkpoint()
                yield f"{endpoint.name} {number}"

    assert await read(Chat().tokens(2)) == ["us 0", "us 1"]
