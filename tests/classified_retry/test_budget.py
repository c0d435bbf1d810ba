"""The budget that call sites share."""

from __future__ import annotations

import pytest

from resilient_ai import AIServiceError, ErrorType, RetryBudget, RetryRule, classified_retry
from tests.classified_retry.support import retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_an_empty_budget_means_no_retry_and_no_sleep(registry, clock):
    down = scripted(ProviderError("timeout"))
    ask = retrying(registry, down, budget=RetryBudget(capacity=3, per_second=0))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="the retry budget is empty"):
            await ask()
        before = clock.now()
        with pytest.raises(AIServiceError, match="the retry budget is empty") as caught:
            await ask()

    assert clock.now() == before
    assert down.calls == 3  # the first attempts are never held back
    assert isinstance(caught.value.__cause__, ProviderError)


async def test_a_retry_costs_more_after_trouble_than_after_a_rate_limit(registry, clock):
    for error_type, price in (("rate_limit", 1.0), ("timeout", 2.8), ("model_overloaded", 2.8)):
        ask = classified_retry(
            error_type,
            rules={ErrorType(error_type): RetryRule(1, 0, 1)},
            budget=RetryBudget(per_second=0),
            registry=registry,
        )(scripted(ProviderError(error_type)))
        with pytest.raises(AIServiceError):
            await ask()

        assert registry.retries[error_type].stats().budget == pytest.approx(100 - price)


async def test_a_retry_that_saves_the_call_gets_its_price_back(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout"), "pong"), budget=RetryBudget(per_second=0))
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == pytest.approx(100)


async def test_successes_and_seconds_fill_the_budget_again(registry, clock):
    outcomes = [ProviderError("timeout")] * 3 + ["pong"]
    ask = retrying(registry, scripted(*outcomes), budget=RetryBudget(capacity=10, per_second=0.5))
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()
    low, before = stats(registry).budget, clock.now()
    await ask()
    after_a_success = stats(registry).budget
    clock.advance(2)
    after_two_seconds = stats(registry).budget
    clock.advance(60)

    assert before < 3
    assert after_a_success == pytest.approx(low + 0.2)
    assert after_two_seconds == pytest.approx(low + 1.2)
    assert stats(registry).budget == 10


async def test_call_sites_of_one_name_share_one_budget(registry, clock):
    budget = RetryBudget(capacity=3, per_second=0)
    first, second = (retrying(registry, scripted(ProviderError("timeout")), budget=budget) for _ in range(2))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="after 2 attempts"):
            await first()
        with pytest.raises(AIServiceError, match="after 1 attempt "):
            await second()


async def test_without_a_budget_nothing_is_counted_down(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), budget=None)
    async with clock.autojump():
        for _ in range(100):
            with pytest.raises(AIServiceError, match="2 retries for timeout used up"):
                await ask()

    assert stats(registry).budget is None
