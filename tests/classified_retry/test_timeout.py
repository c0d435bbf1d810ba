"""A bound on a whole call: its attempts, the waits between them and the first item of a stream."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import AIServiceError, CallTimeoutError, Registry, circuit_breaker, degrade_to, time_left
from tests.classified_retry.support import PLAIN, retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_a_call_that_takes_longer_in_all_is_ended_and_counted(registry, clock):
    calls = []

    async def slow():
        calls.append(clock.now())
        if len(calls) == 1:
            raise ProviderError("model_overloaded")
        await clock.sleep(100)

    ask = retrying(registry, slow, rules=PLAIN, timeout_seconds=10)
    async with clock.autojump():
        with pytest.raises(CallTimeoutError, match="'ask' took longer than timeout_seconds=10"):
            await ask()

    assert (calls, clock.now()) == ([0, 1], 10)
    assert (stats(registry).failed, stats(registry).ok) == (1, 0)


async def test_a_retry_that_would_come_too_late_is_not_waited_for(registry, clock):
    ask = retrying(registry, scripted(*[ProviderError("model_overloaded")] * 9), rules=PLAIN, timeout_seconds=10)
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="deadline") as caught:
            await ask()

    assert (caught.value.attempts, clock.now()) == (4, 7)  # after 0, 1, 3 and 7 seconds; the next would be at 15


async def test_a_task_below_knows_how_much_time_is_left(registry, clock):
    left = []

    async def note():
        left.append(time_left())

    async def ask():
        await clock.sleep(3)
        async with anyio.create_task_group() as group:
            group.start_soon(note)

    async with clock.autojump():
        await retrying(registry, ask, timeout_seconds=10)()

    assert left == [7]
    assert time_left() is None


async def test_a_call_in_time_is_left_alone(registry, clock):
    async with clock.autojump():
        ask = retrying(registry, scripted(ProviderError("model_overloaded"), "pong"), rules=PLAIN, timeout_seconds=10)

        assert await ask() == "pong"
        await clock.sleep(20)


async def test_a_circuit_below_takes_it_for_the_caller_leaving(registry, clock):
    @circuit_breaker("provider", timeout_seconds=None, registry=registry)
    async def slow():
        await clock.sleep(100)

    async with clock.autojump():
        with pytest.raises(CallTimeoutError):
            await retrying(registry, slow, timeout_seconds=10)()

    provider = registry.circuit_breakers["provider"].stats()
    assert (provider.failed, provider.neutral) == (0, 1)


async def test_a_fallback_above_answers_when_the_time_is_over(registry, clock):
    async def slow():
        await clock.sleep(100)

    ask = degrade_to("later", registry=registry)(retrying(registry, slow, timeout_seconds=10))
    async with clock.autojump():
        assert await ask() == "later"

    assert clock.now() == 10


async def test_a_stream_is_bounded_until_its_first_item_only(registry, clock):
    async def items(wait):
        await clock.sleep(wait)
        yield "first"
        await clock.sleep(100)
        yield "second"

    stream = retrying(registry, items, timeout_seconds=10)
    async with clock.autojump():
        assert [item async for item in stream(9)] == ["first", "second"]
        with pytest.raises(CallTimeoutError):
            assert [item async for item in stream(11)] == []


async def test_who_cancels_the_call_hears_of_that(registry, clock):
    async def slow():
        await clock.sleep(100)

    async with clock.autojump():
        with clock.move_on_after(5) as scope:
            await retrying(registry, slow, timeout_seconds=10)()

    assert scope.cancelled_caught
    assert stats(registry).failed == 0


async def test_in_real_time_a_call_that_takes_longer_is_ended_as_well():
    in_real_time = Registry(listeners=())
    ask = retrying(in_real_time, anyio.sleep_forever, timeout_seconds=0.01)
    with pytest.raises(CallTimeoutError):
        await ask()

    assert stats(in_real_time).failed == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "10", True])
def test_a_bound_that_is_none_is_refused(registry, seconds):
    with pytest.raises(ValueError, match="timeout_seconds must be a number above 0 or None"):
        retrying(registry, scripted("pong"), timeout_seconds=seconds)


async def test_a_stream_may_hold_a_scope_across_its_items(registry, clock):
    async def scoped():
        with anyio.CancelScope():
            for each in range(3):
                await clock.sleep(1)
                yield each

    async with clock.autojump():
        assert [item async for item in retrying(registry, scoped, timeout_seconds=10)()] == [0, 1, 2]
