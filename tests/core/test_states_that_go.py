"""Endpoints and functions that are made for one request cannot fill the memory with their states."""

from __future__ import annotations

import pytest

from resilient_ai import Endpoint, circuit_breaker, failover


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_states_of_endpoints_that_are_made_for_each_request_are_bounded_and_their_counts_stay(registry):
    def made(number):
        @failover(Endpoint(f"tenant {number}"), name=f"ask {number}", registry=registry)
        @circuit_breaker("ask", registry=registry)
        async def ask(endpoint):
            return endpoint.name

        return ask

    kept = made(0)
    for _ in range(2):
        assert await kept() == "tenant 0"
    for number in range(1, 5_000):
        await made(number)()
    states = sum(map(len, registry.stats().values()))
    counts = registry.counts()

    assert states <= 11_000
    assert registry.endpoints["tenant 0"].stats().calls == 2  # of a function that is there
    assert sum(each.ok for each in counts["endpoint"].values()) == 5_001  # no number ever falls
    assert sum(map(len, counts.values())) <= states + 3_100
