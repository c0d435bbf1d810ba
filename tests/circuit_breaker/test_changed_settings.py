"""What a circuit does when its settings are changed: what it counted stays, the new rules decide from then on."""

from __future__ import annotations

import pytest

from resilient_ai import CircuitOpenError, circuit_breaker


@pytest.fixture
def ask(registry):
    @circuit_breaker("ask", failure_threshold=3, recovery_timeout=30, success_threshold=2, registry=registry)
    async def ask(error=None, seconds=0.0):
        registry.clock.advance(seconds)
        if error is not None:
            raise error
        return "answer"

    return ask


@pytest.fixture
def change(registry):
    return lambda **settings: registry.configure({"ask": {"circuit_breaker": settings}})


async def fail(ask, times=1):
    for _ in range(times):
        with pytest.raises(ConnectionError):
            await ask(ConnectionError())


async def test_the_failure_count_goes_on_and_only_a_failure_opens(registry, ask, change):
    circuit = registry.circuit_breakers["ask"]
    await fail(ask, 2)
    change(failure_threshold=2)
    assert (circuit.state, circuit.stats().current_failure_count) == ("closed", 2)

    await fail(ask)
    assert circuit.state == "open"


async def test_the_end_of_an_open_period_does_not_move_and_the_next_one_is_new(registry, clock, ask, change):
    await fail(ask, 3)
    change(recovery_timeout=5)
    with pytest.raises(CircuitOpenError) as caught:
        await ask()
    assert caught.value.retry_after == 30

    clock.advance(30)
    await fail(ask)  # the probe
    assert registry.circuit_breakers["ask"].stats().retry_after == 5


async def test_a_period_that_has_grown_is_held_to_a_new_bound(registry, clock, ask, change):
    change(max_recovery_timeout=1000)
    await fail(ask, 3)
    for _ in range(3):
        clock.advance(1000)
        await fail(ask)
    assert registry.circuit_breakers["ask"].stats().retry_after == 240

    change(max_recovery_timeout=60)
    clock.advance(1000)
    await fail(ask)
    assert registry.circuit_breakers["ask"].stats().retry_after == 60


async def test_probes_that_were_answered_count_for_a_lower_threshold(registry, clock, ask, change):
    change(success_threshold=3)
    await fail(ask, 3)
    clock.advance(30)
    await ask()
    await ask()
    change(success_threshold=1)
    await ask()

    assert registry.circuit_breakers["ask"].state == "closed"


async def test_a_window_that_comes_new_begins_empty_and_good_answers_count_in_it(registry, ask, change):
    """On the fast path good answers are not counted in a window; with one they must be."""
    for _ in range(5):
        await ask()
    change(failure_threshold=None, failure_rate_threshold=0.5, minimum_calls=4)
    assert registry.circuit_breakers["ask"].stats().window_calls == 0

    for _ in range(3):
        await ask()
    await fail(ask, 2)
    assert registry.circuit_breakers["ask"].state == "closed"  # two of five
    await fail(ask)
    assert registry.circuit_breakers["ask"].state == "open"


async def test_a_window_stays_when_only_the_rate_changes(registry, ask, change):
    change(failure_threshold=50, failure_rate_threshold=0.9, minimum_calls=4)
    await fail(ask, 2)
    await ask()
    await ask()
    change(failure_rate_threshold=0.5)

    assert registry.circuit_breakers["ask"].stats().window_calls == 4


async def test_slow_calls_are_judged_by_the_new_measure(registry, ask, change):
    change(slow_call_seconds=1.0, minimum_calls=2)
    await ask(seconds=0.9)
    assert registry.circuit_breakers["ask"].stats().slow == 0

    change(slow_call_seconds=0.5)
    await ask(seconds=0.9)
    assert registry.circuit_breakers["ask"].stats().slow == 1


async def test_an_operators_state_stays(registry, ask, change):
    registry.circuit_breakers["ask"].force_open()
    change(failure_threshold=50)

    with pytest.raises(CircuitOpenError):
        await ask()
