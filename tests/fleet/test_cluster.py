"""A fleet by way of a cluster: all keys of a namespace are on one node of it."""

from __future__ import annotations

import socket

import pytest

from resilient_ai.redis import RedisStore
from tests.fleet.support import LITTER, server, until
from tests.fleet.test_shared_quotas import Service

pytestmark = LITTER


@pytest.mark.slow
async def test_workers_meet_on_a_cluster_and_share_a_quota_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bus = free.getsockname()[1]
    with server("--cluster-enabled", "yes", "--cluster-port", str(bus)) as node:
        node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await until(lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO"), 10)
        first, second = Service(1), Service(2)
        url = node.url.replace("redis://", "redis+cluster://").removesuffix("/0")
        async with (
            first.registry.join(RedisStore(url, namespace="many.nodes", sync_interval=0.5)),
            second.registry.join(RedisStore(url, namespace="many.nodes", sync_interval=0.5)),
        ):
            await until(lambda: first.registry.fleet.workers == second.registry.fleet.workers == 2, 15)
            push = first.registry.fleet.push and second.registry.fleet.push
            await first.load(20, 1.5)
            shared = first.limit.stats().shared
            keys = node.ask("KEYS", "*")

    assert push
    assert shared
    assert "rai1:{many.nodes}:rate:" in keys
