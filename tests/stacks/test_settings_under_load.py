"""Random changes of settings while calls run: no call is lost, none is counted twice or not at all."""

from __future__ import annotations

import random
import threading
from collections import Counter

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    Endpoint,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.events import SettingsChanged
from resilient_ai.testing import capture_events
from tests.helpers import trio_in_ci

CHANGES = {
    "circuit_breaker": {
        "failure_threshold": [2, 5, 50],
        "timeout_seconds": [None, 5.0, 60.0],
        "failure_rate_threshold": [0.5, 0.9],
        "window_calls": [None, 10, 100],
        "slow_call_seconds": [None, 1.0],
        "success_threshold": [1, 3],
        "recovery_timeout": [0.01, 1.0],
    },
    "classified_retry": {
        "max_attempts": [1, 2, 6],
        "rules": [{"network_error": None}, {"network_error": {"max_retries": 2, "base_delay": 0.01, "max_delay": 1}}],
        "budget": [None, {"capacity": 10}, {"capacity": 1000}],
    },
    "failover": {"strategy": ["priority", "weighted", "least_latency"], "max_endpoints": [None, 1, 2]},
    "degrade_to": {"rung_timeout": [None, 1.0], "max_concurrency": [1, 8]},
    "adaptive_limit": {"initial": [10, 20], "min_limit": [1, 5], "max_limit": [20, 100], "pace": [True, False]},
    "batched": {
        "batch_size": [1, 3, 10],
        "batch_timeout": [0.0, 0.01, 0.1],
        "max_concurrency": [None, 1, 2],
        "deduplicate": [True, False],
    },
}


def some_change(chance):
    kind = chance.choice(list(CHANGES))
    setting = chance.choice(list(CHANGES[kind]))
    return {chance.choice(["ask", "a*", "*"]): {kind: {setting: chance.choice(CHANGES[kind][setting])}}}


def change(registry, chance):
    if chance.random() < 0.1:
        registry.unset()
    else:
        registry.configure(some_change(chance))


def recommended(registry, function):
    """Five policies of one name."""
    stack = function
    for policy in (
        circuit_breaker("ask", registry=registry),
        adaptive_limit("ask", registry=registry),
        failover(Endpoint("us"), Endpoint("eu"), name="ask", registry=registry),
        classified_retry("ask", registry=registry),
        degrade_to("later", name="ask", registry=registry),
    ):
        stack = policy(stack)
    return stack


SOME = pytest.mark.parametrize("changes", [100, pytest.param(1_000, marks=pytest.mark.slow)])


@trio_in_ci
@SOME
async def test_random_changes_lose_no_call_and_no_count(clock, changes):
    registry = Registry(clock=clock, rng=random.Random(1), listeners=())
    chance, sent, answers = random.Random(2), Counter(), []

    async def provider(endpoint, text):
        sent[endpoint.name] += 1
        await clock.sleep(chance.choice([0.0, 0.001, 0.1, 2.0]))
        if chance.random() < 0.2:
            raise ConnectionError
        return text

    ask = recommended(registry, provider)

    async def caller(number):
        answers.extend([await ask(f"{number}.{call}") for call in range(20)])

    async def operator():
        for _ in range(changes):
            change(registry, chance)
            await clock.sleep(5 / changes)

    with anyio.fail_after(60):
        async with clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(operator)
            for number in range(30):
                tasks.start_soon(caller, number)

    degraded, retry, moved = (
        registry.degradations["ask"].stats(),
        registry.retries["ask"].stats(),
        registry.failovers["ask"].stats(),
    )
    circuits = [circuit.stats() for circuit in registry.circuit_breakers.values()]
    limits = [limit.stats() for limit in registry.limits.values()]
    assert len(answers) == degraded.calls == retry.calls == 600
    assert degraded.degraded == answers.count("later") == retry.given_up
    assert degraded.ok == retry.ok == moved.ok
    assert retry.attempts == moved.calls
    assert sum(circuit.total_calls + circuit.late for circuit in circuits) >= sum(sent.values())
    assert sum(endpoint.stats().calls for endpoint in registry.endpoints.values()) <= sum(sent.values())
    assert sum(limit.in_flight + limit.waiting for limit in limits) == 0


@SOME
async def test_random_changes_leave_every_item_of_a_batch_its_own_answer(clock, changes):
    registry = Registry(clock=clock, rng=random.Random(1), listeners=())
    chance, sizes, answers = random.Random(3), [], []

    @batched("ask", registry=registry)
    async def embed(texts):
        sizes.append(len(texts))
        await clock.sleep(chance.choice([0.0, 0.001, 0.05]))
        return [f"<{text}>" for text in texts]

    async def caller(number):
        for call in range(30):
            text = f"{number}.{call}"
            answers.append(await embed(text) == f"<{text}>")

    async def operator():
        for _ in range(changes):
            change(registry, chance)
            await clock.sleep(2 / changes)

    with anyio.fail_after(60):
        async with clock.autojump(), anyio.create_task_group() as tasks:
            tasks.start_soon(operator)
            for number in range(20):
                tasks.start_soon(caller, number)

    stats = registry.batches["ask"].stats()
    assert answers == [True] * 600
    assert (stats.ok, stats.calls, sum(sizes)) == (600, 600, 600)
    assert not stats.is_running


@SOME
def test_random_changes_from_one_thread_while_others_call(anyio_backend, changes):
    registry = Registry(rng=random.Random(1), listeners=())
    answers, done = [], threading.Event()

    async def provider(endpoint, text):
        await anyio.lowlevel.checkpoint()
        return text

    ask = recommended(registry, provider)

    async def calls():
        answers.extend([await ask("text") for _ in range(500)])

    def call():
        anyio.run(calls, backend=anyio_backend)

    def operate():
        chance = random.Random(4)
        for _ in range(changes):
            change(registry, chance)
        done.set()

    threads = [threading.Thread(target=each) for each in (operate, call, call, call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert done.is_set()
    assert len(answers) == registry.degradations["ask"].stats().calls == 1_500
    assert registry.retries["ask"].stats().calls == 1_500
    circuits = [circuit.stats() for circuit in registry.circuit_breakers.values()]
    assert sum(circuit.total_calls for circuit in circuits) == 1_500 - answers.count("later")


@pytest.mark.parametrize("changes", [1, 100])
async def test_a_change_leaves_what_circuits_and_limits_know(registry, clock, changes):
    chance = random.Random(5)

    @circuit_breaker("ask", failure_threshold=2, recovery_timeout=30, registry=registry)
    async def ask():
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await ask()
    clock.advance(10)
    with capture_events(registry) as events:
        for _ in range(changes):
            change(registry, chance)

    stats = registry.circuit_breakers["ask"].stats()
    assert (stats.state, stats.retry_after, stats.total_failures, stats.opened_count) == ("open", 20, 2, 1)
    assert {type(event) for event in events} <= {SettingsChanged}


async def test_a_bad_change_in_between_leaves_the_good_ones_in_force(clock, registry):
    chance, ask = random.Random(6), None

    async def function():
        return "answer"

    ask = circuit_breaker("ask", registry=registry)(function)
    for _ in range(100):
        change(registry, chance)
        before = registry.settings
        with pytest.raises(ValueError, match="failure_threshold"):
            registry.configure({"*": {"circuit_breaker": {"recovery_timeout": 7, "failure_threshold": -1}}})

        assert registry.settings == before
        assert await ask() == "answer"


async def test_calls_under_way_end_as_they_began(registry, clock):
    """A call that began with a timeout of 30 s is not cut when the timeout becomes 1 s, and keeps its retries."""

    @classified_retry("ask", registry=registry)
    @circuit_breaker("ask", failure_threshold=50, registry=registry)
    async def ask(seconds):
        await clock.sleep(seconds)
        raise ConnectionError

    failed = {}

    async def call(seconds):
        with pytest.raises(AIServiceError) as caught:
            await ask(seconds)
        failed[seconds] = caught.value

    async with clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(call, 5)
        await clock.sleep(1)
        registry.configure(
            {"ask": {"circuit_breaker": {"timeout_seconds": 1}, "classified_retry": {"max_attempts": 2}}}
        )
        await call(6)

    assert (failed[5].error_type, failed[5].attempts) == ("network_error", 4)
    assert (failed[6].error_type, failed[6].attempts) == ("timeout", 2)
