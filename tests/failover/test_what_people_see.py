"""Events, numbers and reprs of a failover."""

from __future__ import annotations

import json

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, ResilienceError, circuit_breaker, describe, failover
from resilient_ai._core.call_facts import watch
from resilient_ai.types import EndpointState
from tests.failover.support import EU, US


async def test_the_p95_of_few_answers_is_the_slowest_for_an_endpoint_and_its_circuit_alike(registry, clock):
    @failover(US, name="ask", registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(endpoint, seconds: float) -> None:
        clock.advance(seconds)

    for seconds in (4, 1, 2):
        await ask(seconds)

    (breaker,) = registry.circuit_breakers.values()
    assert breaker.stats().p95 == registry.endpoints["us"].stats().latency_p95 == 4


async def test_watch_tells_which_endpoints_were_asked_and_which_answered(over, regions):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    with watch() as seen:
        await ask()

    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))


async def test_watch_tells_which_endpoints_were_asked_in_vain_too(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": OSError("down"), "eu": OSError("down")}
    with watch() as seen, pytest.raises(AllEndpointsFailedError):
        await ask()

    assert (seen.endpoint, seen.endpoints_tried) == (None, ("us", "eu"))


async def test_events_tell_of_rests_moves_and_comebacks_without_the_prompt(over, regions, clock, events):
    ask = over(US, EU)
    regions.faults["us"] = OSError("secret prompt")
    await ask("secret prompt")
    clock.advance(30)
    del regions.faults["us"]
    for _ in range(2):
        await ask("secret prompt")

    assert [event.log_name.partition(".")[2] for event in events] == ["endpoint_down", "failed_over", "endpoint_up"]
    assert "secret" not in repr(events)


async def test_the_numbers_add_up(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    await ask()
    regions.faults["eu"] = OSError("down")
    with pytest.raises(ResilienceError):
        await ask()
    stats = registry.failovers["ask"].stats()

    assert (stats.calls, stats.ok, stats.failed, stats.moves) == (2, 1, 1, 2)
    assert (stats.endpoints["eu"].calls, stats.endpoints["eu"].failures) == (2, 1)
    assert registry.failovers["ask"].row().state == "0 of 2 up, moved on 2 times"
    assert "resting 30.0 s (network_error)" in repr(registry.failovers["ask"])
    assert "failover 'ask' over us resting" in repr(describe(ask))


async def test_the_numbers_are_plain_json_too(over, registry):
    await over(US, EU)()
    plain = json.loads(json.dumps(registry.as_dict()))

    assert plain["failover"]["ask"]["endpoints"]["us"]["healthy"] is True
    assert plain["endpoint"]["us"]["state"] == "up"


async def test_reset_puts_every_endpoint_back_up(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    await ask()
    registry.reset()
    del regions.faults["us"]

    assert registry.failovers["ask"].stats().calls == 0
    assert {await ask(), await ask()} == {"us: hi", "eu: hi"}


async def test_a_cancelled_call_is_nobodys_failure_and_leaves_nothing_in_flight(registry):
    async def ask(endpoint) -> str:
        await anyio.sleep_forever()
        return ""

    call = failover(US, EU, registry=registry)(ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    stats = registry.endpoints["us"].stats()

    assert (stats.calls, stats.failures, stats.in_flight, stats.state) == (0, 0, 0, EndpointState.UP)


def test_an_endpoints_name_cannot_give_orders_to_a_terminal(registry):
    sly = Endpoint("eu\x1b[2J\nfake\x9b row")

    @failover(sly, name="shown over", registry=registry)
    async def ask(endpoint): ...

    for shown in (repr(ask), repr(describe(ask)), repr(registry.failovers["shown over"]), repr(registry)):
        assert "eu\\x1b[2J\\nfake\\x9b row" in shown
        assert shown.replace("\n", "").isprintable()
