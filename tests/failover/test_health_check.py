"""Health checks: resting endpoints are asked beside the calls, and no task outlives its loop."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import Endpoint, Registry, failover
from resilient_ai.testing import VirtualClock
from resilient_ai.types import EndpointState

US, EU = Endpoint("us"), Endpoint("eu")


class Region:
    """An endpoint with a `.check()` of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.well = True
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        await anyio.lowlevel.checkpoint()
        if not self.well:
            raise OSError("down")


async def ask(endpoint) -> str:
    await anyio.lowlevel.checkpoint()
    if not getattr(endpoint, "well", True):
        raise OSError("down")
    return endpoint.name


async def later(clock, seconds: float) -> None:
    """Let time pass, and the tasks that it wakes run."""
    clock.advance(seconds)
    await anyio.wait_all_tasks_blocked()


async def test_an_endpoint_with_a_check_comes_back_by_it_and_not_by_a_trial_call(registry, clock):
    us, eu = Region("us"), Region("eu")
    call = failover(us, eu, strategy="priority", registry=registry)(ask)
    us.well = False
    await call()
    await later(clock, 30)
    answers = [await call(), await call()]
    us.well = True
    await later(clock, 30)
    answers.append(await call())

    assert answers == ["eu", "eu", "us"]
    assert us.checks == 2


async def test_after_a_passed_check_calls_return_one_at_a_time_first(registry, clock):
    us, eu, hold = Region("us"), Region("eu"), anyio.Event()

    async def held(endpoint) -> str:
        if not endpoint.well:
            raise OSError("down")
        await hold.wait()
        return endpoint.name

    call = failover(us, eu, strategy="priority", registry=registry)(held)
    us.well = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        us.well = True
        await later(clock, 30)
        for _ in range(5):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        sent = registry.endpoints["us"].stats().in_flight
        hold.set()

    assert sent == 1


async def test_a_check_of_ones_own_is_given_the_endpoint_and_may_answer_false(registry, clock, events):
    verdicts, asked = [False, True], []

    async def check(endpoint) -> bool:
        asked.append(endpoint)
        return verdicts.pop(0)

    async def fail(endpoint) -> str:
        if endpoint is US:
            raise OSError("down")
        return endpoint.name

    call = failover(US, EU, strategy="priority", health_check=check, health_check_interval=5, registry=registry)(fail)
    await call()
    await later(clock, 5)
    states = [registry.endpoints["us"].stats().state]
    await later(clock, 5)
    states.append(registry.endpoints["us"].stats().state)

    assert asked == [US, US]
    assert states == [EndpointState.RESTING, EndpointState.RETURNING]
    assert [event.log_name.partition(".")[2] for event in events] == ["endpoint_down", "failed_over", "endpoint_up"]


async def test_health_check_false_leaves_it_to_a_trial_call(registry, clock):
    us, eu = Region("us"), Region("eu")
    call = failover(us, eu, strategy="priority", health_check=False, registry=registry)(ask)
    us.well = False
    await call()
    us.well = True
    await later(clock, 30)

    assert await call() == "us"
    assert us.checks == 0


async def test_a_check_that_hangs_has_failed_after_ten_seconds(registry, clock):
    async def hang(endpoint) -> None:
        await anyio.sleep_forever()

    us = Region("us")
    us.well = False
    call = failover(us, EU, strategy="priority", health_check=hang, registry=registry)(ask)
    await call()
    await later(clock, 30)
    before = registry.endpoints["us"].stats().resting_for
    await later(clock, 10)

    assert (before, registry.endpoints["us"].stats().resting_for) == (0, 30)


async def test_one_task_checks_however_many_calls_fail(registry, clock):
    us = Region("us")
    us.well = False
    call = failover(us, EU, strategy="priority", registry=registry)(ask)
    for _ in range(20):
        await call()
    await later(clock, 30)

    assert us.checks == 1


async def test_what_an_operator_marks_down_is_not_checked(registry, clock):
    us = Region("us")
    us.well = False
    call = failover(us, EU, strategy="priority", registry=registry)(ask)
    await call()
    registry.endpoints["us"].mark_down()
    await later(clock, 30)

    assert us.checks == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_task_ends_with_its_loop_and_another_loop_begins_anew(backend, recwarn):
    clock = VirtualClock()
    registry = Registry(clock=clock, listeners=())
    us, eu = Region("us"), Region("eu")
    call = failover(us, eu, strategy="priority", registry=registry)(ask)
    us.well = False

    async def second_day() -> None:
        await call()
        await later(clock, 30)

    anyio.run(call, backend=backend)
    us.well = True
    anyio.run(second_day, backend=backend)

    assert us.checks == 1
    assert registry.endpoints["us"].stats().state is EndpointState.RETURNING
    assert not recwarn.list
