"""How an open circuit comes back: probes."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, ErrorType, RejectedResultError, circuit_breaker
from resilient_ai.events import CallRejected, CircuitClosed, CircuitHalfOpened, CircuitOpened
from tests.circuit_breaker.support import fail
from tests.helpers import scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_probes_close_it_and_the_story_is_told_once(registry, clock, events):
    ask = circuit_breaker("story", failure_threshold=1, recovery_timeout=20, registry=registry)(
        scripted(OSError(), "pong")
    )
    await fail(ask, 1)
    with pytest.raises(CircuitOpenError):
        await ask()
    clock.advance(20)
    for _ in range(4):
        assert await ask() == "pong"

    assert [type(event) for event in events] == [CircuitOpened, CallRejected, CircuitHalfOpened, CircuitClosed]


async def test_callers_beyond_the_probes_are_refused(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("full", success_threshold=2, registry=registry)
    async def ask() -> str:
        await gate.wait()
        return "pong"

    registry.circuit_breakers["full"].trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(CircuitOpenError, match="half-open and all its probes are in flight") as caught:
            await ask()
        gate.set()

    assert caught.value.reason == "half_open_full"
    assert registry.circuit_breakers["full"].state is CircuitState.CLOSED


@pytest.mark.parametrize("down", [True, False])
async def test_a_head_start_spares_a_provider_that_is_still_down_all_probes_but_one(registry, clock, down):
    asked = 0

    @circuit_breaker("ahead", success_threshold=1, half_open_max_calls=5, probe_head_start=0.2, registry=registry)
    async def ask() -> None:
        nonlocal asked
        asked += 1
        await clock.sleep(0.05 if down else 3)
        if down:
            raise OSError("down")

    async def caller() -> None:
        while True:
            try:
                return await ask()
            except CircuitOpenError as refused:
                waits.append((refused.reason, refused.retry_after))
                await clock.sleep(refused.retry_after)
            except OSError:
                await clock.sleep(0.1)

    waits: list[tuple[str, float | None]] = []
    registry.circuit_breakers["ahead"].trip()
    clock.advance(60)
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(caller)
        await clock.sleep(0.3)
        tasks.cancel_scope.cancel()

    assert asked == (1 if down else 5)
    assert waits[0] == ("half_open_full", pytest.approx(0.2))


async def test_calls_within_a_probe_are_part_of_it_and_need_no_slot_of_their_own(registry, clock):
    """A function that calls another of the same provider: the probes' own calls must not be what keeps it half-open."""
    down = True

    @circuit_breaker("nested", failure_threshold=1, success_threshold=2, registry=registry)
    async def ask() -> str:
        await clock.sleep(1)
        if down:
            raise OSError("down")
        return "ok"

    @circuit_breaker("nested", failure_threshold=1, success_threshold=2, registry=registry)
    async def agent() -> str:
        return await ask() + await ask()

    async with clock.autojump():
        await fail(ask, 1)
        down = False
        clock.advance(60)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):  # as many as there are slots
                tasks.start_soon(agent)
    breaker = registry.circuit_breakers["nested"]

    assert breaker.state is CircuitState.CLOSED
    assert (breaker.stats().rejected, breaker.stats().probes_in_flight) == (0, 0)


async def test_calls_within_a_probing_stream_are_part_of_it_and_its_consumers_calls_are_not(registry, clock):
    shared = {"failure_threshold": 1, "success_threshold": 1, "half_open_max_calls": 1, "registry": registry}
    ask = circuit_breaker("streamed", **shared)(scripted(OSError("down"), "pong"))

    @circuit_breaker("streamed", **shared)
    async def stream():
        yield await ask()
        yield await ask()

    await fail(ask, 1)
    clock.advance(60)
    items = stream()
    first = await anext(items)
    with pytest.raises(CircuitOpenError):  # the only slot is the stream's
        await ask()
    rest = [item async for item in items]
    breaker = registry.circuit_breakers["streamed"]

    assert [first, *rest] == ["pong", "pong"]
    assert breaker.state is CircuitState.CLOSED
    assert breaker.stats().rejected == 1


async def test_a_result_within_a_probe_is_judged_like_any_other(registry, clock):
    empty = circuit_breaker(
        "judged", failure_threshold=1, reject=lambda _: ErrorType.INTERNAL_ERROR, registry=registry
    )(scripted("", ""))

    @circuit_breaker("judged", failure_threshold=1, registry=registry)
    async def agent() -> str:
        return await empty()

    await fail(empty, 1, RejectedResultError)
    clock.advance(60)
    await fail(agent, 1, RejectedResultError)

    assert registry.circuit_breakers["judged"].stats().opened_count == 2


async def test_what_a_probe_left_behind_needs_a_slot_once_the_probe_is_over(registry, clock):
    down = True

    @circuit_breaker("left", failure_threshold=1, success_threshold=2, half_open_max_calls=1, registry=registry)
    async def ask() -> str:
        await clock.sleep(1)
        if down:
            raise OSError("down")
        return "ok"

    async with clock.autojump():
        await fail(ask, 1)
        down = False
        clock.advance(60)
        await ask()  # from here on this context has been a probe's
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await clock.sleep(0.5)
            with pytest.raises(CircuitOpenError):
                await ask()


async def test_a_probe_that_never_ends_cannot_wedge_it_and_still_counts(registry, clock):
    gate = anyio.Event()

    @circuit_breaker("hung", success_threshold=2, half_open_max_calls=1, timeout_seconds=None, registry=registry)
    async def ask(wait: bool) -> str:
        if wait:
            await gate.wait()
        return "pong"

    breaker = registry.circuit_breakers["hung"]
    breaker.trip()
    clock.advance(60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, True)
        await anyio.wait_all_tasks_blocked()
        clock.advance(60)
        assert await ask(False) == "pong"
        assert breaker.state is CircuitState.HALF_OPEN
        gate.set()

    assert breaker.state is CircuitState.CLOSED
