"""Failover above circuits and below retries."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import (
    AllEndpointsFailedError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    circuit_breaker,
    classified_retry,
    classify,
    failover,
)
from tests.failover.support import AP, EU, US, RefusalError


async def test_a_circuit_below_is_one_per_endpoint_without_being_told(over, regions, registry):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, registry=registry)(
        circuit_breaker("summarize", failure_threshold=1, registry=registry)(ask)
    )
    regions.faults["us"] = OSError("down")
    await call()

    assert {name: each.state.value for name, each in registry.circuit_breakers.items()} == {
        "summarize[us]": "open",
        "summarize[eu]": "closed",
    }


async def test_an_open_circuit_moves_on_and_is_no_failure_of_the_endpoint(over, regions, registry):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, strategy="priority", registry=registry)(circuit_breaker("c", registry=registry)(ask))
    registry.circuit_breakers["c[us]"].trip()

    assert await call() == "eu: hi"
    assert registry.endpoints["us"].stats().failures == 0
    assert registry.endpoints["us"].stats().resting_for == 60


async def test_open_circuits_everywhere_let_a_retry_above_wait_for_the_soonest(registry, regions, clock):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    for name, seconds in (("us", 50), ("eu", 4)):
        regions.faults[name] = CircuitOpenError(name, retry_after=seconds)
    call = classified_retry(registry=registry)(failover(US, EU, registry=registry)(ask))
    async with clock.autojump(), anyio.create_task_group() as tasks:

        async def heal():
            await clock.sleep(3.9)
            regions.faults.clear()

        tasks.start_soon(heal)
        answer = await call()

    assert answer == "eu: hi"
    assert clock.now() == 4


async def test_all_failed_is_as_retryable_as_its_most_hopeful_endpoint(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": RefusalError(429, 20.0), "eu": OSError("down"), "ap": RefusalError(401)}
    with pytest.raises(AllEndpointsFailedError) as soon:
        await ask()
    later = over(Endpoint("a"), Endpoint("b"), name="later")
    regions.faults |= {"a": RefusalError(429, 20.0), "b": RefusalError(429, 8.0)}
    with pytest.raises(AllEndpointsFailedError) as hinted:
        await later()

    assert (soon.value.error_type, soon.value.retry_after) == (ErrorType.NETWORK_ERROR, None)
    assert classify(soon.value).retryable
    assert (hinted.value.error_type, hinted.value.retry_after) == (ErrorType.RATE_LIMIT, 8.0)


async def test_a_retry_above_does_not_go_back_to_what_just_failed_while_another_is_healthy(registry, regions, clock):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = classified_retry(registry=registry)(failover(US, EU, AP, max_endpoints=1, registry=registry)(ask))
    regions.faults |= {"us": OSError("down"), "eu": OSError("down")}
    async with clock.autojump():
        await call()

    assert regions.was_asked() == ["us", "eu", "ap"]
