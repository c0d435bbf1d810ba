"""What the registry's table says of each state's part in a fleet, while one is joined."""

from __future__ import annotations

import pytest

from resilient_ai import Endpoint, circuit_breaker, classified_retry, failover, rate_limit
from resilient_ai._core.report import Row
from resilient_ai._core.table import WIDTH, folded, text_table
from resilient_ai.dashboard import dashboard
from tests.dashboard.support import request
from tests.fleet.support import server, until
from tests.fleet.test_joining import Store, joined, tell
from tests.fleet.test_votes import closed, connected, opened
from tests.fleet.voting import Workers
from tests.fleet.voting import store as redis_store
from tests.helpers import scripted


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def circuit(registry):
    circuit_breaker("openai", recovery_timeout=60.0, timeout_seconds=None, registry=registry)(scripted("pong"))
    return registry.circuit_breakers["openai"]


def decorated(registry):
    """One state of each sort that shares something, and one that shares nothing."""

    @classified_retry("chat", registry=registry)
    @failover(Endpoint("us", credential="key 1"), name="chat", registry=registry)
    @rate_limit("chat", requests_per_minute=60, registry=registry)
    @circuit_breaker("chat", registry=registry)
    async def ask(endpoint):
        return "pong"

    return ask


def cell(handle):
    return handle.row().more["fleet"]


def cells(registry):
    return {(row.call_site, row.policy): row.more.get("fleet") for row in registry.rows()}


def test_without_a_fleet_there_is_no_such_column(registry):
    decorated(registry)

    assert set(cells(registry).values()) == {None}
    assert "fleet" not in repr(registry) + registry._repr_html_()


async def test_the_column_is_there_as_long_as_a_fleet_is_joined(registry, store):
    ask = decorated(registry)
    await ask()
    async with registry.join(store):
        membership = await joined(store)
        alone = {*cells(registry).values()} - {None}
        membership.connected(push=True)
        membership.counted(14)
        inside, text, page = cells(registry), repr(registry), registry._repr_html_()

    assert alone == {"alone"}
    assert inside["chat", "classified_retry"] is inside["chat", "failover"] is None
    assert inside["chat[us]", "circuit_breaker"] == inside["us", "endpoint"] == "shared"
    assert text.splitlines()[0].split()[-1] == "fleet"
    assert text.splitlines()[-1] == "fleet prod: 14 workers, push"
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "<th>fleet</th>" in page
    assert "<td>shared</td>" in page
    assert "<br>fleet prod: 14 workers, push</caption>" in page
    assert "fleet" not in repr(registry)


async def test_a_circuit_says_how_many_workers_have_opened_it(registry, circuit, store):
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5))
        by_vote = cell(circuit)
        votes.decided(opened(6, probes=1)._replace(failed=0, calls=0, bad=0, active=0))  # a probe has failed
        still = cell(circuit)
        store.membership.lost(ConnectionError())
        away = cell(circuit)
        votes.decided(closed(7))

        assert by_vote == still == away == "open by 12 of 14"
        assert cell(circuit) == "alone"


async def test_a_circuit_that_was_open_when_this_worker_came_says_by_whom(registry, circuit, store):
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5)._replace(failed=0, calls=0, bad=0, active=0))

        assert cell(circuit) == "open by the fleet"


@pytest.mark.parametrize(
    ("operate", "told"),
    [("force_open", None), ("disable", None), ("metrics_only", "shared"), ("trip", "shared"), ("reset", "shared")],
)
async def test_a_circuit_that_an_operator_holds_shares_nothing(registry, circuit, store, operate, told):
    async with registry.join(store):
        (await connected(store)).decided(opened(5))
        circuit.reset()
        getattr(circuit, operate)()

        assert cell(circuit) == told


async def test_an_endpoint_that_another_worker_s_refusal_rests_is_pausing(registry, store, clock):
    decorated(registry)
    endpoint = registry.endpoints["us"]
    async with registry.join(store):
        await connected(store)
        tell(store, "us", "rate_limit", 7.0, credential="key 1")
        clock.advance(2.9)
        pausing = cell(endpoint)
        clock.advance(5)
        due = cell(endpoint)
        endpoint.mark_down()

        assert (pausing, due, cell(endpoint)) == ("pausing 4.1 s", "shared", None)


async def test_a_quota_says_which_part_of_it_this_worker_uses_has_alone_or_waits_for(registry, store, clock):
    @rate_limit("chat", requests_per_minute=100, registry=registry)
    async def ask():
        return "pong"

    limit = registry.rate_limits["chat"]
    for _ in range(8):  # of a burst of 5 s, before there is a fleet
        await ask()
    clock.advance(0.1)
    async with registry.join(store):
        membership = await joined(store)
        before = cell(limit)
        membership.connected(push=True)
        (leased,) = membership.leased()
        leased.begin(4)
        uses = cell(limit)
        tell(store, "chat", "rate_limit", 4.1)
        pausing = cell(limit)
        leased.end()
        alone = cell(limit)

    assert (before, uses, pausing, alone) == ("alone", "8 % of quota", "pausing 4.1 s", "alone with 22 %")
    assert cell(limit) is None


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (("circuits",), ("shared", None, None)),
        (("facts",), (None, "shared", "pausing 7.0 s")),
        (("rate_limits",), (None, None, "0 % of quota")),
    ],
)
async def test_what_is_not_shared_has_a_blank(registry, store, share, told):
    decorated(registry)
    rate_limit("keyless", requests_per_minute=60, registry=registry)(scripted("pong"))
    store.share = share
    async with registry.join(store):
        await connected(store)
        for leased in store.membership.leased():
            leased.begin(50)
        tell(store, "keyless", "rate_limit", 7.0)
        shown = cells(registry)

    assert (
        tuple(shown[each] for each in (("chat[us]", "circuit_breaker"), ("us", "endpoint"), ("keyless", "rate_limit")))
        == told
    )


def test_a_row_that_stands_for_many_shows_the_worst_of_them_else_what_most_say():
    well = [
        Row(f"ask[{n}]", "circuit_breaker", "closed", 9, 9, 0, more={"fleet": "shared" if n else "1 %"})
        for n in range(9)
    ]
    shut = [
        Row(
            f"ask[{n}]",
            "circuit_breaker",
            "open",
            9,
            9,
            0,
            alarm=True,
            more={"fleet": "open by 2 of 3" if n == 7 else None},
        )
        for n in range(9)
    ]

    assert folded([well])[-1].more["fleet"] == "shared"
    assert folded([shut])[-1].more["fleet"] == "open by 2 of 3"


def test_the_cells_of_a_fleet_stand_to_the_left_and_the_line_fits():
    row = Row(
        "a" * 80,
        "circuit_breaker",
        "open by the fleet, probe in 0.5 s",
        1,
        1,
        0,
        p95=0.1,
        more={"fleet": "open by 2 of 3"},
    )
    head, *lines = text_table([row, Row("b", "rate_limit", "", 1, more={"fleet": "62 % of quota"})]).splitlines()
    column = head.index("fleet")

    assert [line[column:] for line in lines[:2]] == ["open by 2 of 3", "62 % of quota"]
    assert max(map(len, (head, *lines))) <= WIDTH


async def test_the_dashboard_has_the_cells_and_the_line(registry, circuit, store):
    app = dashboard(registry, view=lambda scope: True)
    outside = (await request(app, "/snapshot.json")).json()
    async with registry.join(store):
        (await connected(store, workers=14)).decided(opened(5))
        inside = (await request(app, "/snapshot.json")).json()

    assert (outside["fleet"], outside["rows"][0]["fleet"]) == (None, None)
    assert inside["fleet"] == "fleet prod: 14 workers, push"
    assert inside["rows"][0]["fleet"] == "open by 12 of 14"


async def test_a_vote_on_a_real_server_is_seen_in_every_worker_s_table():
    with server() as running:
        workers = Workers(3)
        async with workers.joined(redis_store(running)):
            calm = [cell(workers.circuit(number)) for number in range(3)]
            workers.dead = True
            await until(lambda: workers.held() == 3)
            shown = [repr(registry) for registry in workers.registries]

    assert calm == ["shared"] * 3
    assert all("open by 3 of 3" in each or "open by 2 of" in each for each in shown)
    assert all("\nfleet drill: 3 workers, push, " in each for each in shown)
