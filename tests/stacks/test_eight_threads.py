"""Eight threads call and one reads all the while: no count is lost and every read succeeds, with a GIL and without."""

from __future__ import annotations

import sys
import threading

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    Endpoint,
    ErrorType,
    Registry,
    RetryRule,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
)

THREADS, CALLS, TOGETHER = 8, 60, 20
AT_ONCE = {kind: RetryRule(2, 0, 0) for kind in ErrorType}


@pytest.fixture
def busy():
    """Threads are switched as often as they can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def hammered(one, read):
    """Run `one(number)` in eight threads with a loop each, and `read()` beside them; what it all raised."""
    raised, over = [], threading.Event()

    def guarded(work, *args):
        try:
            work(*args)
        except BaseException as error:  # asserted by the test
            raised.append(error)

    async def calls(first):
        for start in range(first, first + CALLS, TOGETHER):
            async with anyio.create_task_group() as tasks:
                for number in range(start, start + TOGETHER):
                    tasks.start_soon(one, number)

    def reading():
        while not over.is_set():
            read()

    callers = [threading.Thread(target=guarded, args=(anyio.run, calls, each * 10_000)) for each in range(THREADS)]
    reader = threading.Thread(target=guarded, args=(reading,))
    for each in (*callers, reader):
        each.start()
    for each in callers:
        each.join(60)
    over.set()
    reader.join(60)
    return raised, [each for each in (*callers, reader) if each.is_alive()]


def test_no_call_of_eight_threads_is_lost_or_counted_twice(busy):
    registry, wrong = Registry(listeners=()), []

    @degrade_to("sorry", registry=registry)
    @classified_retry(rules=AT_ONCE, budget=None, registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @rate_limit(requests_per_minute=6e7, tokens_per_minute=6e9, registry=registry)
    @adaptive_limit(initial=4, pace=False, registry=registry)
    @circuit_breaker("c", failure_threshold=10**9, timeout_seconds=None, registry=registry)
    async def ask(endpoint, number):
        if number % 11 == 0:
            raise ConnectionError("refused")
        if number % 7 == 0:
            await anyio.lowlevel.checkpoint()
        return number

    @batched(batch_size=5, batch_timeout=0.001, registry=registry)
    async def doubled(numbers):
        return [number * 2 for number in numbers]

    @circuit_breaker(key=lambda number: number % 50, failure_threshold=10**9, registry=registry)
    async def keyed(number):
        return number

    @classified_retry("good", registry=registry)
    async def good(number):
        return number

    async def one(number):
        answers = [await ask(number), await doubled(number), await keyed(number), await good(number)]
        if answers != ["sorry" if number % 11 == 0 else number, number * 2, number, number]:
            wrong.append((number, answers))

    raised, alive = hammered(one, lambda: (registry.as_dict(), repr(registry), describe(ask)))
    total = THREADS * CALLS
    degraded = sum(
        number % 11 == 0 for each in range(THREADS) for number in range(each * 10_000, each * 10_000 + CALLS)
    )
    asked, retried = registry.degradations[ask.__qualname__].stats(), registry.retries[ask.__qualname__].stats()
    endpoints = [each.stats() for each in registry.endpoints.values()]
    limits = [each.stats() for each in registry.limits.values()]
    circuits = {name: each.stats() for name, each in registry.circuit_breakers.items()}

    assert (raised, alive, wrong) == ([], [], [])
    assert (asked.calls, asked.degraded) == (total, degraded)
    assert (retried.calls, retried.ok, retried.failed) == (total, total - degraded, degraded)
    assert sum(each.ok for each in endpoints) == total - degraded
    assert sum(each.calls for each in endpoints) == sum(each.calls for each in limits) >= total
    assert sum(each.calls for name, each in circuits.items() if name.startswith("c[")) == sum(
        each.calls for each in endpoints
    )
    assert sum(each.in_flight + each.waiting for each in limits) == sum(each.in_flight for each in endpoints) == 0
    assert sum(each.ok for name, each in circuits.items() if "keyed" in name) == total
    assert registry.retries["good"].stats().ok == registry.batches[doubled.__qualname__].stats().ok == total


def test_streams_timeouts_and_functions_made_per_call_stand_eight_threads(busy):
    registry, wrong = Registry(listeners=()), []

    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), name="s", registry=registry)
    @circuit_breaker("s", idle_timeout_seconds=30, registry=registry)
    async def stream(endpoint, number):
        for piece in range(4):
            await anyio.lowlevel.checkpoint()
            yield number, piece

    async def one(number):
        pieces = [piece async for piece in stream(number)]

        @circuit_breaker(f"d{number % 30}", timeout_seconds=30, registry=registry)
        async def made():
            await anyio.lowlevel.checkpoint()
            return number

        if pieces != [(number, piece) for piece in range(4)] or await made() != number:
            wrong.append(number)

    def read():
        registry.as_dict()
        registry.subscribe(lambda event: None)()
        registry.find("*")

    raised, alive = hammered(one, read)
    endpoints = [each.stats() for each in registry.endpoints.values()]
    made = [each.stats() for name, each in registry.circuit_breakers.items() if name.startswith("d")]

    assert (raised, alive, wrong) == ([], [], [])
    assert sum(each.ok for each in endpoints) == sum(each.ok for each in made) == THREADS * CALLS
