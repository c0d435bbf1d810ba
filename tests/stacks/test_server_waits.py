"""A server can shut a circuit, an endpoint or a limit for a bounded time only, whatever wait it asks for."""

from __future__ import annotations

import random

import pytest

from resilient_ai import (
    CircuitOpenError,
    Endpoint,
    ErrorType,
    LimitReachedError,
    Registry,
    adaptive_limit,
    circuit_breaker,
    classify,
    failover,
)
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")
YEAR = 31_000_000.0


@pytest.fixture(params=[3600.0, 30.0, 0.0], ids=["the default", "half a minute", "none at all"])
def most(request) -> float:
    return request.param


@pytest.fixture
def registry(clock, most) -> Registry:
    settings = {} if most == 3600.0 else {"max_server_wait": most}
    return Registry(clock=clock, rng=random.Random(1), listeners=(), **settings)


def failing(kind: ErrorType):
    async def ask(*_args) -> str:
        raise ProviderError(kind, retry_after=YEAR)

    return ask


def test_the_verdict_has_the_wait_as_it_was_stated():
    assert classify(ProviderError(ErrorType.QUOTA_EXCEEDED, retry_after=YEAR)).retry_after == YEAR


async def test_a_circuit_is_open_for_no_longer(registry, most):
    ask = circuit_breaker("c", recovery_timeout=10, registry=registry)(failing(ErrorType.QUOTA_EXCEEDED))
    with pytest.raises(ProviderError):
        await ask()
    with pytest.raises(CircuitOpenError) as refused:
        await ask()

    assert refused.value.retry_after == max(most, 10)


@pytest.mark.parametrize("kind", [ErrorType.RATE_LIMIT, ErrorType.MODEL_OVERLOADED])
async def test_an_endpoint_rests_for_no_longer(registry, most, kind):
    async def ask(endpoint):
        if endpoint.name == "us":
            raise ProviderError(kind, retry_after=YEAR)
        return "eu"

    ask = failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)(ask)

    assert await ask() == "eu"
    assert registry.endpoints["us"].stats().resting_for == max(most, 0.1)


async def test_a_limit_is_shut_for_no_longer(registry, most, clock):
    answers = [ProviderError(ErrorType.RATE_LIMIT, retry_after=YEAR), "well"]

    @adaptive_limit("l", max_wait=0, registry=registry)
    async def ask():
        if isinstance(answer := answers[0], Exception):
            del answers[0]
            raise answer
        return answer

    with pytest.raises(ProviderError):
        await ask()
    if most:
        with pytest.raises(LimitReachedError):
            await ask()
    clock.advance(most + 60)  # by then its own pace lets a call through again

    assert await ask() == "well"


@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan"), "an hour"])
def test_a_bound_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="max_server_wait must"):
        Registry(max_server_wait=wrong)
