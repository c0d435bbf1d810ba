"""When a circuit opens."""

from __future__ import annotations

import pytest

from resilient_ai import CallTimeoutError, CircuitOpenError, CircuitState, ErrorType, circuit_breaker
from tests.circuit_breaker.support import fail
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_it_opens_at_the_threshold_and_then_does_not_call(registry):
    down = scripted(OSError("down"))
    ask = circuit_breaker("openai", failure_threshold=2, registry=registry)(down)
    await fail(ask, 2)
    with pytest.raises(CircuitOpenError, match=r"'openai' is open; next probe allowed in 60\.0 s") as caught:
        await ask()

    assert down.calls == 2
    assert registry.circuit_breakers["openai"].state is CircuitState.OPEN
    assert (caught.value.name, caught.value.reason, caught.value.retry_after) == ("openai", "open", 60.0)
    assert caught.value.__cause__.class_name == "OSError"


async def test_a_success_takes_one_failure_off(registry):
    ask = circuit_breaker("up-and-down", failure_threshold=2, registry=registry)(
        scripted(OSError(), "ok", OSError(), "ok", OSError(), OSError())
    )
    for _ in range(2):
        await fail(ask, 1)
        assert await ask() == "ok"
    await fail(ask, 1)
    assert registry.circuit_breakers["up-and-down"].state is CircuitState.CLOSED
    await fail(ask, 1)

    assert registry.circuit_breakers["up-and-down"].state is CircuitState.OPEN


@pytest.mark.parametrize(
    "error_type",
    ["invalid_request", "context_length", "content_filter", "not_found", "authentication", "permission", "rate_limit"],
)
async def test_the_callers_own_mistakes_and_rate_limits_are_neutral(registry, error_type):
    ask = circuit_breaker("neutral", failure_threshold=1, registry=registry)(
        scripted(ProviderError(ErrorType(error_type)))
    )
    await fail(ask, 3, ProviderError)
    stats = registry.circuit_breakers["neutral"].stats()

    assert stats.state is CircuitState.CLOSED
    assert (stats.total_calls, stats.neutral, stats.total_failures) == (3, 3, 0)


@pytest.mark.parametrize("error_type", ["model_overloaded", "network_error", "timeout", "internal_error"])
async def test_the_providers_failures_count(registry, error_type):
    ask = circuit_breaker("bad", failure_threshold=1, registry=registry)(scripted(ProviderError(ErrorType(error_type))))
    await fail(ask, 1, ProviderError)

    assert registry.circuit_breakers["bad"].state is CircuitState.OPEN


async def test_a_used_up_quota_opens_at_once(registry):
    ask = circuit_breaker("quota", registry=registry)(scripted(ProviderError(ErrorType.QUOTA_EXCEEDED)))
    await fail(ask, 1, ProviderError)

    assert registry.circuit_breakers["quota"].state is CircuitState.OPEN


async def test_the_providers_wait_lengthens_the_period_up_to_the_cap(registry, clock):
    error = ProviderError(ErrorType.MODEL_OVERLOADED, retry_after=100)
    for name, most, period in (("uncapped", None, 100), ("capped", 80, 80)):
        ask = circuit_breaker(name, failure_threshold=1, max_recovery_timeout=most, registry=registry)(scripted(error))
        await fail(ask, 1, ProviderError)

        assert registry.circuit_breakers[name].stats().retry_after == period


async def test_reopening_doubles_the_period_up_to_its_maximum(registry, clock):
    ask = circuit_breaker(
        "growing", failure_threshold=1, recovery_timeout=1, max_recovery_timeout=5, registry=registry
    )(scripted(OSError()))
    periods = []
    for _ in range(4):
        await fail(ask, 1)
        periods.append(registry.circuit_breakers["growing"].stats().retry_after)
        clock.advance(periods[-1])

    assert periods == [1, 2, 4, 5]


async def test_jitter_lengthens_the_period_by_at_most_its_share(registry):
    ask = circuit_breaker("jitter", failure_threshold=1, recovery_timeout=10, recovery_jitter=0.5, registry=registry)(
        scripted(OSError())
    )
    periods = set()
    for _ in range(20):
        await fail(ask, 1)
        periods.add(registry.circuit_breakers["jitter"].stats().retry_after)
        registry.circuit_breakers["jitter"].reset()

    assert len(periods) == 20
    assert all(10 <= period <= 15 for period in periods)


async def test_slow_answers_open_it_with_jitter_too(registry, clock):
    @circuit_breaker("slow", slow_call_seconds=1, minimum_calls=1, recovery_jitter=0.5, registry=registry)
    async def ask() -> None:
        await clock.sleep(2)

    async with clock.autojump():
        await ask()

    assert 60 < registry.circuit_breakers["slow"].stats().retry_after < 90


async def test_without_jitter_chance_is_not_asked(registry):
    before = registry.rng.getstate()
    ask = circuit_breaker("plain", failure_threshold=1, registry=registry)(scripted(OSError()))
    await fail(ask, 1)

    assert registry.rng.getstate() == before


async def test_a_call_over_the_timeout_is_cancelled_and_fails(registry, clock):
    @circuit_breaker("slow", failure_threshold=1, timeout_seconds=5, registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with pytest.raises(CallTimeoutError, match="'slow' took longer than timeout_seconds=5"):
            await ask()

    assert clock.now() == 5
    assert registry.circuit_breakers["slow"].state is CircuitState.OPEN


async def test_the_callers_own_deadline_is_not_a_timeout(registry, clock):
    @circuit_breaker("patient", failure_threshold=1, timeout_seconds=5, registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with clock.move_on_after(2) as scope:
            await ask()

    assert scope.cancelled_caught
    assert registry.circuit_breakers["patient"].stats().neutral == 1


async def test_slow_answers_open_it_at_exactly_their_share(registry, clock):
    @circuit_breaker("slow", slow_call_seconds=2, minimum_calls=2, registry=registry)
    async def ask(seconds: float) -> None:
        await clock.sleep(seconds)

    async with clock.autojump():
        await ask(2)
        await ask(3)
    stats = registry.circuit_breakers["slow"].stats()

    assert stats.state is CircuitState.OPEN
    assert (stats.slow, stats.total_calls, stats.total_failures) == (1, 2, 0)


async def test_a_busy_window_of_seconds_counts_every_call(registry):
    ask = circuit_breaker(
        "busy", failure_threshold=None, failure_rate_threshold=1.0, timeout_seconds=None, registry=registry
    )(scripted("ok"))
    for _ in range(10_050):
        await ask()

    assert registry.circuit_breakers["busy"].stats().window_calls == 10_050
