"""Threads and loops share endpoints, and calls leave no garbage."""

from __future__ import annotations

import gc
import threading

import anyio

from resilient_ai import AllEndpointsFailedError, failover
from tests.failover.support import AP, EU, US

BACKENDS = ("asyncio", "trio")


def test_several_loops_in_several_threads_share_the_endpoints(registry):
    lock, count = threading.Lock(), [0]

    @failover(US, EU, AP, registry=registry)
    async def ask(endpoint, number: int) -> int:
        await anyio.lowlevel.checkpoint()
        with lock:
            count[0] += 1
            broken = count[0] % 7 == 0
        if broken:
            raise OSError("now and then")
        return number

    async def many() -> None:
        for number in range(300):
            try:
                assert await ask(number) == number
            except AllEndpointsFailedError:
                failed.append(number)

    failed: list[int] = []
    threads = [threading.Thread(target=anyio.run, args=(many,), kwargs={"backend": each}) for each in BACKENDS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = registry.failovers["test_several_loops_in_several_threads_share_the_endpoints.<locals>.ask"].stats()

    assert (stats.ok, stats.failed) == (1_200 - len(failed), len(failed))
    assert sum(each.calls for each in stats.endpoints.values()) == count[0]
    assert {each.in_flight for each in stats.endpoints.values()} == {0}


async def test_a_good_call_leaves_no_garbage_and_neither_does_one_that_moved_on(registry):
    @failover(US, EU, strategy="priority", registry=registry)
    async def ask(endpoint) -> str:
        if endpoint is US:
            raise OSError("down")
        return endpoint.name

    await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await ask()
            registry.endpoints["us"].mark_up()
        left = gc.collect()
    finally:
        gc.enable()

    assert left == 0
