"""Calls within calls."""

from __future__ import annotations

from contextlib import aclosing

import anyio

from resilient_ai import adaptive_limit
from tests.adaptive_limit.support import TooFastError, fail
from tests.helpers import scripted


async def test_a_function_that_calls_itself_goes_on_in_its_own_place(registry, clock):
    @adaptive_limit("recursive", initial=1, max_limit=1, registry=registry)
    async def countdown(number):
        await clock.sleep(1.0)
        return [number, *(await countdown(number - 1) if number else [])]

    async with clock.autojump():
        assert await countdown(3) == [3, 2, 1, 0]
    stats = registry.limits["recursive"].stats()

    assert clock.now() == 4.0
    assert (stats.calls, stats.in_flight, stats.refused, stats.limit) == (4, 0, 0, 1)


async def test_functions_that_call_each_other_through_one_limit_do_too(registry):
    put_on = adaptive_limit("shared", initial=1, max_limit=1, registry=registry)

    async def between(number):
        return await ping(number)

    @put_on
    async def ping(number):
        return await adaptive_limit("another", registry=registry)(pong)(number)

    @put_on
    async def pong(number):
        return await between(number - 1) if number else "done"

    assert await ping(3) == "done"


async def test_a_crowd_in_which_every_call_makes_another_one_comes_to_an_end_at_once(registry, clock, provider):
    @adaptive_limit("crowd", initial=5, max_limit=5, registry=registry)
    async def ask(depth):
        return await ask(depth - 1) if depth else await provider()

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask, 2)

    assert provider.most <= 5
    assert clock.now() < 10.0


async def test_calls_side_by_side_within_a_call_take_turns_in_its_place(registry, clock, provider):
    put_on = adaptive_limit("fan-out", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)

    @put_on
    async def outer():
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(inner, number)

    async with clock.autojump():
        await outer()

    assert (len(provider.calls), provider.most, clock.now()) == (3, 1, 3.0)


async def test_a_call_within_a_call_keeps_the_pace(registry, clock, provider):
    put_on = adaptive_limit("paced", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)

    @put_on
    async def outer():
        await inner()

    provider.errors = [TooFastError(7.0)]
    await fail(outer, TooFastError)
    async with clock.autojump():
        await outer()

    assert provider.calls[1][1] >= 7.0


async def test_a_task_that_outlives_the_call_it_was_started_in_holds_the_place_on(registry, clock, provider):
    put_on = adaptive_limit("outlived", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)
    async with clock.autojump(), anyio.create_task_group() as tasks:

        @put_on
        async def outer():
            tasks.start_soon(inner)
            await clock.sleep(0.5)

        await outer()
        assert registry.limits["outlived"].stats().in_flight == 1
        await inner()

    assert (provider.most, registry.limits["outlived"].stats().in_flight) == (1, 0)


async def test_who_reads_a_stream_may_call_through_its_limit(registry):
    put_on = adaptive_limit("reader", initial=1, max_limit=1, registry=registry)
    ask = put_on(scripted("answer"))

    @put_on
    async def tokens():
        yield 1
        yield 2

    async with aclosing(tokens()) as items:
        answers = [await ask() async for _ in items]

    assert answers == ["answer", "answer"]
