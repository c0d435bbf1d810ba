"""While there is money, calls go one short way below the limit; what is counted and refused is the same."""

from __future__ import annotations

import pytest

from resilient_ai import (
    Endpoint,
    SpendLimitReachedError,
    circuit_breaker,
    classified_retry,
    failover,
    spend_limit,
)
from resilient_ai.usage import Usage, report_usage
from tests.helpers import scripted


def stats(registry):
    return registry.spend_limits["guarded"].stats()


async def test_a_call_is_refused_once_the_calls_before_it_have_spent_the_hour(registry, clock):
    @spend_limit("guarded", tokens_per_hour=100, registry=registry)
    @classified_retry("guarded", registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker("guarded", registry=registry)
    async def ask(endpoint):
        report_usage(Usage(input_tokens=30))
        return endpoint.name

    for _ in range(4):
        await ask()
    with pytest.raises(SpendLimitReachedError):
        await ask()
    clock.advance(3601)
    await ask()

    assert (stats(registry).ok, stats(registry).refused) == (5, 1)
    assert registry.retries["guarded"].stats().calls == 5


async def test_a_call_that_fails_is_a_failure_and_is_let_through_once(registry):
    calls = scripted("answer", ValueError("a bug"), "answer")
    ask = spend_limit("guarded", tokens_per_hour=100, registry=registry)(calls)
    await ask()
    with pytest.raises(ValueError, match="a bug"):
        await ask()
    await ask()

    assert (stats(registry).ok, stats(registry).failed, stats(registry).refused) == (2, 1, 0)


async def test_an_error_of_a_call_that_spent_the_rest_is_raised_and_not_the_limit(registry):
    @spend_limit("guarded", tokens_per_hour=100, registry=registry)
    async def ask(tokens):
        report_usage(Usage(input_tokens=tokens))
        if tokens > 100:
            raise ConnectionError("cut")

    await ask(10)
    with pytest.raises(ConnectionError, match="cut"):
        await ask(500)
    with pytest.raises(SpendLimitReachedError):
        await ask(1)


async def test_a_lower_limit_holds_from_the_next_call_on(registry):
    @spend_limit("guarded", tokens_per_hour=1000, registry=registry)
    async def ask():
        report_usage(Usage(input_tokens=100))

    await ask()
    await ask()
    registry.configure({"guarded": {"spend_limit": {"tokens_per_hour": 50}}})

    with pytest.raises(SpendLimitReachedError):
        await ask()
