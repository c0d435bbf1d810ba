"""Callers that leave while they wait or run."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import CircuitOpenError, adaptive_limit, circuit_breaker, register_classifier
from tests.adaptive_limit.support import Gate, TooFastError, fail
from tests.helpers import scripted


async def test_cancelling_a_call_gives_its_place_back(registry):
    gate = Gate()
    ask = adaptive_limit("cancelled", initial=1, registry=registry)(gate)
    with anyio.move_on_after(0):
        await ask()
    gate.opens.set()

    assert await ask() == "answer"
    assert registry.limits["cancelled"].stats().failed == 0


async def test_cancelling_who_waits_lets_the_next_one_move_up(registry):
    gate = Gate()
    ask = adaptive_limit("moving-up", initial=1, registry=registry)(gate)
    scope = anyio.CancelScope()
    answers = []

    async def impatient():
        with scope:
            await ask()

    async def patient():
        answers.append(await ask())

    async with anyio.create_task_group() as tasks:
        for each in (ask, impatient, patient):
            tasks.start_soon(each)
            await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert registry.limits["moving-up"].stats().waiting == 1
        gate.opens.set()

    assert answers == ["answer"]


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_exit_gives_the_place_back(registry, leaving):
    @adaptive_limit("exit", registry=registry)
    async def leave():
        raise leaving

    await fail(leave, leaving)
    stats = registry.limits["exit"].stats()

    assert (stats.in_flight, stats.failed) == (0, 0)


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
async def test_an_exit_out_of_a_classifier_gives_the_place_back(registry, leaving):
    def interrupted(error):
        raise leaving

    ask = adaptive_limit("classifier", registry=registry)(scripted(OSError()))
    unregister = register_classifier(interrupted)
    try:
        await fail(ask, leaving)
    finally:
        unregister()

    assert registry.limits["classifier"].stats().in_flight == 0


async def test_an_exit_out_of_a_listener_gives_the_place_back(registry, clock, provider):
    ask = adaptive_limit("listener", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()

    def interrupted(event):
        raise KeyboardInterrupt

    unsubscribe = registry.subscribe(interrupted)
    provider.seconds = 1000.0
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        clock.advance(60.0)  # they are overdue, which the next call finds out
        await fail(ask, KeyboardInterrupt)
        unsubscribe()
        tasks.cancel_scope.cancel()

    assert registry.limits["listener"].stats().in_flight == 0


async def test_calls_given_up_after_an_unusual_time_count_as_slow(registry, clock, provider):
    ask = adaptive_limit("given-up", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()
        provider.seconds = 1000.0
        for _ in range(20):
            with clock.move_on_after(10.0):
                await ask()
    stats = registry.limits["given-up"].stats()

    assert stats.limit < 14
    assert stats.failed == 0


async def test_a_circuit_below_that_refuses_neither_fails_nor_counts(registry, provider):
    ask = adaptive_limit("above", registry=registry)(circuit_breaker("below", registry=registry)(provider))
    registry.circuit_breakers["below"].force_open()
    await fail(ask, CircuitOpenError)
    stats = registry.limits["above"].stats()

    assert (stats.limit, stats.calls, stats.failed, stats.in_flight) == (20, 0, 0, 0)


async def test_a_cancelled_caller_hears_of_that_and_not_of_the_limit(registry, provider):
    ask = adaptive_limit("cancelled-first", registry=registry)(provider)
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask()

    assert scope.cancelled_caught
