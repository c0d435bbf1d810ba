"""How long a retry waits."""

from __future__ import annotations

import random

import anyio
import pytest

from resilient_ai import AIServiceError, ErrorType, Registry, RetryBudget, RetryRule, classified_retry
from resilient_ai.events import RetryScheduled
from tests.classified_retry.support import PLAIN, retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_backoff_grows_by_the_multiplier_up_to_max_delay(registry, clock, events):
    ask = retrying(
        registry,
        scripted(ProviderError("rate_limit")),
        rules={ErrorType.RATE_LIMIT: RetryRule(5, 1.0, 5.0, jitter="none")},
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()

    assert [event.delay for event in events if isinstance(event, RetryScheduled)] == [1, 2, 4, 5, 5]
    assert clock.now() == 17


@pytest.mark.parametrize(("jitter", "least", "most"), [("full", 0.0, 10.0), ("equal", 5.0, 10.0), ("none", 10.0, 10.0)])
def test_jitter_stays_within_its_bounds(jitter, least, most):
    rule = RetryRule(1, 10.0, 10.0, jitter=jitter)
    rng = random.Random(3)
    delays = [rule.delay(1, rng.random()) for _ in range(500)]

    assert least <= min(delays) <= max(delays) <= most
    assert jitter == "none" or max(delays) - min(delays) > 0.9 * (most - least)


async def test_chance_comes_from_the_registry(clock):
    async def delays(seed):
        registry = Registry(clock=clock, rng=random.Random(seed), listeners=())
        heard = []
        registry.subscribe(heard.append)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await retrying(registry, scripted(ProviderError("rate_limit")))()
        return [event.delay for event in heard if isinstance(event, RetryScheduled)]

    assert await delays(7) == await delays(7)
    assert await delays(7) != await delays(8)


async def test_the_providers_wait_is_a_floor(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit", retry_after=42), "pong"))
    async with clock.autojump():
        assert await ask() == "pong"

    assert clock.now() == 42


async def test_a_wait_beyond_max_delay_stops_at_once(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit", retry_after=61)))
    with pytest.raises(AIServiceError, match=r"the provider asks to wait 61\.0 s, longer than max_delay=60") as caught:
        await ask()

    assert clock.now() == 0
    assert caught.value.retry_after == 61


async def test_it_stops_when_max_elapsed_would_end_before_the_next_attempt(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_elapsed=4)
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="max_elapsed=4 would end before the next attempt"):
            await ask()

    assert clock.now() == 3  # after 1 + 2 seconds the next wait of 4 would be too long; it is not begun


async def test_it_never_sleeps_after_the_last_attempt(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_attempts=2)
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()

    assert clock.now() == 1


async def test_an_enclosing_deadline_is_respected_without_being_told(registry, clock):
    down = scripted(ProviderError("rate_limit", retry_after=30))
    with anyio.fail_after(20), pytest.raises(AIServiceError, match="the caller's deadline would end before"):
        await retrying(registry, down)()

    assert down.calls == 1
    assert clock.now() == 0


async def test_the_callers_cancellation_is_no_timeout_and_gives_the_token_back(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, budget=RetryBudget(per_second=0))
    async with clock.autojump():
        with clock.move_on_after(0.5) as scope:
            await ask()
    seen = stats(registry)

    assert scope.cancelled_caught
    assert (seen.calls, seen.retries, seen.given_up) == (0, 0, 0)
    assert seen.error_counts == {"timeout": 1}
    assert seen.budget == 100


async def test_cancelling_an_attempt_counts_for_nothing(registry, clock):
    @classified_retry("ask", registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with clock.move_on_after(1) as scope:
            await ask()
    seen = stats(registry)

    assert scope.cancelled_caught
    assert (seen.calls, seen.attempts, seen.error_counts) == (0, 0, {})
