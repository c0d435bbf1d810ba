"""Endpoints and functions that are made for one request cannot fill the memory with their states."""

from __future__ import annotations

import gc
import sys
from collections import deque
from contextlib import suppress
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import anyio
import pytest

from resilient_ai import (
    Endpoint,
    LastAnswer,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    rate_limit,
    spend_limit,
)
from resilient_ai.similar import SimilarAnswers


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_states_of_endpoints_that_are_made_for_each_request_are_bounded_and_their_counts_stay(registry):
    def made(number):
        @failover(Endpoint(f"tenant {number}"), name=f"ask {number}", registry=registry)
        @circuit_breaker("ask", registry=registry)
        async def ask(endpoint):
            return endpoint.name

        return ask

    kept = made(0)
    for _ in range(2):
        assert await kept() == "tenant 0"
    for number in range(1, 5_000):
        await made(number)()
    states = sum(map(len, registry.stats().values()))
    counts = registry.counts()

    assert states <= 11_000
    assert registry.endpoints["tenant 0"].stats().calls == 2  # of a function that is there
    assert sum(each.ok for each in counts["endpoint"].values()) == 5_001  # no number ever falls
    assert sum(map(len, counts.values())) <= states + 3_100


CONTAINERS = (dict, set, list, deque, tuple, WeakSet, WeakKeyDictionary, WeakValueDictionary)
BOUND = 11_100  # 10,000 states and a tenth more before they are swept, or 10,000 places and the 1,000 of endpoints


def large_containers(*roots, most):
    """Sizes and owners of the containers that are reached from what the package has, without leaving it."""
    modules = [vars(module) for name, module in list(sys.modules.items()) if name.startswith("resilient_ai")]
    waiting, seen, large = [*roots, *modules], set(), []
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or type(thing).__name__ == "module":
            continue
        seen.add(id(thing))
        if isinstance(thing, CONTAINERS) and len(thing) > most:
            large.append((type(thing).__name__, len(thing), str(next(iter(thing)))[:80]))
        waiting += [each for each in gc.get_referents(thing) if not isinstance(each, type | str | bytes | int | float)]
    return large


@pytest.mark.slow
def test_nothing_that_a_stack_keeps_grows_with_keys_endpoints_functions_models_and_prompts():
    registry, memory, similar = Registry(listeners=()), LastAnswer(), SimilarAnswers(max_entries=200)
    assert registry.usage is not None  # counting begins

    @circuit_breaker("keyed-growth", key=lambda number: number, failure_threshold=2, registry=registry)
    async def keyed(number):
        if number % 3 == 0:
            raise ConnectionError(number)

    @degrade_to(memory, similar, "sorry", registry=registry)
    @classified_retry(max_attempts=1, registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @rate_limit(requests_per_minute=6e7, registry=registry)
    @adaptive_limit(registry=registry)
    @circuit_breaker(failure_threshold=None, failure_rate_threshold=0.99, slow_call_seconds=9, registry=registry)
    async def ask(endpoint, prompt):
        if "77" in prompt:
            raise ConnectionError(prompt)
        return prompt

    @batched(batch_timeout=0, deduplicate=True, registry=registry)
    async def embed(texts, *, model):
        return texts

    async def for_one_request(number):
        @spend_limit(f"s{number}", usd_per_hour=9, registry=registry)
        @failover(Endpoint(f"tenant {number}", api_key=f"horse-battery-{number}"), name=f"f{number}", registry=registry)
        @circuit_breaker(f"c{number}", registry=registry)
        async def made(endpoint):
            return number

        await made()

    async def one(number):
        with suppress(ConnectionError):
            await keyed(number)
        await for_one_request(number)
        if number % 10 == 0:  # the dearest, with bounds far below
            await ask(f"What about topic {number}?")
            await embed(f"text {number}", model=f"model {number}")

    async def main():
        for start in range(0, 12_000, 100):
            async with anyio.create_task_group() as tasks:
                for number in range(start, start + 100):
                    tasks.start_soon(one, number)
        return large_containers(registry, memory, similar, keyed, ask, embed, most=BOUND)

    assert anyio.run(main) == []
