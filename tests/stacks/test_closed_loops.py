"""An event loop that is closed with calls under way takes them along: no noise, and nothing is lost for good."""

from __future__ import annotations

import asyncio  # noqa: TID251 - only its loops can be closed with tasks under way
import gc
from contextlib import contextmanager

import anyio
import pytest

from resilient_ai import LastAnswer, Registry, batched, degrade_to
from resilient_ai._watch import watch


@contextmanager
def closed_with(*calls):
    """A loop that began these calls and was closed; inside, its tasks are still referred to."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending!"

    async def begin():
        tasks = [asyncio.ensure_future(call()) for call in calls]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        return tasks

    tasks = loop.run_until_complete(begin())
    loop.close()
    yield
    del tasks, loop
    gc.collect()


@pytest.fixture
def registry():
    return Registry(listeners=())


# -- no noise. What a coroutine says when it is collected fails the test, because warnings are errors.


def test_a_call_whose_answer_was_to_be_remembered_is_collected_quietly(registry):
    ask = degrade_to(LastAnswer(), registry=registry)(anyio.sleep_forever)
    with closed_with(ask):
        pass

    assert registry.degradations["sleep_forever"].stats().degraded == 0


def test_a_degraded_stream_is_collected_quietly(registry):
    @degrade_to("sorry", name="stream", registry=registry)
    async def tokens():
        await anyio.sleep_forever()
        yield "never"

    async def read():
        return [item async for item in tokens()]

    with closed_with(read):
        pass

    assert registry.degradations["stream"].stats().degraded == 0


def test_a_batch_of_one_with_a_bound_is_collected_quietly(registry):
    @batched("one", batch_timeout=0, max_concurrency=1, registry=registry)
    async def send(items: list[str]) -> list[str]:
        await anyio.sleep_forever()
        return items

    with closed_with(lambda: send("a")):
        pass

    assert registry.batches["one"].stats().in_flight == 0


def test_who_was_watching_is_collected_quietly():
    async def look():
        with watch():
            await anyio.sleep_forever()

    with closed_with(look):
        pass
