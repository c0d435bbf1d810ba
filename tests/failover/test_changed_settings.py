"""What a failover does when its settings are changed: its endpoints and what is known of them stay."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, failover


@pytest.fixture
def change(registry):
    return lambda **settings: registry.configure({"ask": {"failover": settings}})


@pytest.fixture
def ask(registry):
    @failover(Endpoint("us"), Endpoint("eu"), Endpoint("ap"), name="ask", registry=registry)
    async def ask(endpoint, down=()):
        if endpoint.name in down:
            raise ConnectionError
        return endpoint.name

    return ask


async def test_another_strategy_chooses_from_the_next_call_on(ask, change):
    assert [await ask() for _ in range(3)] == ["us", "eu", "ap"]

    change(strategy="priority")
    assert [await ask() for _ in range(3)] == ["us", "us", "us"]


async def test_a_resting_endpoint_goes_on_resting(registry, ask, change):
    assert await ask(down=("us",)) == "eu"
    change(strategy="priority", health_check_interval=1)

    assert await ask() == "eu"
    assert registry.endpoints["us"].stats().resting_for > 1


async def test_fewer_endpoints_are_asked(ask, change):
    change(max_endpoints=1)
    with pytest.raises(AllEndpointsFailedError) as caught:
        await ask(down=("us", "eu", "ap"))

    assert len(caught.value.errors) == 1


async def test_hedging_can_be_switched_on(registry, clock, change):
    @failover(Endpoint("us"), Endpoint("eu"), name="ask", strategy="priority", registry=registry)
    async def ask(endpoint):
        await clock.sleep(10 if endpoint.name == "us" else 1)
        return endpoint.name

    async with clock.autojump():
        assert await ask() == "us"
        change(hedge_after=2)
        with anyio.fail_after(30):
            assert await ask() == "eu"
    assert clock.now() == 13
    assert registry.failovers["ask"].stats().hedges_won == 1


async def test_hedging_can_be_made_dearer(registry, clock, change):
    @failover(Endpoint("us"), Endpoint("eu"), name="ask", strategy="priority", hedge_after=1, registry=registry)
    async def ask(endpoint):
        await clock.sleep(10 if endpoint.name == "us" else 1)
        return endpoint.name

    change(hedge_budget=0.0)
    async with clock.autojump():
        assert await ask() == "us"
