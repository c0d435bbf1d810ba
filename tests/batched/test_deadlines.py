"""Callers of one batch with different deadlines: the batch has the latest of them."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext

import anyio
import pytest

from resilient_ai import batched, classified_retry, deadline, time_left
from resilient_ai.testing import isolated_registry
from tests.helpers import ProviderError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("provider_errors")]


@asynccontextmanager
async def virtual_time():
    with isolated_registry() as registry:
        async with registry.clock.autojump():
            yield registry


async def together(ask, *patience):
    """One caller for each patience, all at once; their answers, or the type of what they got."""
    outcomes = [None] * len(patience)

    async def caller(number, seconds):
        try:
            with nullcontext() if seconds is None else deadline(seconds):
                outcomes[number] = await ask(number)
        except Exception as error:
            outcomes[number] = type(error)

    async with anyio.create_task_group() as tasks:
        for number, seconds in enumerate(patience):
            tasks.start_soon(caller, number, seconds)
    return outcomes


SETTINGS = [{}, {"deduplicate": True}]


@pytest.mark.parametrize("patience", [(2, 30), (30, 2)])
@pytest.mark.parametrize("settings", SETTINGS)
async def test_the_first_callers_deadline_ends_nobody_elses_wait(patience, settings):
    async with virtual_time() as registry:

        @batched(**settings)
        async def ask(items):
            await registry.clock.sleep(10)
            return items

        outcomes = await together(ask, *patience)

    assert outcomes == [number if seconds == 30 else TimeoutError for number, seconds in enumerate(patience)]


@pytest.mark.parametrize(
    ("patience", "left"), [((2, 30, 5), 29.9), ((2, 30, None), None), ((None, 30), None), ((None, None), None)]
)
@pytest.mark.parametrize("settings", SETTINGS)
async def test_the_function_is_told_the_latest(patience, left, settings):
    told = []
    async with virtual_time():

        @batched(**settings)
        async def ask(items):
            told.append(time_left())
            return items

        await together(ask, *patience)

    assert told == [left if left is None else pytest.approx(left)]


async def test_who_has_left_does_not_count():
    told = []
    async with virtual_time() as registry:

        @batched
        async def ask(items):
            await registry.clock.sleep(10)
            told.append(time_left())
            return items

        await together(ask, 5, 20)

    assert told == [pytest.approx(9.9)]


async def test_a_caller_alone_keeps_its_own():
    told = []
    async with virtual_time():

        @batched
        async def ask(items):
            told.append(time_left())
            return items

        await together(ask, 5)

    assert told == [pytest.approx(4.9)]


async def test_equal_items_that_are_sent_once_have_the_latest_of_their_callers():
    told = []
    async with virtual_time():

        @batched(deduplicate=True)
        async def ask(items):
            told.append((items, time_left()))
            return items

        await together(lambda _number: ask("same"), 5, 20, 10)

    assert told == [(["same"], pytest.approx(19.9))]


async def test_a_call_that_has_waited_for_room_brings_its_deadline_along():
    told = {}
    async with virtual_time() as registry:

        @batched(max_queue_size=1, max_concurrency=1, batch_size=1, when_full="wait")
        async def ask(items):
            told[items[0]] = time_left()
            await registry.clock.sleep(1)
            return items

        outcomes = await together(ask, 30, None, 20, 40)

    assert outcomes == [0, 1, 2, 3]
    assert told[1] is None
    assert 17 <= told[2] <= 20
    assert 36 <= told[3] <= 40


async def test_a_retry_below_goes_on_for_the_caller_who_can_wait():
    attempts = []
    async with virtual_time() as registry:

        @batched
        @classified_retry
        async def ask(items):
            attempts.append(registry.clock.now())
            if len(attempts) == 1:
                raise ProviderError("rate_limit", 10)
            return items

        outcomes = await together(ask, 2, 30)

    assert outcomes == [TimeoutError, 1]
    assert len(attempts) == 2
