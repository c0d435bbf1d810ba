"""Circuits around streams."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from resilient_ai import CallTimeoutError, CircuitOpenError, CircuitState, circuit_breaker

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_a_stream_counts_when_it_ends(registry):
    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens(break_at: int | None = None):
        for number in range(3):
            if number == break_at:
                raise OSError("cut")
            yield number

    stats = registry.circuit_breakers["stream"].stats
    assert [token async for token in tokens()] == [0, 1, 2]
    assert (stats().total_calls, stats().total_failures) == (1, 0)
    async with aclosing(tokens()) as stream:
        async for _ in stream:
            break
    assert (stats().total_calls, stats().neutral) == (2, 1)
    with pytest.raises(OSError, match="cut"):
        _ = [token async for token in tokens(2)]

    assert stats().state is CircuitState.OPEN


async def test_a_stream_that_cannot_begin_holds_no_slot(registry, clock):
    @circuit_breaker("stream", registry=registry)
    async def tokens(prompt: str):
        yield prompt

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    with pytest.raises(TypeError, match="prompt"):
        _ = [token async for token in tokens()]

    assert breaker.stats().probes_in_flight == 0


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class])
@pytest.mark.parametrize("when", ["closed", "half_open"])
@pytest.mark.parametrize("after", [0, 2])
async def test_an_exit_in_a_stream_is_neutral_and_returns_the_slot(registry, clock, leaving, when, after):
    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        for number in range(3):
            if number == after:
                if leaving is anyio.get_cancelled_exc_class:
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
                raise leaving
            yield number

    breaker = registry.circuit_breakers["stream"]
    if when == "half_open":
        breaker.trip()
        clock.advance(60)
    with anyio.CancelScope() as scope:
        if leaving is anyio.get_cancelled_exc_class:
            _ = [token async for token in tokens()]
        else:
            with pytest.raises(leaving):
                _ = [token async for token in tokens()]
    stats = breaker.stats()

    assert (stats.probes_in_flight, stats.neutral, stats.total_failures) == (0, 1, 0)


@pytest.mark.parametrize("throw", [GeneratorExit, KeyboardInterrupt, RuntimeError])
async def test_a_consumer_that_leaves_a_probing_stream_returns_the_slot(registry, clock, throw):
    closed = []

    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    stream = tokens()
    await anext(stream)
    assert breaker.stats().probes_in_flight == 1
    with pytest.raises(throw):
        await stream.athrow(throw)
    stats = breaker.stats()

    assert closed == [True]
    assert (stats.probes_in_flight, stats.neutral, stats.state) == (0, 1, CircuitState.HALF_OPEN)


async def test_streams_that_end_well_close_it_and_their_first_item_tells_how_slow_they_were(registry, clock):
    @circuit_breaker("stream", success_threshold=2, slow_call_seconds=5, minimum_calls=99, registry=registry)
    async def tokens(first: float):
        await clock.sleep(first)
        yield 1
        await clock.sleep(20)
        yield 2

    breaker = registry.circuit_breakers["stream"]
    breaker.trip()
    clock.advance(60)
    async with clock.autojump():
        for first in (5, 6):
            assert breaker.state is not CircuitState.CLOSED
            assert [token async for token in tokens(first)] == [1, 2]

    assert breaker.state is CircuitState.CLOSED
    assert (breaker.stats().slow, breaker.stats().p95) == (1, 6)


async def test_a_refused_stream_is_not_begun(registry):
    begun = []

    @circuit_breaker("stream", registry=registry)
    async def tokens():
        begun.append(True)
        yield 1

    registry.circuit_breakers["stream"].force_open()
    with pytest.raises(CircuitOpenError):
        _ = [token async for token in tokens()]

    assert not begun


async def test_a_stream_has_one_circuit_per_key(registry):
    @circuit_breaker("stream", failure_threshold=1, key=lambda tenant: tenant, registry=registry)
    async def tokens(tenant: str):
        if tenant == "a":
            raise OSError
        yield tenant

    with pytest.raises(OSError):
        _ = [token async for token in tokens("a")]

    assert [token async for token in tokens("b")] == ["b"]
    assert registry.circuit_breakers["stream[a]"].state is CircuitState.OPEN
    assert registry.circuit_breakers["stream[b]"].state is CircuitState.CLOSED


async def test_what_the_consumer_throws_into_a_stream_is_not_the_providers_failure(registry):
    closed = []

    @circuit_breaker("stream", failure_threshold=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = tokens()
    await anext(stream)
    with pytest.raises(RuntimeError, match="mine"):
        await stream.athrow(RuntimeError("mine"))

    assert closed == [True]
    assert registry.circuit_breakers["stream"].stats().neutral == 1


async def test_timeouts_of_a_stream_bound_the_first_item_and_each_gap(registry, clock):
    @circuit_breaker("gaps", timeout_seconds=10, idle_timeout_seconds=2, failure_threshold=9, registry=registry)
    async def tokens(first: float, gap: float):
        await clock.sleep(first)
        yield 1
        await clock.sleep(gap)
        yield 2

    async with clock.autojump():
        assert [token async for token in tokens(9, 1)] == [1, 2]
        with pytest.raises(CallTimeoutError, match="timeout_seconds=10"):
            _ = [token async for token in tokens(11, 1)]
        seen = []
        with pytest.raises(CallTimeoutError, match="timeout_seconds=2"):
            async for token in tokens(1, 3):
                seen.append(token)  # noqa: PERF401 - what came before the error counts

    assert seen == [1]
    assert registry.circuit_breakers["gaps"].stats().total_failures == 2
