"""A network that is slow, swallows one way or both, refuses or is cut, between workers and a real server."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai.events import FactHeard, FleetJoined, FleetLost
from resilient_ai.testing import capture_events
from tests.fleet.support import LITTER, until, worker
from tests.fleet.test_drills import BACK, REFUSED, asks, resting, slowest_decision, store

pytestmark = [pytest.mark.slow, *LITTER]


TROUBLES = {
    "swallowed both ways": {"swallow": frozenset({"requests", "answers"})},
    "only answers lost": {"swallow": frozenset({"answers"})},
    "refused": {"refuse": True},
    "slower than the timeout": {"delay": 0.6},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_broken_network_leaves_every_worker_as_it_is(running, proxy, provider_errors, trouble):
    first, second = worker(1), worker(2)
    teller, hearer = asks(first, REFUSED), asks(second, "us")
    with capture_events(second) as events:
        async with first.join(store(running)), second.join(store(running, url=proxy.url)):
            await until(lambda: first.fleet.connected and second.fleet.connected)
            await teller()
            await until(lambda: resting(second))
            vars(proxy).update(TROUBLES[trouble])
            if trouble == "refused":
                proxy.cut()
            lost = await until(lambda: not second.fleet.connected)
            slowest = await slowest_decision(hearer, 1.0)
            kept = resting(second)
            vars(proxy).update(swallow=frozenset(), refuse=False, delay=0.0)
            back = await until(lambda: second.fleet.connected)

    assert lost < 2.5  # the next heartbeat, a timeout, and a busy machine
    assert back < BACK
    assert kept
    assert slowest < 0.1
    assert [type(each) for each in events] == [FleetJoined, FactHeard, FleetLost]


async def test_a_slow_network_is_none_the_worse(running, proxy, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    proxy.delay = 0.2
    async with first.join(store(running)), second.join(store(running, url=proxy.url)):
        await until(lambda: first.fleet.connected and second.fleet.connected)
        await teller()
        took = await until(lambda: resting(second))
        stayed = second.fleet.connected

    assert took < 2.0
    assert stayed


async def test_a_subscription_that_falls_silent_is_made_anew(running, proxy):
    """A router between worker and server forgets a connection on which nothing has come for minutes."""
    registry = worker()
    with capture_events(registry) as events:
        async with registry.join(store(running, url=proxy.url, sync_interval=0.1, command_timeout=0.5)):
            await until(lambda: registry.fleet.push)
            await anyio.sleep(2.0)
            quiet = [type(each) for each in events]
            proxy.forget_subscriptions()
            await until(lambda: not registry.fleet.connected)
            await until(lambda: registry.fleet.push)

    assert quiet == [FleetJoined]  # where nothing happens, nothing is made anew


async def test_a_network_that_is_cut_again_and_again_is_told_once(running, proxy):
    registry = worker()
    with capture_events(registry) as events:
        async with registry.join(store(running, url=proxy.url)):
            await until(lambda: registry.fleet.connected)
            for _ in range(10):
                proxy.cut()
                await anyio.sleep(0.2)
            back = await until(lambda: registry.fleet.connected)

    assert back < BACK
    assert [type(each) for each in events] == [FleetJoined, FleetLost]
