"""A fleet by way of Sentinels, which know which server is the primary."""

from __future__ import annotations

import pytest

from resilient_ai.redis import RedisStore
from tests.fleet.support import LITTER, free_port, sentinel, server, until, worker

pytestmark = LITTER


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


@pytest.mark.slow
async def test_sentinels_may_have_a_password_of_their_own(tmp_path):
    right, wrong = worker(1), worker(2)
    with (
        server("--requirepass", "pri%mary") as primary,
        sentinel(primary, tmp_path, "sentinel auth-pass main pri%mary", "requirepass sent+inel") as port,
    ):
        url = f"redis+sentinel://:pri%25mary@127.0.0.1:{port}/main?sentinel_password="
        async with right.join(RedisStore(url + "sent+inel")), wrong.join(RedisStore(url + "other")):
            await until(lambda: right.fleet.connected, 20)
            await until(lambda: wrong.fleet.last_error is not None, 20)

            assert not wrong.fleet.connected
            assert "Authentication" in wrong.fleet.last_error


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
        "a/main?sentinel_password=s3cr@t",
        "a/main?sentinel_password",
        "a/main?password=s3cr3t",
        "a/main?ssl_ca_certs=s3cr3t",
        "a/main?sentinel_password=a&s3cr3t",
    ],
)
def test_a_url_that_names_no_sentinel_or_no_service_is_refused_without_its_password(rest):
    with pytest.raises(ValueError, match=r"must be redis\+sentinel://host:port,host:port/service") as wrong:
        RedisStore(f"redis+sentinel://{rest}")

    assert "s3cr" not in str(wrong.value)
    assert wrong.value.__context__ is None


@pytest.mark.parametrize("scheme", ["redis+sentinel", "rediss+sentinel"])
def test_a_store_by_way_of_sentinels_shows_no_password(scheme):
    url = f"{scheme}://ops:hunter2@a:1,[::1]:2,c/main?sentinel_username=s&sentinel_password=hunter2"
    shown = repr(RedisStore(url, namespace="prod"))

    assert shown == f"RedisStore('{scheme}://a:1,[::1]:2,c:26379/main', namespace='prod')"


@pytest.mark.parametrize("url", ["rediss+sentinel://127.0.0.1:1/main", "rediss+cluster://127.0.0.1:1"])
async def test_an_authority_that_a_url_names_is_asked_for(url):
    registry = worker()
    async with registry.join(RedisStore(f"{url}?ssl_ca_certs=/no/such/file")):
        await until(lambda: registry.fleet.last_error is not None)

        assert "FileNotFoundError" in registry.fleet.last_error
