"""Three regions over real HTTP that fail by chance, and thousands of calls and streams that must not notice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import anyio
import pytest

from resilient_ai import CircuitState, Registry, ResilienceError, circuit_breaker, classified_retry, failover
from resilient_ai.providers import AnthropicEndpoint, HTTPEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import FakeProvider, Fault
from resilient_ai.types import EndpointState

CALLS, STREAMS, AT_A_TIME = 300, 120, 24
PIECES = 6
FAULTS = [
    "overloaded",
    "server_error",
    "rate_limit",
    502,
    Fault.reset(),
    Fault.tear(after_items=0),
    Fault.slow(0.02),
    Fault.reset(after_items=2),
    Fault.cut(after_items=3),
    Fault.tear(after_items=1),
    Fault.in_stream("openai_server_error", after_items=1),
]


class FastClock:
    """Twenty seconds in one: rests, waits and timeouts keep their proportions, and the test ends today."""

    speed = 20.0

    def now(self) -> float:
        return time.monotonic() * self.speed

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self.speed)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        return anyio.move_on_after(seconds / self.speed)


def all_is_well(registry: Registry) -> bool:
    endpoints_up = {each.stats().state for each in registry.endpoints.values()} == {EndpointState.UP}
    return endpoints_up and {each.state for each in registry.circuit_breakers.values()} == {CircuitState.CLOSED}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["round_robin", "least_latency"])
async def test_regions_that_fail_by_chance_give_right_answers_whole_streams_and_lose_no_connection(strategy):
    registry = Registry(clock=FastClock(), rng=random.Random(7), listeners=())
    outcomes: Counter[str] = Counter()

    async with AsyncExitStack() as stack:
        us, eu, ap = (stack.enter_context(FakeProvider(name)) for name in ("us", "eu", "ap"))
        endpoints = [
            await stack.enter_async_context(endpoint)
            for endpoint in (
                OpenAIEndpoint("us", model="gpt-4o-mini", api_key="sk-none", base_url=us.base_url),
                AnthropicEndpoint("eu", model="claude-haiku-4-5", api_key="sk-none", base_url=eu.url),
                HTTPEndpoint("ap", url=f"{ap.url}/complete"),
            )
        ]

        @classified_retry(registry=registry)
        @failover(*endpoints, strategy=strategy, health_check_interval=10, registry=registry)
        @circuit_breaker(recovery_timeout=10, registry=registry)
        async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
            return await endpoint.complete(prompt)

        @classified_retry(registry=registry)
        @failover(*endpoints, strategy=strategy, health_check_interval=10, registry=registry)
        @circuit_breaker(recovery_timeout=10, registry=registry)
        async def tokens(endpoint: ProviderEndpoint, prompt: str) -> AsyncGenerator[str, None]:
            async with aclosing(endpoint.stream(prompt)) as pieces:
                async for piece in pieces:
                    yield piece

        async def call(number: int) -> None:
            try:
                answer = await ask(f"call {number}")
            except ResilienceError:
                outcomes["call failed"] += 1
            else:
                assert answer in {f"[{name}] call {number}" for name in ("us", "eu", "ap")}
                outcomes["call"] += 1

        async def stream(number: int, chance: random.Random) -> None:
            words = [f" w{number}.{place}" for place in range(PIECES - 1)]
            expected = {name: [f"[{name}]", *words] for name in ("us", "eu", "ap")}
            leaves_after = chance.choice([None, None, None, 1, 3])
            got: list[str] = []
            async with aclosing(tokens("".join(words).strip())) as pieces:
                try:
                    async for piece in pieces:
                        got.append(piece)
                        if len(got) == leaves_after:
                            outcomes["stream left"] += 1
                            break
                    else:
                        assert got in expected.values()
                        outcomes["stream"] += 1
                except AssertionError:
                    raise
                except Exception:
                    outcomes["stream broke" if got else "stream failed"] += 1
            assert any(got == whole[: len(got)] for whole in expected.values())  # none lost, none twice, none mixed

        # Faults by chance for every request, and one region lost altogether in the middle.
        for seed, provider in enumerate((us, eu, ap)):
            provider.flaky(0.15, *FAULTS, seed=seed)
        chance = random.Random(11)
        work = [call] * CALLS + [stream] * STREAMS
        chance.shuffle(work)
        numbers = iter(range(len(work)))

        async def worker() -> None:
            for number in numbers:
                if number == len(work) // 3:
                    us.outage(Fault.reset())
                if number == 2 * len(work) // 3:
                    us.recover()
                await (call(number) if work[number] is call else stream(number, chance))

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_A_TIME):
                tasks.start_soon(worker)

        assert sum(outcomes.values()) == CALLS + STREAMS
        assert outcomes["call failed"] + outcomes["stream failed"] <= 0.01 * (CALLS + STREAMS)
        assert outcomes["stream broke"] <= 0.15 * STREAMS
        assert {us.in_flight, eu.in_flight, ap.in_flight} == {0}

        # The storm is over: a while later all of it is forgotten.
        for provider in (us, eu, ap):
            provider.recover()
        with anyio.fail_after(60):
            while not all_is_well(registry):
                await anyio.sleep(0.05)
                async with anyio.create_task_group() as tasks:
                    for number in range(9):
                        tasks.start_soon(call, number)
                        tasks.start_soon(stream, number, chance)

        assert {each.stats().in_flight for each in registry.endpoints.values()} == {0}
        for endpoint in endpoints:
            await endpoint.aclose()
        for provider in (us, eu, ap):
            await provider.until(lambda it: it.connections == 0)
