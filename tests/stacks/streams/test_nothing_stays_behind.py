"""Streams that break, stall, are left, dropped or cancelled leave no permit, probe, ticket or socket behind."""

from __future__ import annotations

import gc
import random
from contextlib import aclosing, suppress
from typing import Any

import anthropic
import anyio
import anyio.lowlevel
import openai
import pytest

from resilient_ai import (
    CircuitState,
    Endpoint,
    Registry,
    ResilienceError,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai._core import own_task
from resilient_ai.testing import FakeProvider, Fault, VirtualClock
from tests.stacks.streams.support import at_rest

# A stream that was dropped is closed by the loop, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")

A, B, C = Endpoint("a"), Endpoint("b"), Endpoint("c")
PATIENCE = 3.0


class Source:
    """What stands for the connections: how many are open."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.open = 0

    async def pieces(self, clock: VirtualClock):
        """A stream that does by chance what streams do."""
        kind = self.chance.choices(["whole", "breaks", "stalls", "slow"], [6, 2, 1, 2])[0]
        length = self.chance.randrange(5)
        self.open += 1
        try:
            with anyio.CancelScope():  # as a client may hold one across its yields
                for number in range(length):
                    if kind == "slow":
                        await clock.sleep(0.5)
                    yield f"piece {number}"
                if kind == "breaks":
                    raise ConnectionResetError("cut")
                if kind == "stalls":
                    await anyio.sleep_forever()
        finally:
            self.open -= 1


async def consume(chance: random.Random, open_stream: Any, clock: VirtualClock) -> None:
    """Use a stream as consumers do: read it, leave it, drop it, be cancelled in it."""
    how = chance.choice(["read", "read", "close", "drop", "never begin", "cancel", "hand over"])
    after = chance.randrange(4)
    # Cancelled at any moment, in virtual time.
    limit = chance.random() * 2 if how == "cancel" else 1_000.0
    with suppress(ResilienceError, ConnectionError), clock.move_on_after(limit):
        stream = open_stream()
        if not hasattr(stream, "__anext__"):
            stream = await stream
        if how == "never begin":
            return
        if how == "hand over":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_quietly, stream)
            return
        number = 0
        async for _ in stream:
            number += 1
            if number > after and how in ("close", "drop"):
                break
        if how == "close":
            await stream.aclose()


async def read_quietly(stream: Any) -> None:
    with suppress(ResilienceError, ConnectionError):
        async for _ in stream:
            pass


def stack(registry: Registry, function: Any, *, hedged: bool) -> Any:
    call = circuit_breaker(
        "circuit", timeout_seconds=PATIENCE, idle_timeout_seconds=PATIENCE, recovery_timeout=1, registry=registry
    )(function)
    call = adaptive_limit("limit", initial=4, registry=registry)(call)
    hedge = {"hedge_after": 0.4, "hedge_budget": 1.0} if hedged else {}
    call = failover(A, B, C, name="regions", health_check_interval=1, registry=registry, **hedge)(call)
    call = classified_retry("retry", registry=registry)(call)
    return degrade_to("sorry", name="degrade", stream=True, registry=registry)(call)


async def settle() -> None:
    """Let closing that was left to the loop happen."""
    gc.collect()
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def run_streams(count: int, *, returned: bool, hedged: bool, seed: int) -> None:
    clock, chance, source = VirtualClock(), random.Random(seed), Source(seed)
    registry = Registry(clock=clock, rng=random.Random(seed), listeners=())

    async def yields(endpoint):
        async with aclosing(source.pieces(clock)) as pieces:
            async for piece in pieces:
                yield piece

    async def returns(endpoint):
        return source.pieces(clock)

    call = stack(registry, returns if returned else yields, hedged=hedged)
    async with clock.autojump():
        for _ in range(0, count, 10):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(consume, chance, call, clock)
            await clock.sleep(chance.random())
    await settle()

    assert source.open == 0
    assert at_rest(registry)
    assert not own_task._pumps
    # Nor is a probe of a circuit held by somebody who has gone.
    clock.advance(10_000)
    source.chance = random.Random(0)
    source.chance.choices = lambda *_: ["whole"]
    async with clock.autojump():
        for _ in range(60):
            with suppress(ResilienceError):
                await read_quietly(call() if not returned else await call())
    assert {each.state for each in registry.circuit_breakers.values()} == {CircuitState.CLOSED}


@pytest.mark.parametrize("hedged", [False, True], ids=["one endpoint at a time", "hedged"])
@pytest.mark.parametrize("returned", [False, True], ids=["yields", "returns"])
async def test_hundreds_of_streams_leave_nothing_behind(returned, hedged):
    await run_streams(200, returned=returned, hedged=hedged, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("hedged", [False, True], ids=["one endpoint at a time", "hedged"])
@pytest.mark.parametrize("returned", [False, True], ids=["yields", "returns"])
async def test_thousands_of_streams_leave_nothing_behind(returned, hedged):
    await run_streams(5_000, returned=returned, hedged=hedged, seed=5)


# -- over HTTP

FAULTS = [
    "overloaded",
    Fault.reset(),
    Fault.reset(after_items=0),
    Fault.tear(after_items=1),
    Fault.reset(after_items=2),
    Fault.stall(after_items=1),
    Fault.slow(0.02),
]


def sdk_of(kind: str, provider: FakeProvider) -> Any:
    if kind == "openai":
        return openai.AsyncOpenAI(api_key="x", base_url=provider.base_url, max_retries=0)
    return anthropic.AsyncAnthropic(api_key="x", base_url=provider.url, max_retries=0)


async def opened_by(endpoint: Endpoint) -> Any:
    messages: Any = [{"role": "user", "content": "one two three four"}]
    if isinstance(endpoint.client, openai.AsyncOpenAI):
        return await endpoint.client.chat.completions.create(model="m", messages=messages, stream=True)
    return await endpoint.client.messages.create(model="m", max_tokens=9, messages=messages, stream=True)


async def use(chance: random.Random, call: Any) -> None:
    how, after = chance.choice(["read", "close", "drop", "never begin", "cancel"]), chance.randrange(4)
    with suppress(ResilienceError, openai.APIError, anthropic.APIError, OSError, Exception):
        with anyio.move_on_after(chance.random() * 0.1 if how == "cancel" else 30):
            stream = await call()
            if how == "never begin":
                return
            number = 0
            async for _ in stream:
                number += 1
                if number > after and how in ("close", "drop"):
                    break
            if how == "close":
                await stream.close()


async def run_over_http(kind: str, count: int, *, hedged: bool) -> None:
    registry, chance = Registry(rng=random.Random(1), listeners=()), random.Random(2)
    with FakeProvider("us") as us, FakeProvider("eu") as eu:
        endpoints = [Endpoint(each.name, client=sdk_of(kind, each)) for each in (us, eu)]
        call = circuit_breaker(
            "circuit", timeout_seconds=5, idle_timeout_seconds=0.2, failure_threshold=1_000, registry=registry
        )(opened_by)
        call = adaptive_limit("limit", pace=False, registry=registry)(call)
        hedge: dict[str, Any] = {"hedge_after": 0.01, "hedge_budget": 1.0} if hedged else {}
        call = failover(*endpoints, name="regions", health_check_interval=0.01, registry=registry, **hedge)(call)
        for each in (us, eu):
            each.flaky(0.4, *FAULTS, seed=4)
        for _ in range(0, count, 10):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(use, chance, call)
        await settle()
        for each in (us, eu):
            await each.until(lambda it: it.in_flight == 0)
        assert at_rest(registry)
        for each in endpoints:
            assert all(connection.is_idle() for connection in each.client._client._transport._pool.connections)
            await each.client.close()
    assert not own_task._pumps


@pytest.mark.parametrize("hedged", [False, True], ids=["one endpoint at a time", "hedged"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_streams_of_real_sdks_leave_no_socket_behind(kind, hedged):
    await run_over_http(kind, 40, hedged=hedged)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_thousands_of_streams_of_real_sdks_leave_no_socket_behind(kind):
    await run_over_http(kind, 2_000, hedged=True)
