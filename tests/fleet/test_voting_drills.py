"""Votes by way of a real server: a provider that dies, a bad worker, and a server that goes while a circuit is open."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, circuit_breaker
from resilient_ai._fleet.votes import hashed_state
from resilient_ai.events import CircuitOpened, FleetClosed, FleetDoubted, FleetJoined, FleetLost, FleetOpened
from resilient_ai.testing import capture_events
from tests.fleet.support import LITTER, Server, server, until, worker
from tests.fleet.test_drills import ALONE, BACK, RIGHTS
from tests.fleet.voting import PATIENT, Workers, store
from tests.helpers import ProviderError

pytestmark = [pytest.mark.slow, *LITTER]

KEY = hashed_state("drill", "circuit_breaker", "provider")
PARTS = ("question", "reports", "answers")  # of a vote


async def test_a_dead_provider_is_found_by_all_workers_and_comes_back_for_all(running):
    workers = Workers(4)
    with capture_events(workers.registries[0]) as first, capture_events(workers.registries[1]) as second:
        async with workers.joined(store(running)):
            workers.dead = True
            await until(lambda: workers.held() == 4)
            reason = workers.circuit(0).row().state
            workers.dead = False
            await until(lambda: workers.closed() == 4)

    openings = [each for each in (*first, *second) if isinstance(each, CircuitOpened)]
    assert re.match(r"the fleet: \d+ of \d+ calls failed at \d of \d workers", openings[0].reason)
    assert reason.startswith(("open by the fleet", "half-open by the fleet"))
    for events in (first, second):
        assert {type(each) for each in events} & {FleetLost} == set()


async def test_one_worker_says_that_the_fleet_has_opened_and_one_that_it_has_closed(running):
    workers = Workers(3)
    told = []
    for each in workers.registries:
        each.subscribe(told.append)
    async with workers.joined(store(running)):
        workers.dead = True
        await until(lambda: workers.held() == 3)
        workers.dead = False
        await until(lambda: workers.closed() == 3)

    opened = [each for each in told if isinstance(each, FleetOpened)]
    closed = [each for each in told if isinstance(each, FleetClosed)]
    assert len(opened) == len(closed) == 1
    assert opened[0].failed <= opened[0].calls
    assert opened[0].workers in (2, 3)  # after 100 ms the answers of half of the workers are enough


async def test_a_bad_worker_opens_nobody_s_circuit_but_its_own(running):
    workers = Workers(5, minimum_calls=10)
    workers.bad = {2}
    async with workers.joined(store(running)):
        await until(lambda: workers.circuit(2).state is CircuitState.OPEN)
        await anyio.sleep(2)
        states = [workers.circuit(number).stats() for number in range(5)]

    assert [each.opened_by for each in states] == [None, None, "local", None, None]
    assert sum(each.rejected for each in states) == states[2].rejected


def _restart(running):
    running.kill()
    running.start()


TROUBLES = {
    "killed": (Server.kill, Server.start),
    "frozen": (Server.freeze, Server.thaw),
    "restarted empty": (_restart, lambda _running: None),
    "flushed": (lambda running: running.ask("FLUSHALL"), lambda _running: None),
    "out of memory": (
        lambda running: running.ask("CONFIG", "SET", "maxmemory", "1"),
        lambda running: running.ask("CONFIG", "SET", "maxmemory", "0"),
    ),
    "read-only": (
        lambda running: running.ask("REPLICAOF", "127.0.0.1", "1"),
        lambda running: running.ask("REPLICAOF", "NO", "ONE"),
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_server_in_trouble_while_the_provider_is_dead_leaves_circuits_open(running, trouble):
    workers = Workers(3)
    go, come = TROUBLES[trouble]
    with capture_events(workers.registries[0]) as events:
        async with workers.joined(store(running)):
            workers.dead = True
            await until(lambda: workers.held() == 3)
            workers.slowest = 0.0
            go(running)
            await anyio.sleep(2.5)
            during = workers.held()
            come(running)
            back = await until(lambda: workers.connected)
            workers.dead = False
            await until(lambda: workers.closed() == 3, 12)

    changes = [type(each) for each in events if isinstance(each, FleetJoined | FleetLost)]
    assert during == 3
    assert back < BACK
    assert changes in ([FleetJoined], [FleetJoined, FleetLost], [FleetJoined, FleetLost, FleetJoined])
    assert workers.slowest < 0.005


async def test_without_a_server_workers_go_on_alone_and_come_back_together(running):
    workers = Workers(3, recovery_timeout=2.0, success_threshold=1)
    async with workers.joined(store(running)):
        workers.dead = True
        await until(lambda: workers.held() == 3)
        running.kill()
        lost = await until(lambda: not any(each.fleet.connected for each in workers.registries))
        workers.dead = False
        alone = await until(lambda: workers.closed() == 3)
        running.start()
        back = await until(lambda: workers.connected)
        await anyio.sleep(0.5)
        still = workers.closed()

    assert lost < ALONE + 0.6 + 0.5  # the next heartbeat, and a busy machine
    assert alone < 2 * 2.0 + 1.0  # half of the workers skip a turn
    assert back < BACK
    assert still == 3


async def test_a_server_that_lost_its_data_is_told_what_the_fleet_holds_open(running):
    workers = Workers(3)
    late = Workers(1)
    async with workers.joined(store(running)):
        workers.dead = True
        await until(lambda: workers.held() == 3)
        running.ask("FLUSHALL")
        async with late.registries[0].join(store(running)):
            await until(lambda: late.held() == 1)


async def test_a_replica_that_is_promoted_goes_on_where_the_primary_was(running, proxy):
    with server() as replica:
        replica.ask("REPLICAOF", "127.0.0.1", str(running.port))
        workers = Workers(3)
        async with workers.joined(store(running, url=proxy.url)):
            await until(lambda: "master_link_status:up" in replica.ask("INFO", "replication"), 15)
            workers.dead = True
            await until(lambda: workers.held() == 3)
            running.kill()
            proxy.to = replica.port
            replica.ask("REPLICAOF", "NO", "ONE")
            proxy.cut()
            await anyio.sleep(1)
            during = workers.held()
            back = await until(lambda: workers.connected)
            workers.dead = False
            await until(lambda: workers.closed() == 3)

    assert during == 3
    assert back < BACK


async def test_workers_without_rights_on_channels_vote_by_polling(running):
    rights = ["resetkeys", "~rai1:{drill}:*", "resetchannels", "-@all", *RIGHTS.split()]
    running.ask("ACL", "SETUSER", "rai", "on", ">pw", *rights)
    workers = Workers(3)
    async with workers.joined(store(running, url=running.url.replace("redis://", "redis://rai:pw@"))):
        assert not any(each.fleet.push for each in workers.registries)
        workers.dead = True
        await until(lambda: workers.held() == 3, 12)
        workers.dead = False
        await until(lambda: workers.closed() == 3, 12)


async def test_the_rights_that_the_page_names_are_enough_to_vote(running):
    rights = ["resetkeys", "~rai1:{drill}:*", "resetchannels", "&rai1:{drill}:*", "-@all", *RIGHTS.split()]
    running.ask("ACL", "SETUSER", "rai", "on", ">pw", *rights)
    workers = Workers(3)
    async with workers.joined(store(running, url=running.url.replace("redis://", "redis://rai:pw@"))):
        assert all(each.fleet.push for each in workers.registries)
        workers.dead = True
        await until(lambda: workers.held() == 3)
        workers.dead = False
        await until(lambda: workers.closed() == 3)


async def test_a_server_that_knows_no_scripts_leaves_workers_alone_with_one_line():
    with server("--rename-command", "EVALSHA", "", "--rename-command", "EVAL", "") as old:
        registry = worker()
        with capture_events(registry) as events:
            async with registry.join(store(old)):
                await anyio.sleep(2)
                connected = registry.fleet.connected

    assert not connected
    assert [type(each) for each in events] == [FleetLost]


async def test_a_hostile_writer_holds_a_circuit_open_for_two_bounds_and_no_longer(running):
    workers = Workers(2)
    told = []
    workers.registries[0].subscribe(told.append)
    garbage = [
        {"k": KEY, "e": "x", "s": "o", "r": 1, "n": 0, "q": 0, "f": 0, "c": 0, "b": 0, "a": 0},
        {"k": KEY, "e": 1e30, "s": "o", "r": 10**12, "n": 0, "q": 0, "f": 0, "c": 0, "b": 0, "a": 0},
        {"k": KEY, "e": 2**53 - 1, "s": "o", "r": 10**12, "n": 0, "q": 0, "f": 0, "c": 0, "b": 0, "a": 0},
        {"k": KEY, "e": 5, "s": "zz", "r": -5, "n": -1, "q": 0, "f": 0, "c": 0, "b": 0, "a": 0},
        {"k": "../../etc", "q": 7},
        {"k": KEY, "q": -1},
        {"k": KEY, "q": 10**40},
    ]
    async with workers.joined(store(running, max_open=0.5)):
        for each in garbage:
            running.ask("PUBLISH", "rai1:{drill}:news", json.dumps(each))
        await until(lambda: workers.registries[0].fleet.dropped >= len(garbage))
        unharmed = workers.held()
        began = time.monotonic()
        while not any(isinstance(each, FleetDoubted) for each in told):
            now = time.time_ns() // 1_000_000 + 5_000
            message = {"k": KEY, "e": now, "s": "o", "r": 10**12, "n": 0, "q": 0, "f": 0, "c": 0, "b": 0, "a": 0}
            running.ask("PUBLISH", "rai1:{drill}:news", json.dumps(message))
            assert time.monotonic() - began < 8
            await anyio.sleep(0.05)
        took = time.monotonic() - began
        running.ask("PUBLISH", "rai1:{drill}:news", json.dumps({**message, "e": now + 100}))
        await anyio.sleep(0.2)

        assert workers.circuit(0).state is CircuitState.CLOSED

    assert unharmed == 0
    assert took < 5  # two bounds of 0.5 s, and a busy machine


@pytest.mark.parametrize("value", ["nonsense", "9" * 400, "1|o|x", "\x00"])
async def test_damaged_values_on_the_server_reach_no_call(running, value):
    workers = Workers(2)
    async with workers.joined(store(running)):
        running.ask("HSET", "rai1:{drill}:states", KEY, value)
        running.ask("SET", f"rai1:{{drill}}:question:{KEY}", value)
        running.ask("HSET", f"rai1:{{drill}}:reports:{KEY}", "x", value)
        running.ask("HSET", f"rai1:{{drill}}:answers:{KEY}", "x", value)
        running.ask("INCR", "rai1:{drill}:ver")
        workers.dead = True
        await until(lambda: workers.held() == 2)
        workers.dead = False
        await until(lambda: workers.closed() == 2)


async def test_a_wrong_type_under_every_key_leaves_workers_alone_and_reaches_no_call(running):
    workers = Workers(2, minimum_calls=10)
    async with workers.joined(store(running)):
        for name in ("states", "workers", "asks", *(f"{each}:{KEY}" for each in PARTS)):
            running.ask("DEL", f"rai1:{{drill}}:{name}")
            running.ask("LPUSH", f"rai1:{{drill}}:{name}", "x")
        workers.dead = True
        await until(lambda: all(workers.circuit(number).state is CircuitState.OPEN for number in range(2)))

        assert {workers.circuit(number).stats().opened_by for number in range(2)} == {"local"}


@pytest.mark.parametrize("name", ["facts", "ver", "states", "asks", *(f"{each}:{KEY}" for each in PARTS)])
async def test_a_wrong_type_under_any_one_key_reaches_no_call_and_is_over_with_it(running, name):
    workers = Workers(2, minimum_calls=10, recovery_timeout=1.0)
    async with workers.joined(store(running)):
        running.ask("DEL", f"rai1:{{drill}}:{name}")
        running.ask("LPUSH", f"rai1:{{drill}}:{name}", "x")
        workers.dead = True
        await until(lambda: workers.closed() == 0)
        running.ask("FLUSHALL")
        workers.dead = False
        await until(lambda: workers.closed() == 2 and workers.connected)


async def test_whatever_votes_leave_on_the_server_expires_and_names_nothing(running):
    workers = Workers(3)
    async with workers.joined(store(running)):
        workers.dead = True
        await until(lambda: workers.held() == 3)
        keys = re.findall(r"rai1:\S+", running.ask("KEYS", "*"))
        lives = [int(running.ask("PTTL", key)[1:]) for key in keys]
        dump = running.ask("HGETALL", "rai1:{drill}:states") + " ".join(keys)

    assert any(each.endswith(":states") for each in keys)
    assert all(life > 0 or life == -2 for life in lives)  # -2: it has expired since
    assert "provider" not in dump


async def test_of_thousands_of_closed_keyed_circuits_nothing_is_on_the_server(running):
    registry, other = worker(1), worker(2)

    @circuit_breaker("provider", key=lambda key: key, registry=registry)
    async def ask(key):
        return "pong"

    async with registry.join(store(running)), other.join(store(running)):
        await until(lambda: registry.fleet.workers == 2)
        for key in range(10_000):
            await ask(key)
        sent = registry.fleet.commands
        await until(lambda: registry.fleet.commands >= sent + 2)  # heartbeats
        keys = re.findall(r"rai1:\S+", running.ask("KEYS", "*"))

    assert len(registry.circuit_breakers) >= 10_000
    assert [each for each in keys if not each.endswith((":workers", ":ver"))] == []


def test_plain_functions_vote_from_threads_of_their_own(running):
    registries = [worker(seed) for seed in range(3)]
    stop = threading.Event()

    def serve(registry):
        @circuit_breaker("provider", **{**PATIENT, "timeout_seconds": None}, registry=registry)
        def ask():
            raise ProviderError("internal_error")

        with registry.join(store(running)):
            while not stop.is_set():
                with suppress(CircuitOpenError, ProviderError):
                    ask()
                time.sleep(0.02)

    def held():
        breakers = [each.circuit_breakers.get("provider") for each in registries]
        return sum(each is not None and each.stats().opened_by == "fleet" for each in breakers)

    threads = [threading.Thread(target=serve, args=(each,)) for each in registries]
    for each in threads:
        each.start()
    try:
        end = time.monotonic() + 8
        while held() < 3 and time.monotonic() < end:
            time.sleep(0.01)
        reached = held()
    finally:
        stop.set()
        for each in threads:
            each.join()

    assert reached == 3
