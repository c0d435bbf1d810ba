"""How an open circuit comes back: probes."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, ErrorType, RejectedResultError, circuit_breaker
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._circuit_breaker.state import Circuit
from resilient_ai._circuit_breaker.tickets import DEAD, HEAD_START
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


class Provider:
    """Refuses in 0.05 s while it is down, and else answers after 3 s; or as it is told for one call."""

    def __init__(self, clock):
        self.clock, self.down, self.asked = clock, True, 0

    async def ask(self, seconds: float | None = None) -> str:
        self.asked += 1
        down = self.down and seconds is None
        await self.clock.sleep(0.05 if down else seconds or 3)
        if down:
            raise OSError("down")
        return "pong"


async def look(ask, provider: Provider, clock) -> tuple[int, list[tuple[str, float | None]]]:
    """Eight callers at a circuit that is due: calls within 0.3 s, and what those who had to wait were told."""
    refusals: list[tuple[str, float | None]] = []

    async def caller() -> None:
        while True:
            try:
                return await ask()
            except CircuitOpenError as refused:
                refusals.append((refused.reason, refused.retry_after))
                await clock.sleep(refused.retry_after)
            except OSError:
                await clock.sleep(0.1)

    clock.advance(60)
    before = provider.asked
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(caller)
        await clock.sleep(0.3)
        tasks.cancel_scope.cancel()
    return provider.asked - before, refusals


def probed(provider: Provider, registry, failures: int = DEAD):
    """Opens after so many failures, and probes with five."""
    settings = {
        "failure_threshold": failures,
        "success_threshold": 1,
        "half_open_max_calls": 5,
        "timeout_seconds": None,
    }
    return circuit_breaker("probed", registry=registry, **settings)(provider.ask)


@pytest.mark.parametrize(("failures", "down", "calls"), [(DEAD, True, 1), (DEAD, False, 5), (DEAD - 1, True, 5)])
async def test_where_nothing_at_all_is_answered_one_probe_goes_ahead(registry, clock, failures, down, calls):
    provider = Provider(clock)
    ask = probed(provider, registry, failures)
    async with clock.autojump():
        await fail(ask, failures)
        provider.down = down
        asked, refusals = await look(ask, provider, clock)

    assert asked == calls
    assert refusals[0] == ("half_open_full", pytest.approx(HEAD_START if failures == DEAD else 60))


@pytest.mark.parametrize(("begun_in_the_outage", "calls"), [(True, 5), (False, 1)])
async def test_an_answer_to_a_call_of_the_outage_shows_that_failures_are_chance(
    registry, clock, begun_in_the_outage, calls
):
    provider = Provider(clock)
    ask = probed(provider, registry)
    async with clock.autojump(), anyio.create_task_group() as tasks:
        if begun_in_the_outage:
            await fail(ask, 1)
        tasks.start_soon(ask, 10.0)  # is answered when the circuit is open
        await clock.sleep(0.01)
        await fail(ask, DEAD - begun_in_the_outage)
        assert registry.circuit_breakers["probed"].state is CircuitState.OPEN
        await clock.sleep(10)
        asked, _ = await look(ask, provider, clock)

    assert registry.circuit_breakers["probed"].stats().late >= 1
    assert asked == calls


async def test_failures_of_an_earlier_outage_do_not_count(registry, clock):
    provider = Provider(clock)
    few = DEAD // 2
    ask = probed(provider, registry, few + 1)
    async with clock.autojump():
        async with anyio.create_task_group() as tasks:
            for _ in range(few):
                tasks.start_soon(ask, 10.0)  # begun before the failures: their answers say nothing about these
            await clock.sleep(0.01)
            await fail(ask, few)
        await fail(ask, few + 1)
        assert registry.circuit_breakers["probed"].state is CircuitState.OPEN
        asked, _ = await look(ask, provider, clock)

    assert asked == 5


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


class Dice:
    """Refuses in 0.05 s or answers after 3 s, as it is told for one call after the other."""

    def __init__(self, clock):
        self.clock = clock
        self.falls: list[bool] = []

    async def ask(self) -> str:
        good = self.falls.pop(0)
        await self.clock.sleep(3 if good else 0.05)
        if not good:
            raise OSError("refused by chance")
        return "pong"


async def half_opened(dice: Dice, clock, registry, *, waits: bool, falls: list[bool], after: float = 0.0) -> int:
    """Send callers at once to a circuit that is due, one for each fall, then one more; return how many calls came."""
    ask = circuit_breaker(
        "dice",
        failure_threshold=1,
        recovery_timeout=1,
        success_threshold=1,
        half_open_max_calls=3,
        wait_for_all_probes=waits,
        registry=registry,
    )(dice.ask)

    async def caller() -> None:
        with contextlib.suppress(OSError, CircuitOpenError):
            await ask()

    async with clock.autojump():
        dice.falls = [False]
        await caller()
        await clock.sleep(1)
        dice.falls = [*falls, True]
        async with anyio.create_task_group() as tasks:
            for _ in falls:
                tasks.start_soon(caller)
            if after:
                await clock.sleep(after)
                tasks.start_soon(caller)
    return len(falls) + 1 - len(dice.falls)


@pytest.mark.parametrize(("waits", "state"), [(True, CircuitState.CLOSED), (False, CircuitState.OPEN)])
async def test_a_probe_that_is_answered_after_another_was_refused_closes_it_where_all_are_waited_for(
    registry, clock, waits, state
):
    await half_opened(Dice(clock), clock, registry, waits=waits, falls=[False, True, False])

    assert registry.circuit_breakers["dice"].state is state


async def test_it_opens_again_when_the_last_probe_fails(registry, clock):
    await half_opened(Dice(clock), clock, registry, waits=True, falls=[False, False, False])

    assert registry.circuit_breakers["dice"].state is CircuitState.OPEN
    assert registry.circuit_breakers["dice"].stats().opened_count == 2


@pytest.mark.parametrize(("after", "calls"), [(0.9, 3), (1.1, 4)])
async def test_the_slot_of_a_failed_probe_is_free_again_after_the_period(registry, clock, after, calls):
    asked = await half_opened(Dice(clock), clock, registry, waits=True, falls=[False, True, False], after=after)

    assert asked == calls


def test_a_used_up_quota_opens_it_again_at_once_whatever_is_waited_for():
    state = Circuit(
        CircuitConfig(failure_threshold=1, recovery_timeout=1, success_threshold=2, wait_for_all_probes=True)
    )
    first, _ = state.admit(0.0)
    state.fail(first, 0.0, 0.0)
    one, _ = state.admit(1.0)
    state.admit(1.0)

    assert state.fail(one, 1.1, 0.1, at_once=True) is CircuitState.OPEN
