"""A retry above a circuit."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    LimitReachedError,
    RetryBudget,
    RetryRule,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from tests.classified_retry.support import retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_it_waits_for_a_circuit_that_may_be_asked_soon(registry, clock):
    guarded = circuit_breaker("openai", failure_threshold=1, recovery_timeout=4, registry=registry)(
        scripted(ProviderError("model_overloaded"), "pong")
    )
    with pytest.raises(ProviderError):
        await guarded()
    async with clock.autojump():
        assert await retrying(registry, guarded)() == "pong"

    assert clock.now() == 4


async def test_it_fails_at_once_when_the_circuit_stays_open_for_longer(registry, clock):
    ask = retrying(registry, scripted(CircuitOpenError("openai", retry_after=6)))
    with pytest.raises(AIServiceError, match="our own side asks to wait 6"):
        await ask()

    assert clock.now() == 0


async def test_it_does_not_wait_for_an_operator(registry, clock):
    ask = retrying(registry, scripted(CircuitOpenError("openai", reason="forced_open")))
    with pytest.raises(AIServiceError, match="it is not known when the circuit may be called again"):
        await ask()

    assert clock.now() == 0


@pytest.mark.parametrize(
    "taken_out",
    [
        lambda registry: [each.force_open() for each in registry.circuit_breakers.values()],
        lambda registry: [each.mark_down() for each in registry.endpoints.values()],
        lambda registry: [registry.circuit_breakers["ask[us]"].force_open(), registry.endpoints["eu"].mark_down()],
    ],
    ids=["circuits forced open", "endpoints marked down", "one of each"],
)
async def test_it_does_not_wait_for_an_operator_who_has_taken_all_endpoints_out(registry, clock, taken_out):
    @degrade_to("sorry", registry=registry)
    @classified_retry(timeout_seconds=60, registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker("ask", registry=registry)
    async def ask(endpoint):
        return endpoint.name

    assert [await ask(), await ask()] == ["us", "eu"]
    taken_out(registry)
    async with clock.autojump():
        assert await ask() == "sorry"

    assert clock.now() == 0


async def test_it_waits_for_an_endpoint_that_opens_soon_where_an_operator_has_taken_out_the_other(registry, clock):
    us = CircuitOpenError("us", reason="forced_open")
    eu = CircuitOpenError("eu", retry_after=4)
    types = dict.fromkeys(("us", "eu"), ErrorType.CIRCUIT_OPEN)
    refusals = AllEndpointsFailedError("ask", {"us": us, "eu": eu}, error_types=types, retry_after=4)
    async with clock.autojump():
        assert await retrying(registry, scripted(refusals, "pong"), timeout_seconds=60)() == "pong"

    assert clock.now() >= 4


async def test_it_looks_again_soon_while_the_probes_are_in_flight(registry, clock):
    full = CircuitOpenError("openai", retry_after=60, reason="half_open_full")
    async with clock.autojump():
        assert await retrying(registry, scripted(full, full, full, "pong"))() == "pong"

    assert 0.5 < clock.now() < 2


async def test_looking_whether_the_probes_are_back_is_no_attempt(registry, clock):
    full = CircuitOpenError("openai", retry_after=60, reason="half_open_full")
    behind = AllEndpointsFailedError("ask", {"a": full}, error_types={"a": full.error_type}, retry_after=60)
    async with clock.autojump():
        ask = retrying(registry, scripted(*[full, behind] * 4, "pong"), max_attempts=2)
        assert await ask() == "pong"

    assert clock.now() < 15


async def test_within_a_deadline_what_our_own_side_refused_is_no_attempt(registry, clock):
    shut = CircuitOpenError("openai", retry_after=1)
    full = LimitReachedError("openai", limit=1, waiting=9, retry_after=1)
    behind = AllEndpointsFailedError(
        "ask", {"a": shut, "b": full}, error_types={"a": shut.error_type, "b": full.error_type}, retry_after=1
    )
    async with clock.autojump():
        ask = retrying(registry, scripted(*[shut, full, behind] * 3, "pong"), max_attempts=2)
        with anyio.fail_after(1000):
            assert await ask() == "pong"

    assert registry.retries["ask"].stats().retries == 9


async def test_a_wait_for_a_limit_is_bounded_by_the_deadline_alone(registry, clock):
    full = LimitReachedError("openai", limit=1, waiting=9, retry_after=45)
    async with clock.autojump():
        with anyio.fail_after(1000):
            assert await retrying(registry, scripted(full, full, "pong"))() == "pong"

    assert clock.now() >= 90


async def test_a_rule_of_ones_own_for_open_circuits_is_taken_at_its_word(registry, clock):
    shut = CircuitOpenError("openai", retry_after=1)
    rules = {ErrorType.CIRCUIT_OPEN: RetryRule(1, 0.0, 5.0)}
    async with clock.autojump():
        ask = retrying(registry, scripted(*[shut] * 3, "pong"), rules=rules)
        with anyio.fail_after(1000), pytest.raises(AIServiceError, match="1 retries for circuit_open used up"):
            await ask()


async def test_a_retry_that_our_own_side_refused_gives_its_price_back(registry, clock):
    down, shut = ProviderError("timeout"), CircuitOpenError("a", retry_after=1)
    async with clock.autojump():
        ask = retrying(
            registry,
            scripted(*[down, shut] * 3, "pong"),
            max_attempts=9,
            rules={ErrorType.TIMEOUT: RetryRule(3, 0.5, 10.0)},
            budget=RetryBudget(capacity=3, per_second=0),
        )
        with anyio.fail_after(1000):
            assert await ask() == "pong"


async def test_what_only_our_own_side_refused_costs_no_budget(registry, clock):
    refusal = LimitReachedError("a", limit=1, waiting=0, retry_after=1)
    behind = AllEndpointsFailedError("ask", {"a": refusal}, error_types={"a": refusal.error_type}, retry_after=1)
    ask = retrying(registry, scripted(refusal, behind, "pong"), budget=RetryBudget(capacity=1, per_second=0))
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == 1


async def test_waiting_for_a_circuit_costs_no_budget(registry, clock):
    ask = retrying(
        registry, scripted(CircuitOpenError("a", retry_after=1), "pong"), budget=RetryBudget(capacity=1, per_second=0)
    )
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == 1
