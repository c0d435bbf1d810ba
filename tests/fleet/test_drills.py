"""A real server that is killed, frozen, emptied, closed to us, or in hostile hands, in real time."""

from __future__ import annotations

import json
import re
import time

import anyio
import pytest

from resilient_ai import Endpoint, failover
from resilient_ai.events import FactHeard, FleetJoined, FleetLost
from resilient_ai.redis import RedisStore
from resilient_ai.testing import capture_events
from tests.fleet.support import LITTER, until, worker
from tests.helpers import ProviderError, scripted

pytestmark = [pytest.mark.slow, *LITTER]

ALONE, BACK = 1.5, 4.0  # seconds after the first failed command, and after the server is there again
RIGHTS = """+@connection +eval +evalsha +publish +subscribe +unsubscribe +time +get +set +incr +del +hset +hget +hmget
    +hgetall +hdel +zadd +zrem +zcard +zrange +zremrangebyscore +pexpire"""


def store(running, **settings):
    return RedisStore(settings.pop("url", running.url), **{"namespace": "drill", "sync_interval": 0.5, **settings})


def asks(registry, *outcomes):
    us = scripted(*outcomes)

    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    async def ask(endpoint):
        return await us() if endpoint.name == "us" else "eu"

    return ask


REFUSED = ProviderError("rate_limit", retry_after=30.0)


def resting(registry):
    return registry.endpoints["us"].stats().resting_for > 0


async def slowest_decision(ask, seconds):
    """Ask all the time for so many seconds; the longest that a call took."""
    slowest, end = 0.0, time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        await ask()
        slowest = max(slowest, time.monotonic() - began)
        await anyio.sleep(0.01)
    return slowest


async def test_what_one_worker_learns_all_know_at_once(running, provider_errors):
    first, second = worker(1), worker(2)
    teller, hearer = asks(first, REFUSED), asks(second, "us")
    with capture_events(second) as events:
        async with first.join(store(running)), second.join(store(running)):
            await until(lambda: first.fleet.connected and second.fleet.connected)
            await teller()
            took = await until(lambda: resting(second))

            assert await hearer() == "eu"

    assert took < 1.0
    assert [type(each) for each in events] == [FleetJoined, FactHeard]
    assert 29 < events[1].rest <= 30


async def test_a_second_worker_that_meets_it_confirms_a_long_one(running, provider_errors):
    gone = ProviderError("quota_exceeded")
    workers = [worker(seed) for seed in range(3)]
    first, second, third = workers
    asking = [asks(each, gone) for each in workers]
    async with first.join(store(running)), second.join(store(running)), third.join(store(running)):
        await until(lambda: all(each.fleet.connected for each in workers))
        await asking[0]()
        await until(lambda: resting(third))
        alone = third.endpoints["us"].stats().resting_for
        second.endpoints["us"].mark_up()
        await asking[1]()
        await until(lambda: third.endpoints["us"].stats().resting_for > 100)

    assert 0 < alone <= 10


async def test_a_worker_that_joins_later_knows_what_holds(running, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    async with first.join(store(running)):
        await until(lambda: first.fleet.connected)
        await teller()
        await until(lambda: first.fleet.facts_told == 1)
        async with second.join(store(running)):
            await until(lambda: resting(second))


async def test_without_a_server_a_registry_joins_at_once_and_goes_on_alone(running):
    registry = worker()
    ask = asks(registry, "us")
    running.kill()
    with capture_events(registry) as events:
        began = time.monotonic()
        async with registry.join(store(running)):
            entered = time.monotonic() - began
            slowest = await slowest_decision(ask, 1.0)
            running.start()
            await until(lambda: registry.fleet.connected, BACK)

    assert entered < 0.1
    assert slowest < 0.1
    assert [type(each) for each in events] == [FleetLost]  # and its return, once it has lasted


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
async def test_a_server_that_goes_leaves_every_worker_as_it_is(running, provider_errors, trouble):
    first, second = worker(1), worker(2)
    teller, hearer = asks(first, REFUSED), asks(second, "us")
    go, come = {"killed": (running.kill, running.start), "frozen": (running.freeze, running.thaw)}[trouble]
    with capture_events(second) as events:
        async with first.join(store(running)), second.join(store(running)):
            await until(lambda: first.fleet.connected and second.fleet.connected)
            await teller()
            await until(lambda: resting(second))
            go()
            lost = await until(lambda: not second.fleet.connected)
            slowest = await slowest_decision(hearer, 1.0)
            kept = resting(second)
            come()
            back = await until(lambda: first.fleet.connected and second.fleet.connected)
            push = first.fleet.push and second.fleet.push

    assert lost < ALONE + 0.6 + 0.5  # the next heartbeat, and a busy machine
    assert back < BACK
    assert push
    assert kept
    assert slowest < 0.1
    assert [type(each) for each in events] == [FleetJoined, FactHeard, FleetLost]


async def test_a_server_that_comes_back_empty_is_told_what_holds(running, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    async with first.join(store(running)):
        await until(lambda: first.fleet.connected)
        await teller()
        await until(lambda: first.fleet.facts_told == 1)
        running.kill()
        running.start()
        async with second.join(store(running)):
            await until(lambda: resting(second))


async def test_a_server_that_was_flushed_is_told_what_holds(running, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    async with first.join(store(running)):
        await until(lambda: first.fleet.facts_told == 0 and first.fleet.connected)
        await teller()
        await until(lambda: first.fleet.facts_told == 1)
        heartbeats = first.fleet.commands
        await until(lambda: first.fleet.commands > heartbeats)
        running.ask("FLUSHALL")
        async with second.join(store(running)):
            await until(lambda: resting(second))


async def test_a_wrong_password_is_one_line_and_no_error(running):
    running.ask("CONFIG", "SET", "requirepass", "right")
    registry = worker()
    ask = asks(registry, "us")
    with capture_events(registry) as events:
        async with registry.join(store(running, url=running.url.replace("redis://", "redis://:wrong@"))):
            slowest = await slowest_decision(ask, 2.0)
            connected = registry.fleet.connected

    assert not connected
    assert [type(each) for each in events] == [FleetLost]
    assert slowest < 0.1


async def test_a_user_without_rights_on_channels_hears_by_polling(running, provider_errors):
    running.ask(
        "ACL", "SETUSER", "rai", "on", ">pw", "resetkeys", "~rai1:{drill}:*", "resetchannels", "-@all", *RIGHTS.split()
    )
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    url = running.url.replace("redis://", "redis://rai:pw@")
    with capture_events(second) as events:
        async with first.join(store(running)), second.join(store(running, url=url)):
            await until(lambda: first.fleet.connected and second.fleet.connected)
            await teller()
            await until(lambda: resting(second))

    assert [(type(each), getattr(each, "push", None)) for each in events] == [(FleetJoined, False), (FactHeard, None)]


async def test_a_worker_that_polls_tells_too(running, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    asks(second, "us")
    async with first.join(store(running, push=False)), second.join(store(running)):
        await until(lambda: first.fleet.connected and second.fleet.connected)
        await teller()
        await until(lambda: resting(second))

        assert first.fleet.last_error is None


async def test_the_rights_that_the_page_names_are_enough(running, provider_errors):
    rights = ["resetkeys", "~rai1:{drill}:*", "resetchannels", "&rai1:{drill}:*", "-@all", *RIGHTS.split()]
    running.ask("ACL", "SETUSER", "rai", "on", ">pw", *rights)
    registry = worker()
    ask = asks(registry, REFUSED)
    async with registry.join(store(running, url=running.url.replace("redis://", "redis://rai:pw@"))):
        await until(lambda: registry.fleet.connected)
        await ask()
        await until(lambda: registry.fleet.facts_told == 1)

        assert registry.fleet.push


async def test_whoever_leaves_is_not_counted_any_more_and_every_key_expires(running, provider_errors):
    first, second = worker(1), worker(2)
    teller = asks(first, REFUSED)
    async with first.join(store(running)):
        async with second.join(store(running)):
            await until(lambda: first.fleet.workers == 2)
            await teller()
            await until(lambda: first.fleet.facts_told == 1)
        await until(lambda: first.fleet.workers == 1)
    keys = re.findall(r"rai1:\S+", running.ask("KEYS", "*"))

    assert "*0" in running.ask("ZRANGE", "rai1:{drill}:workers", "0", "-1")
    assert len(keys) >= 2
    assert all(int(running.ask("PTTL", key)[1:]) > 0 for key in keys)


async def test_nothing_on_the_server_names_an_endpoint_or_a_key(running, provider_errors):
    registry = worker()
    error = ProviderError("rate_limit", retry_after=30.0)

    @failover(
        Endpoint("us-secret-name", credential="sk-hunter2"), Endpoint("eu"), strategy="priority", registry=registry
    )
    async def ask(endpoint):
        if endpoint.name == "eu":
            return "eu"
        raise error

    async with registry.join(store(running)):
        await until(lambda: registry.fleet.connected)
        await ask()
        await until(lambda: registry.fleet.facts_told == 1)
        dump = running.ask("HGETALL", "rai1:{drill}:facts") + running.ask("KEYS", "*")

    assert "rate_limit" in dump
    assert not re.search(r"secret|hunter|us-", dump)


async def test_a_hostile_writer_breaks_nothing_and_rests_nobody_for_long(running):
    registry = worker()
    ask = asks(registry, "us")
    garbage = ["", "not json", "[]", '{"k":"k"}', "\x00" * 10, '{"k":' + '"a"' * 10_000 + "}", json.dumps({"hi": 7})]
    async with registry.join(store(running)):
        await until(lambda: registry.fleet.push)
        for each in garbage:
            running.ask("PUBLISH", "rai1:{drill}:news", each)
        for kind in ("facts", "ver", "workers"):
            running.ask("HSET", "rai1:{drill}:facts", "x" * 24, f"99999999999999|{kind}|me|1")
        await until(lambda: registry.fleet.dropped >= len(garbage))
        still, slowest = registry.fleet.connected, await slowest_decision(ask, 0.5)
        running.ask("DEL", "rai1:{drill}:ver")
        running.ask("LPUSH", "rai1:{drill}:ver", "no counter")
        await until(lambda: not registry.fleet.connected)
        alone = await slowest_decision(ask, 0.5)
        running.ask("FLUSHALL")
        await until(lambda: registry.fleet.connected)

    assert still
    assert max(slowest, alone) < 0.1


async def test_leaving_does_not_wait_for_a_frozen_server(running):
    registry = worker()
    async with registry.join(store(running)):
        await until(lambda: registry.fleet.connected)
        running.freeze()
        began = time.monotonic()
    left = time.monotonic() - began
    running.thaw()

    assert left < 2.0


def test_plain_code_joins_a_real_fleet(running):
    registry = worker()
    with registry.join(store(running)):
        end = time.monotonic() + 5
        while not registry.fleet.connected and time.monotonic() < end:
            time.sleep(0.01)

        assert registry.fleet.connected
    assert "*0" in running.ask("ZRANGE", "rai1:{drill}:workers", "0", "-1")


@pytest.mark.parametrize("trouble", ["maxmemory", "read-only"])
async def test_a_server_that_takes_nothing_leaves_the_worker_alone_until_it_does(running, provider_errors, trouble):
    registry = worker()
    ask = asks(registry, REFUSED)
    go, come = {
        "maxmemory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        "read-only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    }[trouble]
    async with registry.join(store(running)):
        await until(lambda: registry.fleet.connected)
        running.ask(*go)
        await until(lambda: not registry.fleet.connected)
        slowest = await slowest_decision(ask, 0.5)
        running.ask(*come)
        back = await until(lambda: registry.fleet.connected)
        push = registry.fleet.push

    assert slowest < 0.1
    assert back < BACK
    assert push


def calls_of(running, command):
    """How often the server was asked that."""
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", running.ask("INFO", "commandstats"))
    return int(found[1]) if found else 0


async def test_a_worker_that_is_refused_subscribes_to_nothing_until_it_is_not(running):
    registry = worker()
    async with registry.join(store(running)):
        await until(lambda: registry.fleet.connected)
        running.ask("CONFIG", "SET", "maxmemory", "1")
        await until(lambda: not registry.fleet.connected)
        subscribed, asked = calls_of(running, "subscribe"), calls_of(running, "evalsha")
        await until(lambda: calls_of(running, "evalsha") >= asked + 3)
        refused = calls_of(running, "subscribe")
        running.ask("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: registry.fleet.connected)
        again = calls_of(running, "subscribe")

    assert (subscribed, refused, again) == (1, 1, 2)
