"""The openai client's embeddings through a whole stack, from a thousand tasks, while things go wrong."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack

import anyio
import openai
import pytest

from resilient_ai import Endpoint, Registry, batched, circuit_breaker, classified_retry, classify, failover
from resilient_ai.testing import FakeProvider, Fault

TASKS, EACH = 1_000, 10
SIZE, MOST_TOKENS = 100, 2_000
POISON = {(17, 3), (801, 9)}  # (task, number): an empty text, which the API refuses, and the whole request with it


def text_of(task: int, number: int) -> str:
    if (task, number) in POISON:
        return ""
    words = 1 + (task * 7 + number * 3) % 40  # 20.5 on average: now the items, now the tokens fill a batch
    return f"{task}-{number}" + " word" * (words - 1)


def tokens(text: str) -> int:
    return len(text.split())


@pytest.mark.slow
async def test_a_thousand_tasks_get_their_vectors_through_a_rate_limit_a_lost_region_and_poison():
    registry = Registry(listeners=())
    async with AsyncExitStack() as stack:
        regions = [stack.enter_context(FakeProvider(name)) for name in ("us", "eu")]
        us, eu = regions
        endpoints = [
            Endpoint(
                region.name,
                client=await stack.enter_async_context(
                    openai.AsyncOpenAI(base_url=f"{region.url}/v1", api_key="test", max_retries=0)
                ),
            )
            for region in regions
        ]

        @batched(
            batch_size=SIZE,
            batch_timeout=0.05,
            max_queue_size=TASKS * EACH,
            max_concurrency=8,
            weight=tokens,
            max_weight=MOST_TOKENS,
            bisect=True,
            registry=registry,
        )
        @classified_retry(registry=registry)
        @failover(*endpoints, registry=registry)
        @circuit_breaker(registry=registry)
        async def embed(endpoint: Endpoint, texts: list[str]) -> list[list[float]]:
            reply = await endpoint.client.embeddings.create(model="text-embedding-3-small", input=texts)
            return [each.embedding for each in reply.data]

        vectors: dict[tuple[int, int], list[float]] = {}
        errors: dict[tuple[int, int], Exception] = {}

        async def ask(task: int, number: int) -> None:
            try:
                vectors[task, number] = await embed(text_of(task, number))
            except Exception as error:
                errors[task, number] = error
            if len(vectors) == TASKS * EACH // 2:
                us.outage(Fault.reset())

        async def work(task: int) -> None:
            async with anyio.create_task_group() as calls:
                for number in range(EACH):
                    calls.start_soon(ask, task, number)

        us.script(
            "ok", "ok", Fault.reply(429, {"error": {"message": "Rate limit reached"}}, headers={"retry-after": "1"})
        )
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for task in range(TASKS):
                    tasks.start_soon(work, task)
        requests = us.count("/embeddings") + eu.count("/embeddings")
        failed = sum(each.fault is not None for region in regions for each in region.requests)

        # Every good text has its own vector: the one that it gets when it is asked for without any of this.
        good = [(task, number) for task in range(TASKS) for number in range(EACH) if (task, number) not in POISON]
        assert vectors.keys() == set(good)
        for start in range(0, len(good), 2_000):
            some = good[start : start + 2_000]
            reply = await endpoints[1].client.embeddings.create(
                model="text-embedding-3-small", input=[text_of(*each) for each in some]
            )
            assert [vectors[each] for each in some] == [each.embedding for each in reply.data]

        # The poison alone has errors, each its own.
        assert errors.keys() == POISON
        assert all(classify(error).error_type == "invalid_request" for error in errors.values())
        assert len({id(error) for error in errors.values()}) == len(POISON)

    stats = registry.batches[embed.__qualname__].stats()
    weight = sum(tokens(text_of(task, number)) for task in range(TASKS) for number in range(EACH))
    smallest = max(math.ceil(TASKS * EACH / SIZE), math.ceil(weight / MOST_TOKENS))
    halving = len(POISON) * 2 * math.ceil(math.log2(SIZE))
    assert (stats.total_requests, stats.ok, stats.failed) == (TASKS * EACH, len(good), len(POISON))
    assert stats.total_batches <= smallest * 1.05 + 1
    assert requests <= stats.total_batches + halving + failed
    assert 1 <= failed <= 20
    assert not stats.is_running


@pytest.mark.parametrize("callers", [1, 3])
async def test_every_caller_of_a_refused_batch_gets_an_sdk_error_of_its_own(callers):
    registry = Registry(listeners=())
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(FakeProvider())
        client = await stack.enter_async_context(
            openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="test", max_retries=0)
        )
        provider.script("openai_insufficient_quota")

        @batched(batch_size=callers, registry=registry)
        async def embed(texts: list[str]) -> list[list[float]]:
            reply = await client.embeddings.create(model="text-embedding-3-small", input=texts)
            return [each.embedding for each in reply.data]

        errors = []

        async def ask(text: str) -> None:
            with pytest.raises(openai.RateLimitError) as caught:
                await embed(text)
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for number in range(callers):
                tasks.start_soon(ask, f"text {number}")

    assert len({id(error) for error in errors}) == callers
    assert {(str(error), error.status_code, error.code) for error in errors} == {
        (str(errors[0]), 429, "insufficient_quota")
    }
    assert all(classify(error).error_type == "quota_exceeded" for error in errors)
