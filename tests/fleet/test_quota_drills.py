"""A shared quota while its server is killed, frozen, emptied, cut off, slow, full, read-only or failing over."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import anyio
import pytest

from tests.fleet.proxy import Proxy
from tests.fleet.support import LITTER, Server, server, until
from tests.fleet.test_shared_quotas import Service, all_connected, sent_between, store

pytestmark = [pytest.mark.slow, *LITTER]

QUOTA = 50  # calls a second, and as many in the bucket
ALONE, BACK = 2.5, 5.0  # seconds until workers go on without the server, and with it again


def killed(running: Server, _proxy):
    running.kill()
    return running.start


def frozen(running: Server, _proxy):
    running.freeze()
    return running.thaw


def cut_off(_running, proxy: Proxy):
    proxy.swallow = frozenset({"requests", "answers"})
    return lambda: setattr(proxy, "swallow", frozenset())


def answers_lost(_running, proxy: Proxy):
    proxy.swallow = frozenset({"answers"})
    return lambda: setattr(proxy, "swallow", frozenset())


def refused(_running, proxy: Proxy):
    proxy.refuse = True
    proxy.cut()
    return lambda: setattr(proxy, "refuse", False)


def full(running: Server, _proxy):
    running.ask("CONFIG", "SET", "maxmemory", "1")
    return lambda: running.ask("CONFIG", "SET", "maxmemory", "0")


def read_only(running: Server, _proxy):
    running.ask("REPLICAOF", "127.0.0.1", "1")
    return lambda: running.ask("REPLICAOF", "NO", "ONE")


TROUBLES = [killed, frozen, cut_off, answers_lost, refused, full, read_only]


async def fleet(stack, proxy, size=3):
    services = [Service(seed) for seed in range(size)]
    for each in services:
        await stack.enter_async_context(each.registry.join(store(proxy)))
    await all_connected(services)
    return services


def shared(services):
    return all(each.limit.stats().shared for each in services)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.__name__)
async def test_workers_keep_to_the_quota_without_the_server_and_come_back(running, proxy, trouble):
    async with AsyncExitStack() as stack:
        services = await fleet(stack, proxy)
        async with anyio.create_task_group() as tasks:
            for each in services:
                tasks.start_soon(each.load, 20, 12.0 + BACK)
            await anyio.sleep(2.0)
            end = trouble(running, proxy)
            alone = await until(lambda: all(each.limit.stats().part is not None for each in services), ALONE)
            began = time.monotonic()
            await anyio.sleep(3.0)
            sent = sent_between(services, began, began + 3.0)
            parts = [each.limit.stats().part for each in services]
            end()
            back = await until(lambda: shared(services), BACK)
            began = time.monotonic()
            await anyio.sleep(3.0)
            sent_after = sent_between(services, began, began + 3.0)
            tasks.cancel_scope.cancel()

    assert alone < ALONE
    assert back < BACK
    assert 0.4 * 3 * QUOTA <= sent <= 1.4 * 3 * QUOTA + QUOTA
    assert all(0 < part <= 1 for part in parts if part is not None)
    assert 0.5 * 3 * QUOTA <= sent_after <= 3 * QUOTA + QUOTA + 10
    assert max(wait for each in services for wait in each.waits) < 2.0  # `max_wait`, and a busy machine


async def test_lost_data_are_no_second_burst(running, proxy):
    async with AsyncExitStack() as stack:
        services = await fleet(stack, proxy)
        async with anyio.create_task_group() as tasks:
            for each in services:
                tasks.start_soon(each.load, 30, 9.0)
            await anyio.sleep(3.0)  # what the server had is used up
            began = time.monotonic()
            for _ in range(3):
                running.ask("FLUSHALL")
                await anyio.sleep(0.7)
            sent = sent_between(services, began, began + 2.0)
            tasks.cancel_scope.cancel()

    assert sent <= 2 * QUOTA + 3 * QUOTA / 2 + 20  # what had been promised may be promised once more


async def test_a_slow_network_leaves_a_fleet_its_quota(running, proxy):
    async with AsyncExitStack() as stack:
        services = await fleet(stack, proxy)
        proxy.delay = 0.2
        async with anyio.create_task_group() as tasks:
            for each in services:
                tasks.start_soon(each.load, 25, 6.0)
            await anyio.sleep(1.0)
            began = time.monotonic()
            await anyio.sleep(4.0)
            sent = sent_between(services, began, began + 4.0)
            connected = all(each.registry.fleet.connected for each in services)
            tasks.cancel_scope.cancel()

    assert connected
    assert 0.6 * 4 * QUOTA <= sent <= 1.3 * 4 * QUOTA + QUOTA


async def test_a_replica_that_is_promoted_goes_on_with_the_quota(running, proxy):
    with server() as replica:
        replica.ask("REPLICAOF", "127.0.0.1", str(running.port))
        async with AsyncExitStack() as stack:
            services = await fleet(stack, proxy)
            async with anyio.create_task_group() as tasks:
                for each in services:
                    tasks.start_soon(each.load, 20, 30.0)
                await until(lambda: "rate:" in replica.ask("KEYS", "*"), 15)
                running.kill()
                proxy.to = replica.port
                replica.ask("REPLICAOF", "NO", "ONE")
                await until(lambda: not shared(services))
                back = await until(lambda: shared(services), BACK)
                began = time.monotonic()
                await anyio.sleep(2.0)
                sent = sent_between(services, began, began + 2.0)
                tasks.cancel_scope.cancel()
        running.start()

    assert back < BACK
    assert 0.5 * 2 * QUOTA <= sent <= 2 * QUOTA + QUOTA + 10


async def test_a_worker_that_dies_takes_what_it_had_in_stock_and_no_more(running, proxy):
    dying, living = Service(1), Service(2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(living.registry.join(store(running)))
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:

            async def die():
                with scope:
                    async with dying.registry.join(store(proxy)):
                        await dying.load(25, 20.0)

            tasks.start_soon(die)
            tasks.start_soon(living.load, 60, 8.0)
            await anyio.sleep(2.0)
            proxy.refuse = True
            proxy.cut()  # it says no goodbye
            scope.cancel()
            await anyio.sleep(1.0)
            began = time.monotonic()
            await anyio.sleep(3.0)
            sent = sent_between([living], began, began + 3.0)
            tasks.cancel_scope.cancel()

    assert 0.8 * 3 * QUOTA <= sent <= 3 * QUOTA + QUOTA + 10
