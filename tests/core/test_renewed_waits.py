"""A stream that is alive without having an item for its consumer is not cut as silent."""

from __future__ import annotations

import anyio
import pytest
from trio.testing import MockClock

from resilient_ai import CallTimeoutError, Registry, circuit_breaker
from resilient_ai._core.deadline import renew_waits
from resilient_ai.testing import VirtualClock
from resilient_ai.types import SystemClock
from tests.core.support import JumpingLoop

SECOND = 10.0

# Virtual clocks, and the loops' own clocks, made to jump to the next timer.
BACKENDS = {
    "asyncio": ("asyncio", {}),
    "trio": ("trio", {}),
    "asyncio's own time": ("asyncio", {"loop_factory": JumpingLoop}),
    "trio's own time": ("trio", {"clock": MockClock(autojump_threshold=0)}),
}


@pytest.fixture(params=BACKENDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def anyio_backend(kind):
    name, options = BACKENDS[kind]
    return name, ({"clock": MockClock(autojump_threshold=0)} if "clock" in options else options)


@pytest.fixture
def clock(kind):
    return SystemClock() if "own" in kind else VirtualClock()


@pytest.fixture
def registry(clock):
    return Registry(clock=clock, listeners=())


def thinking(clock, thoughts: int):
    """A stream that gives a sign of life at each step, then one item, and then thinks again before the next."""

    async def tokens():
        for item in ("first", "second"):
            for _ in range(thoughts):
                await clock.sleep(SECOND)
                renew_waits()
            yield item

    return tokens


async def read(stream) -> list[str]:
    return [item async for item in stream]


def now(clock) -> float:
    return clock.now() if isinstance(clock, VirtualClock) else anyio.current_time()


async def in_time(clock, call, *args):
    if not isinstance(clock, VirtualClock):
        return await call(*args)
    async with clock.autojump():
        return await call(*args)


async def test_signs_of_life_keep_a_stream_going_for_as_long_as_they_come(clock, registry):
    circuit = circuit_breaker(timeout_seconds=2 * SECOND, idle_timeout_seconds=2 * SECOND, registry=registry)

    assert await in_time(clock, read, circuit(thinking(clock, 6))()) == ["first", "second"]


@pytest.mark.parametrize(("first", "idle", "limit"), [(2, 2, 2), (4, 2, 2), (2, 4, 4)])
async def test_after_a_sign_of_life_silence_counts_as_between_items(clock, registry, first, idle, limit):

    async def tokens():
        await clock.sleep(SECOND)
        renew_waits()
        await clock.sleep(100 * SECOND)
        yield "never"

    circuit = circuit_breaker(timeout_seconds=first * SECOND, idle_timeout_seconds=idle * SECOND, registry=registry)
    started = now(clock)
    with pytest.raises(CallTimeoutError) as caught:
        await in_time(clock, read, circuit(tokens)())

    assert caught.value.timeout_seconds == limit * SECOND
    assert now(clock) - started >= (1 + limit) * SECOND


async def test_a_silent_stream_is_cut_all_the_same(clock, registry):

    async def tokens():
        yield "first"
        await clock.sleep(100 * SECOND)
        yield "never"

    circuit = circuit_breaker(idle_timeout_seconds=SECOND, registry=registry)
    items = []
    with pytest.raises(CallTimeoutError):

        async def collect():
            async for item in circuit(tokens)():
                items.append(item)  # noqa: PERF401 - what came before the error is wanted

        await in_time(clock, collect)

    assert items == ["first"]


async def test_without_an_idle_timeout_a_sign_of_life_is_enough_for_ever(clock, registry):

    async def tokens():
        await clock.sleep(SECOND)
        renew_waits()
        await clock.sleep(4 * SECOND)
        yield "late"

    circuit = circuit_breaker(timeout_seconds=2 * SECOND, idle_timeout_seconds=None, registry=registry)

    assert await in_time(clock, read, circuit(tokens)()) == ["late"]


async def test_a_call_that_reads_a_stream_inside_keeps_its_own_bound(clock, registry):

    async def whole() -> str:
        return "".join(await read(thinking(clock, 6)()))

    circuit = circuit_breaker(timeout_seconds=2 * SECOND, registry=registry)
    with pytest.raises(CallTimeoutError):
        await in_time(clock, circuit(whole))


async def test_a_sign_of_life_renews_the_waits_of_its_own_task_alone(clock, registry):
    circuit = circuit_breaker(timeout_seconds=2 * SECOND, idle_timeout_seconds=2 * SECOND, registry=registry)

    @circuit
    async def silent():
        await clock.sleep(100 * SECOND)
        yield "never"

    ended = []

    async def wait() -> None:
        with pytest.raises(CallTimeoutError):
            await read(silent())
        ended.append("silent")

    async def think() -> None:
        await read(circuit(thinking(clock, 4))())
        ended.append("thinking")

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(think)

    await in_time(clock, both)

    assert ended == ["silent", "thinking"]


async def test_the_waits_of_nested_streams_are_all_renewed(clock, registry):
    inner = circuit_breaker("inner", timeout_seconds=2 * SECOND, idle_timeout_seconds=2 * SECOND, registry=registry)(
        thinking(clock, 6)
    )

    @circuit_breaker("outer", timeout_seconds=3 * SECOND, idle_timeout_seconds=3 * SECOND, registry=registry)
    async def outer():
        async for item in inner():
            yield item

    assert await in_time(clock, read, outer()) == ["first", "second"]


@pytest.mark.parametrize(("first", "idle"), [(5, 3), (3, 5), (3, 3)])
async def test_a_stream_that_reads_itself_before_its_first_item_gives_its_items(clock, registry, first, idle):
    @circuit_breaker(timeout_seconds=first * SECOND, idle_timeout_seconds=idle * SECOND, registry=registry)
    async def tokens(depth):
        for _ in range(4):
            await clock.sleep(SECOND)
            renew_waits()
        if depth:
            async for item in tokens(depth - 1):
                yield item
            await clock.sleep(SECOND)
            renew_waits()
        yield depth

    assert await in_time(clock, read, tokens(2)) == [0, 1, 2]


@pytest.mark.parametrize(("first", "idle"), [(5, 3), (3, 5), (3, 3)])
async def test_a_stream_that_has_read_itself_is_cut_when_it_is_silent_afterwards(clock, registry, first, idle):
    @circuit_breaker(timeout_seconds=first * SECOND, idle_timeout_seconds=idle * SECOND, registry=registry)
    async def tokens(depth):
        renew_waits()
        if depth:
            await read(tokens(depth - 1))
            await clock.sleep(100 * SECOND)
        renew_waits()
        yield depth

    with pytest.raises(CallTimeoutError) as caught:
        await in_time(clock, read, tokens(1))

    assert caught.value.timeout_seconds == idle * SECOND


async def test_nobody_waiting_is_fine():
    renew_waits()
