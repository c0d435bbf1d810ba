"""A rate limit whose quota a fleet's server keeps, in virtual time; what the server does is the model of the tests."""

from __future__ import annotations

import math

import anyio
import pytest

from resilient_ai import Endpoint, LimitReachedError, Registry, failover, rate_limit
from resilient_ai._core.leasing import Units
from resilient_ai.events import RateLimitLowered
from resilient_ai.testing import capture_events
from tests.rate_limit.fleet_simulation import Fleet, FleetSimulation
from tests.rate_limit.quota_server import QuotaServer
from tests.rate_limit.simulation import World
from tests.rate_limit.support import TooFastError, used


class Carrier:
    """
    Carries questions of one registry to a server, in no time; it stands where a fleet's task stands.

    Attributes:
        answers: Whether the server answers.
        asks: What was asked.
    """

    def __init__(self, registry, server, workers=2):
        self.registry, self.server, self.workers = registry, server, workers
        self.answers, self.asks = True, []
        registry.sharing = self

    def failed(self, subject, error_type, wait):
        """A fact, which is another matter."""

    def recovered(self, subject):
        """The same."""

    def wants(self, leased):
        if self.answers:
            leased.begin(self.workers)
            self.carry(leased)

    def carry(self, leased):
        if (ask := leased.ask()) is not None:
            self.asks.append(ask)
            leased.answer(self.server.take(ask, self.registry.clock.now()))

    def look(self):
        """What the task does every half second."""
        for each in self.registry._handles():
            if (leased := getattr(each, "_leased", None)) is not None:
                leased().begin(self.workers)
                self.carry(leased())

    def lose(self):
        self.answers = False
        for each in self.registry._handles():
            each._leased().end()


@pytest.fixture
def server(clock):
    """One that knows the quota for long, so that all of it is there."""
    known = QuotaServer()
    known.at = clock.now() - 100
    return known


def shared(registry, server, function, **settings):
    """A function that shares its quota."""
    carrier = Carrier(registry, server)
    numbers = {"requests_per_minute": 60, "burst": 1, **settings}
    return carrier, rate_limit("leased", registry=registry, **numbers)(function)


async def answer():
    return "answer"


def limit_of(registry):
    return next(iter(registry.rate_limits.values())).stats()


async def test_two_registries_send_no_more_than_one_would(clock):
    server = QuotaServer()
    registries = [Registry(clock=clock, listeners=()) for _ in range(2)]
    sent = []

    async def call():
        sent.append(clock.now())

    asks = [shared(each, server, call, max_wait=30)[1] for each in registries]

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for ask in asks * 5:
            tasks.start_soon(ask)

    assert len(sent) == 10
    assert sent == pytest.approx([1 + index for index in range(10)], abs=0.1)  # the server begins empty


async def test_a_call_that_finds_a_unit_in_stock_asks_nobody(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=60_000)
    clock.advance(1)
    for _ in range(50):
        await ask()
        clock.advance(0.01)
    asked, served_at = len(carrier.asks), clock.now()
    stock = limit_of(registry).requests_left
    for _ in range(5):
        await ask()

    assert stock >= 5
    assert all(each.queued == Units() for each in carrier.asks[asked:])  # in the background at most
    assert clock.now() == served_at


async def test_callers_who_cannot_be_served_in_time_are_turned_away(registry, clock, server):
    _, ask = shared(registry, server, answer, max_wait=0.5)
    await ask()

    with pytest.raises(LimitReachedError) as caught:
        async with clock.autojump():
            await ask()
    assert clock.now() <= 0.6
    assert caught.value.retry_after is not None


async def test_what_an_answer_used_is_told_to_the_server(registry, clock, server):
    async def call():
        return used(3000)

    carrier, ask = shared(
        registry, server, call, requests_per_minute=None, tokens_per_minute=6000, cost=100, max_wait=60, burst=5
    )
    async with clock.autojump():
        await ask()
    carrier.look()

    assert carrier.asks[-1].back == Units(0, -2900)
    assert server.levels[1] == pytest.approx(500 - 100 - 2900, abs=50)


async def test_a_call_that_was_not_sent_gives_its_unit_back(registry, clock, server):
    async def call():
        raise ConnectionRefusedError("nobody there")

    carrier, ask = shared(registry, server, call)
    clock.advance(1)
    async with clock.autojump():
        with pytest.raises(ConnectionRefusedError):
            await ask()
    clock.advance(1)
    carrier.look()

    assert carrier.asks[-1].back == Units(1, 0)


async def test_a_refusal_pauses_the_others_and_lowers_what_all_send(clock, server):
    registries = [Registry(clock=clock, listeners=()) for _ in range(2)]
    errors = [TooFastError(5.0)]

    async def refused():
        raise errors.pop()

    (_, first), (_, second) = (
        shared(each, server, call) for each, call in zip(registries, (refused, answer), strict=True)
    )
    with capture_events(registries[0]) as events:
        async with clock.autojump():
            with pytest.raises(TooFastError):
                await first()
            registries[0].sharing.look()
            refused_at = clock.now()
            await second()

    assert clock.now() >= refused_at + 5
    assert [each.factor for each in events] == [0.9]
    assert isinstance(events[0], RateLimitLowered)
    assert limit_of(registries[1]).factor < 1


async def test_the_provider_s_headers_lower_what_all_may_send(registry, clock, server):
    async def call():
        reply = used(10)
        reply.headers = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-limit-requests": "6000"}
        return reply

    carrier, ask = shared(registry, server, call, requests_per_minute=6000, burst=5)
    clock.advance(5)
    await ask()
    server.levels[0] = 400.0
    for _ in range(3):
        await ask()
    carrier.look()

    assert server.levels[0] <= 3


async def test_without_the_server_a_worker_goes_on_with_its_part(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=6000, max_wait=10)
    await_at = clock.now()
    carrier.lose()
    async with clock.autojump():
        for _ in range(46):
            await ask()

    assert limit_of(registry).part == pytest.approx(0.45, abs=0.05)  # nine tenths of an equal one
    assert clock.now() - await_at == pytest.approx(1.0, abs=0.1)
    carrier.answers = True
    carrier.look()
    assert limit_of(registry).part is None
    assert carrier.asks[-1].alone.requests >= 20


async def test_a_worker_alone_loses_what_it_does_not_use_of_its_part(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=6000, max_wait=10)
    async with clock.autojump():
        for _ in range(1000):
            clock.advance(0.01)
            await ask()
        carrier.lose()
        busy = limit_of(registry).part
        for _ in range(10):
            clock.advance(1.0)
            await ask()

    assert busy > 0.7  # it had nearly all of the quota
    assert limit_of(registry).part == pytest.approx(0.45, abs=0.01)  # nine tenths of an equal one


async def test_a_question_that_is_not_answered_holds_callers_up_for_a_quarter_of_a_second(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=6000, max_wait=10)
    carrier.carry = lambda leased: leased.ask()
    async with clock.autojump():
        await ask()

    assert 0.25 <= clock.now() < 0.35
    assert limit_of(registry).part is not None


async def test_a_server_that_grants_nothing_for_a_minute_is_done_without(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=6000, max_wait=60)
    carrier.server.take = lambda ask, now, take=server.take: take(ask._replace(patience=0.0, pause=60.0), now)
    turned_away = 0
    async with clock.autojump():
        for _ in range(3):
            try:
                await ask()
            except LimitReachedError:
                turned_away += 1
                await clock.sleep(1)

    assert turned_away <= 1
    assert limit_of(registry).part == 0.5
    assert clock.now() < 130


async def test_who_leaves_the_fleet_keeps_the_quota_alone_again(registry, clock, server):
    _carrier, ask = shared(registry, server, answer, requests_per_minute=60, burst=3)
    clock.advance(10)
    await ask()
    registry.rate_limits["leased"]._leased().leave()
    registry.sharing = None
    left = limit_of(registry).requests_left
    clock.advance(10)

    assert (left, limit_of(registry).requests_left) == (0, 3)
    assert not limit_of(registry).shared


async def test_a_reset_fills_no_bucket_that_is_shared(registry, clock, server):
    shared(registry, server, answer, requests_per_minute=60, burst=3)
    registry.reset()

    assert limit_of(registry).requests_left <= 0


async def test_other_numbers_hold_from_the_next_question_on(registry, clock, server):
    carrier, ask = shared(registry, server, answer, requests_per_minute=60)
    registry.configure({"leased": {"rate_limit": {"requests_per_minute": 6000, "tokens_per_minute": 6000}}})
    async with clock.autojump():
        await ask()

    assert carrier.asks[-1].numbers[:2] == (6000, 6000)
    assert limit_of(registry).shared


def test_plain_functions_share_as_well(registry, clock, server):
    _, ask = shared(registry, server, lambda: "answer", max_wait=10)

    assert [ask(), ask()] == ["answer", "answer"]
    assert clock.now() == pytest.approx(1.0, abs=0.1)


def test_each_endpoint_and_each_key_has_a_quota_of_its_own(registry, server):
    Carrier(registry, server)
    us, eu = Endpoint("us", credential="key one"), Endpoint("eu", credential="key two")

    @failover(us, eu, registry=registry)
    @rate_limit("leased", requests_per_minute=60, registry=registry)
    async def ask(endpoint):
        return endpoint.name

    subjects = {each._leased().subject for each in registry.rate_limits.values()}

    assert {each.credential for each in subjects} == {"key one", "key two"}
    assert "key" not in repr(subjects)


# -- a fleet of workers in a simulation


def test_a_fleet_uses_its_quota_and_is_refused_nothing():
    run = FleetSimulation(World(1.5, calls=40.0, tokens=32_000.0, seconds=15.0), Fleet(8)).run()

    assert max(run.used) >= 0.95  # of the number that binds
    assert run.refused_share <= 0.002
    assert run.served[0] >= 0.45  # of 0.67 that come through on average: no worker is left behind
    assert run.commands / run.world.seconds / 8 <= 3.5


def test_with_room_to_spare_nobody_waits():
    run = FleetSimulation(World(0.9, calls=40.0, tokens=32_000.0, seconds=15.0), Fleet(8)).run()

    assert run.wait(0.99) <= 0.020
    assert run.refused_share == 0
    assert run.turned_away == 0


def test_in_no_stretch_of_time_is_more_sent_than_the_quota_its_burst_and_what_workers_have_in_stock():
    world = World(1.5, calls=40.0, tokens=1e9, seconds=10.0, burst=2.0, headers=False)
    sent = [when for when, _ in FleetSimulation(world, Fleet(8)).run().sent]
    most = 40 * (2.0 + 0.5) + 8

    for first in range(0, len(sent), 10):
        for last in range(first, len(sent), 25):
            assert last - first + 1 <= 40 * (sent[last] - sent[first]) + most


def test_a_server_that_goes_and_comes_back_costs_little_of_the_quota():
    away = (30.0, 37.0)
    run = FleetSimulation(World(1.2, calls=40.0, tokens=32_000.0, seconds=20.0), Fleet(8, away)).run()

    assert min(run.used) >= 0.85
    assert run.refused_share <= 0.01
    assert math.isclose(run.server.factor, 1.0, abs_tol=0.15)
