"""Thousands of callers at once: what one of them costs does not depend on how many others there are."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from resilient_ai import (
    Endpoint,
    ErrorType,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.testing import VirtualClock
from tests.helpers import ProviderError, work_of

pytestmark = pytest.mark.usefixtures("provider_errors")

# A look at every other caller would cost each of many callers 700 steps, on some 500.
FEW, MANY = 200, 700
COME_BACK = {"overloaded", "rate limit", "hangs"}  # each of these callers costs ten times as much: half as many do


class Provider:
    """Answers after a second, or does what it is told."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.mood = "well"

    async def answer(self, items: list[int]) -> list[int]:
        await self.clock.sleep(1)
        if self.mood == "hangs":
            await anyio.sleep_forever()
        if self.mood == "overloaded":
            raise ProviderError(ErrorType.MODEL_OVERLOADED)
        if self.mood == "rate limit":
            raise ProviderError(ErrorType.RATE_LIMIT, retry_after=2.0)
        return items


def every_policy(registry: Registry, provider: Provider, places: int):
    """All six in the recommended order, with room for all callers in the lines."""

    @degrade_to(-1, registry=registry)
    @batched(batch_size=2, max_queue_size=places, max_concurrency=places, registry=registry)
    @classified_retry(registry=registry)
    @failover(Endpoint("a"), Endpoint("b"), Endpoint("c"), registry=registry)
    @adaptive_limit(max_queue_size=places, registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(endpoint, items: list[int]) -> list[int]:
        return await provider.answer(items)

    return ask


class Rush:
    """So many callers at once."""

    def __init__(self, callers: int, mood: str) -> None:
        self.callers = callers
        self.clock = VirtualClock()
        self.registry = Registry(clock=self.clock, rng=random.Random(1), listeners=())
        self.provider = Provider(self.clock)
        self.ask = every_policy(self.registry, self.provider, callers)
        self.mood = mood
        self.got: Counter[str] = Counter()

    async def prepare(self) -> None:
        if self.mood == "half-open":
            self.provider.mood = "overloaded"
            async with self.clock.autojump():
                for number in range(40):
                    await self.ask(number)
                await self.clock.sleep(60)
        self.provider.mood = self.mood

    async def run(self) -> None:
        async with self.clock.autojump(), anyio.create_task_group() as callers:
            for number in range(self.callers):
                callers.start_soon(self._caller, number)
            if self.mood == "cancelled":
                await self.clock.sleep(0.5)
                callers.cancel_scope.cancel()

    async def _caller(self, number: int) -> None:
        try:
            self.got["answered" if await self.ask(number) == number else "degraded"] += 1
        except BaseException:
            self.got["cancelled"] += 1
            raise


@pytest.mark.parametrize(
    ("mood", "anyio_backend"),
    [
        pytest.param(mood, backend, marks=[pytest.mark.slow] if mood in COME_BACK and backend == "trio" else [])
        for mood in ("well", "overloaded", "rate limit", "hangs", "half-open", "cancelled")
        for backend in ("asyncio", "trio")
    ],
)
async def test_a_caller_costs_the_same_in_a_crowd(mood):
    few, many = (FEW // 2, MANY // 2) if mood in COME_BACK else (FEW, MANY)
    work = {}
    for callers in (few, many):
        rush = Rush(callers, mood)
        await rush.prepare()
        work[callers] = await work_of(rush.run) / callers
        assert rush.got.total() == callers

    assert work[many] < 1.3 * work[few]
