"""Calls that are turned away."""

from __future__ import annotations

import threading

import anyio
import pytest

from resilient_ai import LimitReachedError, Registry, adaptive_limit, circuit_breaker, classify
from tests.adaptive_limit.support import Gate, TooFastError, fail


async def test_who_would_not_be_served_within_the_deadline_is_turned_away_at_once(registry, clock, provider):
    ask = adaptive_limit("late", registry=registry)(provider)
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    with anyio.fail_after(60), pytest.raises(LimitReachedError, match="ask again in 100") as caught:
        await ask()

    assert len(provider.calls) == 1
    assert caught.value.name == "late"
    assert caught.value.retry_after == pytest.approx(100.0, abs=0.1)


async def test_the_earliest_deadline_is_served_first(registry):
    gates = [anyio.Event() for _ in range(3)]
    served = []

    async def call(number):
        served.append(number)
        await gates[number].wait()

    ask = adaptive_limit("deadlines", initial=1, max_limit=1, registry=registry)(call)

    async def within(seconds, number):
        with anyio.fail_after(seconds):
            await ask(number)

    async with anyio.create_task_group() as tasks:
        for number, seconds in enumerate((900, 600, 300)):
            tasks.start_soon(within, seconds, number)
            await anyio.wait_all_tasks_blocked()
        for number in (0, 2, 1):
            gates[number].set()
            await anyio.wait_all_tasks_blocked()

    assert served == [0, 2, 1]


async def test_max_wait_bounds_the_queue(registry, clock):
    gate = Gate()
    ask = adaptive_limit("short", initial=1, max_wait=2.0, registry=registry)(gate)
    outcomes = []

    async def one():
        try:
            outcomes.append(await ask())
        except LimitReachedError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.9)
        await anyio.wait_all_tasks_blocked()
        assert outcomes == []
        clock.advance(0.1)
        await anyio.wait_all_tasks_blocked()
        gate.opens.set()

    assert [type(each) for each in outcomes] == [LimitReachedError, str]


async def test_max_wait_of_zero_never_waits(registry):
    gate = Gate()
    ask = adaptive_limit("none", initial=1, max_wait=0, registry=registry)(gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await fail(ask, LimitReachedError)
        gate.opens.set()


async def test_a_full_line_turns_away_at_once(registry):
    gate = Gate()
    ask = adaptive_limit("full", initial=1, max_queue_size=1, registry=registry)(gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitReachedError, match="1 at once and 1 in the queue"):
            await ask()
        gate.opens.set()
    stats = registry.limits["full"].stats()

    assert (stats.refused, stats.ok, stats.waiting) == (1, 2, 0)


def test_a_listener_that_hears_of_a_refusal_may_look_at_the_limit():
    registry = Registry(listeners=())
    heard = []
    registry.subscribe(lambda event: heard.append((event.reason, registry.limits["full"].stats().refused)))

    async def main() -> None:
        gate = Gate()
        ask = adaptive_limit("full", initial=1, max_queue_size=0, registry=registry)(gate)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await fail(ask, LimitReachedError)
            gate.opens.set()

    thread = threading.Thread(target=anyio.run, args=(main,), daemon=True)
    thread.start()
    thread.join(30)

    assert heard == [("limit_reached", 1)]


async def test_being_turned_away_is_no_endpoints_fault(registry):
    refusal = LimitReachedError("x", limit=1, waiting=0, retry_after=3.0)
    verdict = classify(refusal)

    assert (verdict.endpoint_fault, verdict.retryable, verdict.retry_after) == (False, True, 3.0)


async def test_the_circuit_above_does_not_count_refusals(registry, provider):
    ask = circuit_breaker("above", failure_threshold=1, registry=registry)(
        adaptive_limit("below", max_wait=0, registry=registry)(provider)
    )
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    await fail(ask, LimitReachedError)

    assert registry.circuit_breakers["above"].stats().total_failures == 0
