"""What a batcher does when its settings are changed: open batches end as they began, later ones go by new settings."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import batched


@pytest.fixture
def change(registry):
    return lambda **settings: registry.configure({"embed": {"batched": settings}})


@pytest.fixture
def sizes():
    return []


@pytest.fixture
def embed(registry, sizes):
    @batched("embed", batch_size=4, batch_timeout=10, registry=registry)
    async def embed(texts):
        sizes.append(len(texts))
        await registry.clock.sleep(5)
        return texts

    return embed


async def call(tasks, embed, times):
    for number in range(times):
        tasks.start_soon(embed, number)
    await anyio.wait_all_tasks_blocked()


async def test_another_size_holds_for_the_next_batch(clock, embed, sizes, change):
    async with clock.autojump(), anyio.create_task_group() as tasks:
        change(batch_size=2)
        for number in range(4):
            tasks.start_soon(embed, number)

    assert sizes == [2, 2]


async def test_an_open_batch_leaves_when_it_would_have(clock, embed, sizes, change):
    async with anyio.create_task_group() as tasks:
        await call(tasks, embed, 3)
        change(batch_size=2, batch_timeout=1)
        await call(tasks, embed, 1)
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        assert sizes == [1]  # the newcomer's, by the new timeout

        clock.advance(9)
        await anyio.wait_all_tasks_blocked()
        assert sizes == [1, 3]
        clock.advance(5)


async def test_batches_that_wait_for_a_place_start_when_there_are_more(registry, clock, embed, sizes, change):
    change(max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        await call(tasks, embed, 16)
        assert sizes == [4]

        change(max_concurrency=3)
        clock.advance(5)  # the first ends
        await anyio.wait_all_tasks_blocked()
        assert sizes == [4, 4, 4, 4]
        clock.advance(5)
    assert not registry.batches["embed"].stats().is_running


async def test_a_bound_that_comes_new_counts_the_batches_that_begin_under_it(clock, embed, sizes, change):
    async with anyio.create_task_group() as tasks:
        await call(tasks, embed, 8)
        change(max_concurrency=1)
        await call(tasks, embed, 8)
        assert sizes == [4, 4, 4]

        clock.advance(5)
        await anyio.wait_all_tasks_blocked()
        assert sizes == [4, 4, 4, 4]
        clock.advance(5)


async def test_a_batch_that_began_without_a_bound_can_call_its_function_under_one(registry, clock, change):
    """Else both would wait for ever: the inner batch for the outer's place, the outer for the inner's answer."""

    @batched("embed", batch_timeout=0, registry=registry)
    async def embed(numbers):
        if numbers == [3]:
            change(max_concurrency=1)
            return [await embed(2)]
        return numbers

    with anyio.fail_after(5):
        async with clock.autojump():
            assert await embed(3) == 2
