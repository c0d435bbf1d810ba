"""When an endpoint rests, and how it comes back."""

from __future__ import annotations

import itertools
from collections import Counter

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, circuit_breaker, failover
from resilient_ai.types import EndpointState
from tests.failover.support import AP, EU, US, RefusalError


async def test_a_failed_endpoint_rests_and_comes_back_with_one_trial_call(over, regions, clock, registry):
    ask = over(US, EU, strategy="priority", health_check_interval=30)
    regions.faults["us"] = OSError("down")
    await ask()
    del regions.faults["us"]
    clock.advance(29.9)
    await ask()
    clock.advance(0.1)
    regions.was_asked()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)

    assert Counter(regions.was_asked()) == {"us": 1, "eu": 4}
    assert await ask() == "us: hi"
    assert registry.endpoints["us"].stats().state is EndpointState.RETURNING


async def test_a_trial_that_is_cancelled_leaves_the_trial_to_the_next(registry, clock):
    hang, down = [True], [True]

    async def ask(endpoint) -> str:
        if endpoint.name == "us" and down:
            raise OSError("down")
        if endpoint.name == "us" and hang:
            await anyio.sleep_forever()
        return endpoint.name

    call = failover(US, EU, strategy="priority", registry=registry)(ask)
    await call()
    down.clear()
    clock.advance(30)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        meanwhile = await call()
        tasks.cancel_scope.cancel()
    hang.clear()

    assert meanwhile == "eu"
    assert await call() == "us"


@pytest.mark.parametrize("asks", [2.0, 90.0])
async def test_a_rate_limited_endpoint_rests_for_as_long_as_it_asks(over, regions, clock, asks):
    ask = over(US, EU, strategy="priority", health_check_interval=30)
    regions.faults["us"] = RefusalError(429, retry_after=asks)
    await ask()
    del regions.faults["us"]
    clock.advance(asks - 0.1)
    answers = [await ask()]
    clock.advance(0.1)
    answers.append(await ask())

    assert answers == ["eu: hi", "us: hi"]


async def test_rests_grow_with_failures_in_a_row(over, regions, clock, registry):
    ask = over(US, EU, strategy="priority", health_check_interval=10)
    regions.faults["us"] = OSError("down")
    rests = []
    for _ in range(6):
        await ask()
        rests.append(registry.endpoints["us"].stats().resting_for)
        clock.advance(rests[-1])

    assert rests[0] == 10
    assert all(after > 1.5 * before for before, after in itertools.pairwise(rests[:4]))
    assert max(rests) <= 100


@pytest.mark.parametrize("fault", [RefusalError(401), RefusalError(403), RefusalError(429, 18.0, "insufficient_quota")])
async def test_an_endpoint_that_denies_us_rests_long_and_is_reported_once_at_error_level(
    over, regions, clock, registry, events, fault
):
    ask = over(US, EU)
    regions.faults["us"] = fault
    for _ in range(4):
        for _ in range(20):
            await ask()
        clock.advance(registry.endpoints["us"].stats().resting_for)

    assert [event.log_name for event in events if event.level == "error"] == ["resilient_ai.endpoint_denied"]
    assert 3 <= regions.was_asked().count("us") <= 4
    assert clock.now() > 3 * 600


async def test_when_all_rest_the_one_due_soonest_is_asked(over, regions, clock):
    ask = over(US, EU, strategy="priority")
    regions.faults |= {"us": RefusalError(429, 20.0), "eu": RefusalError(429, 10.0)}
    with pytest.raises(AllEndpointsFailedError):
        await ask()
    regions.faults.clear()
    regions.was_asked()

    assert await ask() == "eu: hi"
    assert regions.was_asked() == ["eu"]


async def test_when_all_rest_and_one_fails_again_the_next_is_asked(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    with pytest.raises(AllEndpointsFailedError):
        await ask()
    regions.was_asked()
    del regions.faults["ap"]

    assert await ask() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]


async def test_in_a_long_outage_of_all_no_endpoint_is_pressed_by_more_than_one_call_each(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    for _ in range(130):
        with pytest.raises(AllEndpointsFailedError):
            await ask()

    assert len(regions.was_asked()) <= 130 + 2 + 10  # the first call's other two, and what earlier answers had paid for


async def test_what_denies_us_is_not_pressed_while_there_is_another(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": RefusalError(401), "eu": OSError()}
    for _ in range(5):
        with pytest.raises(
            AllEndpointsFailedError, match=r"us: resting for .* eu: |us: authentication|eu: .*, us: resting"
        ):
            await ask()

    assert regions.was_asked() == ["us", "eu", "eu", "eu", "eu", "eu"]


async def test_a_circuits_refusal_takes_no_chance_away_from_a_call(registry, regions):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, AP, registry=registry)(circuit_breaker("c", failure_threshold=1, registry=registry)(ask))
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    for _ in range(15):
        with pytest.raises(AllEndpointsFailedError):
            await call()
    regions.was_asked()
    regions.faults.clear()
    registry.circuit_breakers["c[ap]"].reset()

    assert await call() == "ap: hi"
    assert regions.was_asked() == ["ap"]


async def test_one_failure_among_many_good_answers_begins_no_rest_and_a_second_does(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    states = []
    for _ in range(2):
        for _ in range(20):
            await ask()
        for _ in range(1 + len(states)):
            regions.faults["us"] = OSError("once")
            await ask()
        del regions.faults["us"]
        states.append(registry.endpoints["us"].stats().state)

    assert states == [EndpointState.UP, EndpointState.RESTING]


async def test_a_lone_endpoint_is_never_taken_out(over, regions):
    ask = over(US)
    regions.faults["us"] = OSError("down")
    for _ in range(3):
        with pytest.raises(AllEndpointsFailedError):
            await ask()
    del regions.faults["us"]

    assert await ask() == "us: hi"
    assert regions.was_asked() == ["us"] * 4


async def test_a_call_that_began_before_the_rest_does_not_end_it(over, registry, clock):
    slow = anyio.Event()

    async def ask(endpoint, kind: str) -> str:
        if kind == "slow":
            await slow.wait()
        elif endpoint.name == "us":
            raise OSError("down")
        return endpoint.name

    call = failover(US, EU, strategy="priority", registry=registry)(ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "slow")
        await anyio.wait_all_tasks_blocked()
        await call("now")
        slow.set()

    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


@pytest.mark.parametrize("fault", [RefusalError(401), RefusalError(429, 2.0, "insufficient_quota")])
async def test_an_endpoint_that_denied_us_is_asked_again_now_and_then_when_no_other_answers(
    over, regions, clock, fault
):
    ask = over(US, EU, strategy="priority", health_check_interval=5)
    regions.faults |= {"us": fault, "eu": OSError("down")}
    for _ in range(60):
        with pytest.raises(AllEndpointsFailedError):
            await ask()
        clock.advance(1)
    asked = regions.was_asked().count("us")
    del regions.faults["us"]
    clock.advance(5)

    assert 60 / 5 - 1 <= asked <= 60 / 5 + 1
    assert [await ask() for _ in range(3)] == ["us: hi"] * 3
