"""What a registry tells of failures that may be its own trouble, and what it does as the workers decide."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, Registry, circuit_breaker
from resilient_ai._fleet.votes import Decision, hashed_state
from resilient_ai.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    FleetClosed,
    FleetDoubted,
    FleetOpened,
)
from tests.fleet.test_joining import Store, joined
from tests.helpers import scripted

KEY = hashed_state("prod", "circuit_breaker", "openai")


@pytest.fixture
def store():
    return Store()


def asking(registry, *outcomes, **settings):
    settings = {"recovery_timeout": 60.0, "timeout_seconds": None, **settings}
    return circuit_breaker("openai", registry=registry, **settings)(scripted(*outcomes))


async def connected(store, workers=50):
    membership = await joined(store)
    membership.connected(push=True)
    membership.counted(workers)
    membership.votes.server_time(1_000_000.0)
    return membership.votes


def opened(epoch, seconds=0.5, *, question=0, probes=0, key=KEY):
    return Decision(key, epoch, True, seconds, probes, question, 61, 88, 12, 14)


def closed(epoch):
    return Decision(KEY, epoch, False, 0.0, 0, 0, 0, 0, 0, 0)


async def refused(ask):
    with pytest.raises(CircuitOpenError) as refusal:
        await ask()
    return refusal.value


async def failures(ask, times):
    for _ in range(times):
        with pytest.raises(OSError):
            await ask()


async def test_a_failure_is_told_with_what_was_seen_of_late(registry, store, clock):
    ask = asking(registry, *["pong"] * 6, OSError(), *["pong"])
    async with registry.join(store):
        votes = await connected(store)
        for _ in range(6):
            await ask()
            clock.advance(0.45)
        await failures(ask, 1)
        (ballot,) = votes.take_suspicions()

    assert (ballot.key, ballot.epoch, ballot.share, ballot.period) == (KEY, 0, 0.5, 0.5)
    assert ballot.counts == (2, 1, 5, 1, 7, 1)  # calls and failures of the last 0.5, 2 and 8 seconds


async def test_no_more_failures_than_usual_are_not_told(registry, store, clock):
    outcomes = [*["pong", OSError()] * 20, "pong", "pong", OSError()]
    ask = asking(registry, *outcomes, failure_threshold=None, failure_rate_threshold=0.9)
    async with registry.join(store):
        votes = await connected(store)
        for _ in range(20):
            await ask()
            await failures(ask, 1)
            votes.take_suspicions()
            clock.advance(1)
        await ask()
        await ask()
        await failures(ask, 1)

        assert votes.take_suspicions() == []


async def test_a_provider_that_never_answered_is_told_of_however_usual_that_is(registry, store, clock):
    ask = asking(registry, OSError(), failure_threshold=1_000)
    async with registry.join(store):
        votes = await connected(store)
        for _ in range(50):
            await failures(ask, 1)
            votes.take_suspicions()
            clock.advance(1)
        await failures(ask, 1)

        assert len(votes.take_suspicions()) == 1


async def test_a_worker_that_is_alone_in_its_fleet_or_without_it_asks_nobody(registry, store):
    ask = asking(registry, OSError())
    async with registry.join(store):
        votes = await connected(store, workers=1)
        await failures(ask, 1)
        one = votes.take_suspicions()
        store.membership.counted(2)
        store.membership.lost(ConnectionError())
        await failures(ask, 1)

        assert one == votes.take_suspicions() == []


async def test_a_circuit_that_the_fleet_opens_refuses_for_a_short_while_and_says_why(registry, store, clock, events):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5))
        refusal, stats = await refused(ask), registry.circuit_breakers["openai"].stats()
        row = registry.circuit_breakers["openai"].row().state

    reason = "the fleet: 61 of 88 calls failed at 12 of 14 workers"
    assert (refusal.reason, refusal.retry_after) == ("open", 0.5)
    assert (stats.state, stats.opened_by, stats.opened_count) == (CircuitState.OPEN, "fleet", 1)
    assert CircuitOpened("openai", 0, reason, 0.5) in events
    assert row == "open by the fleet, probe in 0.5 s"


async def test_whoever_asked_tells_of_the_opening_and_whoever_probed_of_the_end(store, clock, events):
    registry = Registry(clock=clock, listeners=(events.append,))
    ask = asking(registry, OSError(), "pong")
    async with registry.join(store):
        votes = await connected(store)
        await failures(ask, 1)
        votes.suspicion_told(votes.take_suspicions()[0].key, 7, 0.001)
        votes.decided(opened(8, question=7))
        clock.advance(0.5)
        store.membership.counted(1)  # so that the lot falls on this worker
        await ask()
        verdict = votes.next_verdict()
        votes.verdict_told(verdict, closed(9), accepted=True)
        await ask_until(ask, CircuitState.CLOSED, registry, clock)

    told = [type(each) for each in events if isinstance(each, CircuitOpened | CircuitHalfOpened | CircuitClosed)]
    assert (verdict.epoch, verdict.opened) == (8, False)
    assert told == [CircuitOpened, CircuitHalfOpened, CircuitClosed]
    assert FleetOpened("openai", 61, 88, 14, 0.5) in events
    assert FleetClosed("openai", 0.5) in events


async def ask_until(ask, state, registry, clock):
    for _ in range(100):
        if registry.circuit_breakers["openai"].state is state:
            return
        clock.advance(0.05)
        with suppress(CircuitOpenError):
            await ask()
    pytest.fail(f"not {state} after 5 s")


async def test_a_failed_probe_is_told_and_others_make_the_next(registry, store, clock):
    ask = asking(registry, OSError(), "pong")
    async with registry.join(store):
        votes = await connected(store, workers=1)
        votes.decided(opened(5))
        clock.advance(0.5)
        await failures(ask, 1)
        verdict = votes.next_verdict()
        store.membership.counted(50)
        clock.advance(0.6)
        for _ in range(200):  # it is due, and the lot would fall on one of these
            await refused(ask)

    assert (verdict.opened, verdict.epoch, verdict.probes) == (True, 5, 1)
    assert votes.seconds_until(verdict.until) == 0


@pytest.mark.parametrize(("workers", "turns"), [(2, 0.5), (3, 1.0), (5, 2.0), (6, 2.0)])
async def test_whoever_made_the_failed_probe_leaves_a_turn_to_each_of_the_others(
    registry, store, clock, workers, turns
):
    ask = asking(registry, OSError(), "pong")
    async with registry.join(store):
        votes = await connected(store, workers=1)
        votes.decided(opened(5))
        clock.advance(0.5)
        await failures(ask, 1)
        store.membership.counted(workers)
        due = clock.now() + 0.5
        await ask_until(ask, CircuitState.HALF_OPEN, registry, clock)

    assert turns < clock.now() - due < turns + 1.0


async def test_of_all_calls_in_a_fleet_about_one_in_a_tenth_of_a_second_probes(store, clock):
    probes = 0
    for seed in range(50):
        registry = Registry(clock=clock, listeners=())
        registry.rng.seed(seed)
        ask = asking(registry, "pong")
        mine = Store()
        async with registry.join(mine):
            votes = await connected(mine, workers=50)
            votes.decided(opened(5))
            for _ in range(4):
                clock.advance(0.1)
                await refused(ask)
            for _ in range(10):  # one second at ten calls a second
                clock.advance(0.1)
                if registry.circuit_breakers["openai"].state is not CircuitState.OPEN:
                    break
                try:
                    await ask()
                except CircuitOpenError:
                    continue
                probes += 1

    assert 2 <= probes <= 20  # ten on average


async def test_without_the_server_a_circuit_that_the_fleet_opened_goes_on_by_itself(registry, store, clock):
    ask = asking(registry, OSError(), "pong", success_threshold=1)
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5))
        store.membership.lost(ConnectionError())
        clock.advance(1)
        alone = (await refused(ask)).retry_after
        clock.advance(alone)
        await failures(ask, 1)
        local = (await refused(ask)).retry_after
        clock.advance(60)
        await ask()

        assert alone in (59, 119)  # its own period; half of the workers skip a turn
        assert local == 60
        assert registry.circuit_breakers["openai"].state is CircuitState.CLOSED


async def test_a_server_that_is_back_has_the_fleet_s_short_periods_again(registry, store, clock):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5))
        store.membership.lost(ConnectionError())
        clock.advance(1)
        await refused(ask)
        store.membership.connected(push=True)
        votes.decided(opened(5, 0.0), first=True)
        store.membership.counted(1)

        assert await ask() == "pong"


async def test_what_is_older_or_cannot_be_yet_changes_nothing(registry, store, clock):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5))
        votes.decided(closed(6))
        old = votes.decided(opened(5))
        future = votes.decided(opened(2_000_000))
        await ask_until(ask, CircuitState.CLOSED, registry, clock)

    assert (old, future) == (True, False)


async def test_closed_ends_what_the_fleet_has_opened_and_nothing_else(registry, store):
    ask = asking(registry, OSError(), failure_threshold=1)
    async with registry.join(store):
        votes = await connected(store)
        await failures(ask, 1)
        votes.decided(closed(5))

        assert (await refused(ask)).retry_after == 60


async def test_an_operator_s_word_stands_against_the_fleet(registry, store):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        registry.circuit_breakers["openai"].disable()
        votes.decided(opened(5))

        assert await ask() == "pong"


async def test_a_fleet_that_one_s_own_calls_contradict_is_doubted(registry, store, clock, events):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        votes.longest = 20.0
        for epoch in range(5, 50):
            votes.decided(opened(epoch, 1e9))
            clock.advance(1)
            if registry.circuit_breakers["openai"].state is CircuitState.CLOSED:
                break
            try:
                await ask()
            except CircuitOpenError:
                continue
        votes.decided(opened(60, 1e9))

        assert await ask() == "pong"
        assert epoch == 45  # two good calls, one each 20 seconds
        assert events.count(FleetDoubted("openai")) == 1


async def test_a_server_that_lost_its_data_is_told_what_the_fleet_holds_open(registry, store, clock):
    asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        votes.decided(opened(5, 20.0, probes=3))
        clock.advance(5)
        store.membership.tell_again()
        verdict = votes.next_verdict()

    assert (verdict.key, verdict.epoch, verdict.opened, verdict.probes) == (KEY, 5, True, 3)
    assert votes.seconds_until(verdict.until) == 15


async def test_a_worker_answers_for_what_it_does_not_have_that_it_called_nothing(registry, store, clock):
    ask = asking(registry, "pong")
    async with registry.join(store):
        votes = await connected(store)
        await ask()
        votes.ask(KEY, 1)
        votes.ask("f" * 24, 2)
        answers = {question: ballot.counts for ballot, question in votes.take_questions()}

    assert answers == {1: (1, 0, 1, 0, 1, 0), 2: (0, 0, 0, 0, 0, 0)}


async def test_a_quiet_worker_votes_on_and_follows_all_that_is_asked_and_decided_at_one_moment(registry, store):
    """A region that fails is a circuit of every function that calls there."""
    names = [f"ask {number}" for number in range(5)]
    for name in names:
        await circuit_breaker(name, timeout_seconds=None, registry=registry)(scripted("pong"))()
    keys = [hashed_state("prod", "circuit_breaker", name) for name in names]
    async with registry.join(store):
        votes = await connected(store)
        for key in keys:
            votes.ask(key, 1)
        seen = [ballot.counts[:2] for ballot, _question in votes.take_questions()]
        for key in keys:
            votes.decided(opened(1_000_001, key=key))

    assert seen == [(1, 0)] * 5
    assert {each.state for each in registry.circuit_breakers.values()} == {CircuitState.OPEN}


async def test_what_was_seen_before_the_fleet_closed_says_nothing_any_more(registry, store, clock):
    ask = asking(registry, OSError(), failure_threshold=100)
    async with registry.join(store):
        votes = await connected(store)
        await failures(ask, 20)
        votes.decided(opened(5))
        votes.decided(closed(6))

        assert votes.ballot(KEY).counts == (0,) * 6


async def test_a_window_longer_than_what_is_remembered_is_cut_for_both(registry, store, clock):
    ask = asking(registry, *["pong"] * 300, OSError(), failure_threshold=None, failure_rate_threshold=0.9)
    async with registry.join(store):
        votes = await connected(store)
        for _ in range(300):  # 60 a second: the last hundred answers reach back 1.7 seconds
            await ask()
            clock.advance(1 / 60)
        await failures(ask, 10)
        counts = votes.ballot(KEY).counts

    assert counts[:2] == (40, 10)
    assert counts[2:4] == counts[4:] == (109, 10)


async def test_a_joined_registry_of_thousands_of_closed_circuits_tells_nothing(registry, store):
    calls = scripted("pong")

    @circuit_breaker("keyed", key=lambda key: key, registry=registry)
    async def ask(key):
        return await calls()

    async with registry.join(store):
        votes = await connected(store)
        for key in range(2_000):
            await ask(key)
        await anyio.lowlevel.checkpoint()

        assert votes.next_verdict() is None
        assert votes.take_suspicions() == votes.take_questions() == []
