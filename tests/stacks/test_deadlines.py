"""A caller's deadline through whole stacks: the fallback comes in time, and a caller who leaves is nobody's failure."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its gather, groups and timeouts are what users have around their calls
import sys
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    AIServiceError,
    Endpoint,
    LimitReachedError,
    Registry,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    deadline,
    degrade_to,
    failover,
    time_left,
    watch,
)
from resilient_ai.testing import VirtualClock, isolated_registry
from tests.core.support import JumpingLoop
from tests.helpers import ProviderError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("provider_errors")]


@asynccontextmanager
async def virtual_time():
    with isolated_registry() as registry:
        async with registry.clock.autojump():
            yield registry


def stack(fn, *, limited=False, registry=None):
    """The recommended one, over one endpoint."""
    fn = circuit_breaker("circuit", registry=registry)(fn)
    fn = adaptive_limit("limit", registry=registry)(fn) if limited else fn
    return degrade_to("sorry", registry=registry)(classified_retry("retry", registry=registry)(fn))


def hanging(clock):
    async def ask(*_given):
        await clock.sleep(1000)

    return ask


# -- the fallback comes in time


@pytest.mark.parametrize(("patience", "answered"), [(15, 14.5), (2, 1.9)])
@pytest.mark.parametrize("limited", [False, True])
async def test_below_a_fallback_a_call_ends_a_twentieth_or_half_a_second_earlier(patience, answered, limited):
    async with virtual_time() as registry:
        ask, began = stack(hanging(registry.clock), limited=limited), registry.clock.now()
        with deadline(patience):
            assert await ask() == "sorry"
        assert registry.clock.now() - began == pytest.approx(answered)


async def test_each_task_of_a_group_gets_its_fallback():
    async with virtual_time() as registry:
        ask, answers = stack(hanging(registry.clock)), []

        async def caller():
            answers.append(await ask())

        with deadline(15):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(caller)

    assert answers == ["sorry"] * 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_so_does_each_call_of_a_gather_and_of_a_group_of_asyncio():
    async with virtual_time() as registry:
        ask = stack(hanging(registry.clock))
        with deadline(15):
            answers = await asyncio.gather(ask(), ask())
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(ask())
        assert [*answers, task.result()] == ["sorry"] * 3


async def test_a_caller_who_leaves_is_nobodys_failure():
    async with virtual_time() as registry:
        ask = stack(hanging(registry.clock), limited=True)
        for _ in range(10):
            with deadline(15):
                await ask()
        circuit, limit = registry.circuit_breakers["circuit"], registry.limits["limit"]

        assert (circuit.state, circuit.stats().failed, limit.stats().in_flight) == ("closed", 0, 0)


async def test_without_a_fallback_the_block_ends_with_a_timeout():
    async with virtual_time() as registry:
        ask, began = circuit_breaker("circuit")(hanging(registry.clock)), registry.clock.now()
        with pytest.raises(TimeoutError, match="the deadline of 15 s is over"), deadline(15):
            await ask()

        assert registry.clock.now() - began == 15


async def test_a_call_that_begins_too_late_is_answered_by_the_fallback_at_once():
    asked = []

    async def ask():
        asked.append(True)

    async with virtual_time() as registry:
        with deadline(5):
            registry.clock.advance(6)
            answer = await stack(ask)()

    assert (answer, asked) == ("sorry", [])


async def test_who_answers_in_time_is_heard():
    async with virtual_time() as registry:

        async def ask():
            await registry.clock.sleep(14)
            return "answer"

        with deadline(15):
            assert await stack(ask)() == "answer"


async def test_an_error_of_the_user_passes():
    async def ask():
        raise ZeroDivisionError

    async with virtual_time():
        with pytest.raises(ZeroDivisionError), deadline(15):
            await stack(ask)()


async def test_a_cancellation_from_outside_is_not_answered():
    async with virtual_time() as registry:
        ask, answers = stack(hanging(registry.clock)), []

        async def caller():
            with deadline(15):
                answers.append(await ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await registry.clock.sleep(1)
            tasks.cancel_scope.cancel()

        assert answers == []


async def test_a_call_that_cancels_its_caller_is_not_answered_either():
    async def ask():
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    async with virtual_time():
        with anyio.CancelScope() as scope:
            await degrade_to("sorry")(ask)()

    assert scope.cancelled_caught


async def test_a_timeout_of_the_functions_own_is_not_taken_for_the_deadlines():
    async def ask():
        raise TimeoutError("mine")

    with deadline(15), watch() as seen:
        assert await degrade_to("sorry", registry=Registry(listeners=()))(ask)() == "sorry"

    assert str(seen.error) == "mine"


async def test_the_function_is_told_the_earlier_end():
    async def ask():
        return time_left()

    async with virtual_time():
        with deadline(15):
            assert (await stack(ask)(), time_left()) == (14.5, 15)


async def test_a_deadline_inside_of_the_function_bounds_each_attempt():
    async with virtual_time() as registry:

        async def ask():
            with deadline(5):
                await registry.clock.sleep(100)

        assert await stack(ask)() == "sorry"
        assert registry.retries["retry"].stats().error_counts == {"timeout": 3}


async def test_policies_with_another_clock_count_the_seconds_of_the_default_one():
    """A deadline is the caller's, whatever registry a function has."""
    async with virtual_time() as registry:
        other = Registry(clock=VirtualClock(), listeners=())
        ask = stack(hanging(registry.clock), registry=other)
        with deadline(15):
            assert await ask() == "sorry"
        assert (registry.clock.now(), other.clock.now()) == (14.5, 0)


# -- nobody waits beyond it


async def test_a_retry_hands_on_the_last_error_instead_of_sleeping_into_it():
    async def ask():
        raise ProviderError("rate_limit", 10)

    async with virtual_time() as registry:
        with deadline(5), pytest.raises(AIServiceError, match="deadline would end before the next attempt"):
            await classified_retry(ask)()

        assert registry.clock.now() == 0


async def test_a_retry_in_a_task_of_the_block_does_so_too():
    async def ask():
        raise ProviderError("rate_limit", 10)

    async with virtual_time() as registry:
        answers = []

        async def caller():
            answers.append(await degrade_to("sorry")(classified_retry(ask))())

        with deadline(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(caller)

        assert (answers, registry.clock.now()) == (["sorry"], 0)


async def test_nobody_is_held_in_a_queue_who_would_be_served_too_late():
    async with virtual_time() as registry:

        @adaptive_limit(initial=1, max_limit=1)
        async def ask():
            await registry.clock.sleep(10)

        async def outcome():
            with deadline(60):
                await ask()  # an answer takes 10 seconds
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await registry.clock.sleep(1)
                began = registry.clock.now()
                with deadline(5), pytest.raises(LimitReachedError):
                    await ask()
                return registry.clock.now() - began

        assert await outcome() == 0


# -- streams


async def pieces(clock, seconds):
    for each in seconds:
        await clock.sleep(each)
        yield each


def streaming(clock, *seconds):
    async def yields():
        async for each in pieces(clock, seconds):
            yield each

    async def returns():
        return pieces(clock, seconds)

    return {"yields": yields, "returns": returns}


async def read(ask, way):
    return [item async for item in (ask() if way == "yields" else await ask())]


@pytest.mark.parametrize("way", ["yields", "returns"])
async def test_a_stream_that_does_not_begin_is_answered_in_time(way):
    async with virtual_time() as registry:
        ask = degrade_to("sorry", stream=True)(circuit_breaker(streaming(registry.clock, 1000)[way]))
        with deadline(15):
            assert await read(ask, way) == ["sorry"]
        assert registry.clock.now() == 14.5


@pytest.mark.parametrize("way", ["yields", "returns"])
async def test_a_stream_that_has_begun_has_the_whole_deadline(way):
    """From its first item on no fallback can answer, so that no time is kept for one."""
    async with virtual_time() as registry:
        ask = degrade_to("sorry", stream=True)(circuit_breaker(streaming(registry.clock, 10, 4.8)[way]))
        with deadline(15):
            assert await read(ask, way) == [10, 4.8]


@pytest.mark.parametrize("way", ["yields", "returns"])
async def test_a_stream_that_is_read_too_long_ends_with_the_block(way):
    async with virtual_time() as registry:
        ask, items = circuit_breaker("circuit")(streaming(registry.clock, 10, 4, 4)[way]), []
        with pytest.raises(TimeoutError), deadline(15):
            items.extend([items.append(item) async for item in (ask() if way == "yields" else await ask())])
        circuit = registry.circuit_breakers["circuit"].stats()

        assert (items, registry.clock.now()) == ([10, 4], 15)
        assert (circuit.failed, circuit.ok) == (0, 0)


@pytest.mark.parametrize("way", ["yields", "returns"])
async def test_a_stream_that_is_read_after_the_block_is_not_bounded(way):
    async with virtual_time() as registry:
        ask = degrade_to("sorry", stream=True)(classified_retry(streaming(registry.clock, 10, 1000)[way]))
        with deadline(15):
            stream = ask() if way == "yields" else await ask()
            items = [await anext(stream)]
        items += [item async for item in stream]

        assert items == [10, 1000]


async def test_from_its_first_item_on_a_stream_is_told_the_whole_deadline():
    async with virtual_time():

        async def told():
            for _ in range(2):
                yield time_left()

        ask = degrade_to("sorry", stream=True)(classified_retry(told))
        with deadline(15):
            assert [item async for item in ask()] == pytest.approx([14.5, 15], abs=0.1)


@pytest.mark.parametrize("way", ["yields", "returns"])
async def test_a_stream_may_hold_a_scope_across_its_items(way):
    async with virtual_time() as registry:

        async def scoped():
            with anyio.CancelScope():
                for each in range(3):
                    await registry.clock.sleep(1)
                    yield each

        async def returns():
            return scoped()

        ask = degrade_to("sorry", stream=True)(classified_retry(scoped if way == "yields" else returns))
        with deadline(15):
            assert await read(ask, way) == [0, 1, 2]


# -- what others have set


def in_jumping_time(fn):
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:  # without anyio, which leaves traces
        return runner.run(fn())


async def sleeping(*_given):
    await asyncio.sleep(1000)


def fail_after(seconds, ask):
    async def call():
        with anyio.fail_after(seconds):
            return await ask()

    return call()


def timeout(seconds, ask):
    async def call():
        async with asyncio.timeout(seconds):
            return await ask()

    return call()


def wait_for(seconds, ask):
    return asyncio.wait_for(ask(), seconds)


AROUND = [
    fail_after,
    timeout,
    pytest.param(
        wait_for, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="runs the call in another task")
    ),
]


@pytest.mark.parametrize("around", AROUND)
def test_a_scope_or_timeout_right_around_the_call_is_a_deadline_too(around):
    async def main():
        loop = asyncio.get_running_loop()
        ask, began = stack(sleeping, limited=True, registry=Registry(listeners=())), loop.time()
        return await around(2, ask), loop.time() - began

    answer, seconds = in_jumping_time(main)

    assert (answer, seconds) == ("sorry", pytest.approx(1.9))


@pytest.mark.parametrize("around", AROUND)
def test_a_retry_without_a_fallback_knows_it_as_well(around):
    async def refused():
        raise ProviderError("rate_limit", 10)

    async def main():
        loop = asyncio.get_running_loop()
        ask, began = classified_retry(registry=Registry(listeners=()))(refused), loop.time()
        with pytest.raises(AIServiceError, match="deadline would end before the next attempt"):
            await around(2, ask)
        return loop.time() - began

    assert in_jumping_time(main) == 0


async def test_on_trio_a_scope_counts_for_a_stack_that_has_nothing_to_decide():
    async with virtual_time():

        async def ask():
            return time_left()

        with anyio.move_on_after(100):
            await anyio.lowlevel.checkpoint()
            assert 99 < await degrade_to("sorry")(ask)() <= 99.5


@pytest.mark.parametrize("limited", [False, True])
async def test_the_answers_under_a_deadline_are_counted_as_ever(limited):
    async def ask():
        return "answer"

    async with virtual_time() as registry:
        call = stack(ask, limited=limited)
        with deadline(15):
            assert [await call() for _ in range(3)] == ["answer"] * 3
        circuit, retry = registry.circuit_breakers["circuit"].stats(), registry.retries["retry"].stats()

        assert (circuit.ok, retry.ok) == (3, 3)


async def test_failover_below_a_fallback_moves_on_in_time():
    async with virtual_time() as registry:

        @degrade_to("sorry")
        @classified_retry
        @failover(Endpoint("hanging"), Endpoint("well"), strategy="priority")
        @circuit_breaker("circuit")
        async def ask(endpoint):
            await registry.clock.sleep(1000 if endpoint.name == "hanging" else 1)
            return endpoint.name

        with deadline(15):
            assert await ask() == "well"
        endpoint = registry.endpoints["hanging"].stats()

        assert (endpoint.failed, endpoint.healthy) == (0, True)
