"""A fleet by way of Sentinels, which know which server is the primary."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager

import pytest

from resilient_ai.redis import RedisStore
from tests.fleet.support import LITTER, binary, server, until, worker

pytestmark = LITTER


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def sentinel(primary, folder):
    """One Sentinel that decides by itself; its port."""
    port = free_port()
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\nloglevel nothing\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
    )
    process = subprocess.Popen([binary(), str(settings), "--sentinel"], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_workers_follow_a_failover_to_the_new_primary(tmp_path):
    first, second = worker(1), worker(2)
    with (
        server() as primary,
        server("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0") as replica,
        sentinel(primary, tmp_path) as port,
    ):
        await until(lambda: "master_link_status:up" in replica.ask("INFO", "replication"), 20)
        await until(lambda: f"port={replica.port}" in primary.ask("INFO", "replication"), 20)
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main"  # nobody listens at the first
        async with (
            first.join(RedisStore(url, sync_interval=0.3)),
            second.join(RedisStore(url, sync_interval=0.3)),
        ):
            await until(lambda: first.fleet.workers == second.fleet.workers == 2, 20)
            push = first.fleet.push and second.fleet.push
            primary.kill()
            await until(lambda: not first.fleet.connected and not second.fleet.connected)
            await until(lambda: first.fleet.connected and second.fleet.connected, 30)
            await until(lambda: first.fleet.workers == second.fleet.workers == 2, 20)

    assert push


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "cache",
        "cache/",
        "cache:x/main",
        "cache/main/0",
        ":s3cr@t@cache/main",
        ":s3cr#t@cache/main",
        ":9/s3cr@a/main",
    ],
)
def test_a_url_that_names_no_sentinel_or_no_service_is_refused_without_its_password(rest):
    with pytest.raises(ValueError, match=r"must be redis\+sentinel://host:port,host:port/service") as wrong:
        RedisStore(f"redis+sentinel://{rest}")

    assert "s3cr" not in str(wrong.value)
    assert wrong.value.__context__ is None


def test_a_store_by_way_of_sentinels_shows_no_password():
    shown = repr(RedisStore("redis+sentinel://ops:hunter2@a:1,[::1]:2,c/main", namespace="prod"))

    assert shown == "RedisStore('redis+sentinel://a:1,[::1]:2,c:26379/main', namespace='prod')"


def test_tls_by_way_of_sentinels_is_refused_with_what_to_give_instead():
    with pytest.raises(ValueError, match=r"got 'rediss\+sentinel'; for TLS give client=sentinel\.primary_for"):
        RedisStore("rediss+sentinel://a:1/main")
