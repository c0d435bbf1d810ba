"""Limits around streams."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from resilient_ai import adaptive_limit
from tests.adaptive_limit.support import BusyError


async def test_a_stream_keeps_its_place_until_it_ends(registry):
    @adaptive_limit("stream", initial=1, registry=registry)
    async def tokens():
        yield 1
        yield 2

    limit = registry.limits["stream"]
    async with aclosing(tokens()) as stream:
        assert [await anext(stream), limit.stats().in_flight] == [1, 1]
        assert [item async for item in stream] == [2]
    stats = limit.stats()

    assert (stats.in_flight, stats.ok) == (0, 1)


async def test_a_stream_left_early_gives_its_place_back(registry):
    closed = []

    @adaptive_limit("left", initial=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async with aclosing(tokens()) as stream:
        await anext(stream)
    stats = registry.limits["left"].stats()

    assert closed
    assert (stats.in_flight, stats.ok, stats.failed) == (0, 0, 0)


async def test_a_stream_is_as_slow_as_its_first_item(registry, clock):
    @adaptive_limit("first", registry=registry)
    async def tokens():
        await clock.sleep(2.0)
        yield 1
        await clock.sleep(50.0)

    async with clock.autojump():
        async for _ in tokens():
            pass

    assert registry.limits["first"].stats().normal_seconds == pytest.approx(2.0)


async def test_a_failure_in_a_stream_counts(registry):
    @adaptive_limit("broken", initial=20, registry=registry)
    async def tokens():
        yield 1
        raise BusyError

    with pytest.raises(BusyError):
        async for _ in tokens():
            pass
    stats = registry.limits["broken"].stats()

    assert (stats.limit, stats.failed, stats.in_flight) == (10, 1, 0)


async def test_a_stream_whose_arguments_do_not_fit_takes_no_place(registry):
    @adaptive_limit("stream", initial=1, max_limit=1, registry=registry)
    async def tokens(prompt):
        yield prompt

    for _ in range(3):
        with pytest.raises(TypeError):
            await anext(tokens())

    assert registry.limits["stream"].stats().in_flight == 0
