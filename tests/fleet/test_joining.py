"""Joining and leaving, and what a registry does with what it hears; the store is one of the test's own."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    Endpoint,
    ErrorType,
    Registry,
    RetryRule,
    classified_retry,
    failover,
    rate_limit,
)
from resilient_ai._core.sharing import Subject
from resilient_ai._fleet.facts import hashed
from resilient_ai._fleet.membership import SHAREABLE
from resilient_ai.events import FactHeard, FleetJoined, FleetLost
from resilient_ai.redis import RedisStore
from resilient_ai.types import FleetStats
from tests.helpers import ProviderError, scripted


class Store:
    """Hands out the membership, and runs until it is left."""

    namespace = "prod"

    def __init__(self, *share):
        self.share = share or SHAREABLE
        self.membership, self.runs, self.said_goodbye = None, 0, False

    def check(self, *, in_thread):
        pass

    async def run(self, membership):
        self.membership, self.runs = membership, self.runs + 1
        left = anyio.Event()
        membership.wake_with(lambda: left.set() if membership.leaving else None)
        await left.wait()
        self.said_goodbye = True


@pytest.fixture
def store():
    return Store()


async def joined(store):
    while store.membership is None:
        await anyio.lowlevel.checkpoint()
    return store.membership


def tell(store, name, error_type, wait, *, credential="", confirmed=False):
    kind = None if error_type is None else ErrorType(error_type)
    store.membership.heard(hashed("prod", Subject(name, credential)), kind, wait, confirmed=confirmed)


async def test_a_registry_is_in_the_fleet_for_the_length_of_the_block(registry, store):
    before = registry.fleet
    async with registry.join(store) as fleet:
        await joined(store)
        inside = registry.fleet

    assert before == registry.fleet == FleetStats()
    assert (inside.joined, inside.namespace, inside.connected) == (True, "prod", False)
    assert "prod: alone for" in repr(fleet)
    assert store.said_goodbye


def test_plain_code_joins_by_a_thread(registry, store):
    with registry.join(store):
        inside = registry.fleet

    assert inside.joined
    assert not registry.fleet.joined
    assert store.said_goodbye


async def test_a_registry_joins_one_fleet_at_a_time(registry, store):
    async with registry.join(store):
        with pytest.raises(ValueError, match="has joined a fleet already"):
            async with registry.join(Store()):
                pass

        assert registry.fleet.joined


async def test_a_join_entered_twice_is_refused_and_left_as_it_was(registry, store):
    join = registry.join(store)
    async with join:
        await joined(store)
        with pytest.raises(ValueError, match="has joined a fleet already"):
            await join.__aenter__()

    assert not registry.fleet.joined
    assert store.said_goodbye


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3), KeyboardInterrupt()], ids=repr)
async def test_an_error_of_the_block_is_raised_as_it_is(registry, store, error):
    with pytest.raises(type(error)) as caught:
        async with registry.join(store):
            raise error

    assert caught.value is error

    assert not registry.fleet.joined


async def test_a_block_that_is_cancelled_says_goodbye(registry, store):
    with anyio.CancelScope() as scope:
        async with registry.join(store):
            await joined(store)
            scope.cancel()
            await anyio.sleep_forever()

    assert store.said_goodbye
    assert not registry.fleet.joined


async def test_the_server_s_coming_and_going_is_told_once(registry, store, clock, events):
    async with registry.join(store):
        membership = await joined(store)
        membership.connected(push=True)
        membership.counted(3)
        for _ in range(5):  # it comes and goes
            membership.lost(ConnectionResetError())
            clock.advance(0.1)
            membership.connected(push=True)
        clock.advance(4)
        membership.counted(3)
        flapping = [type(each) for each in events]
        clock.advance(2)
        membership.counted(3)

    assert flapping == [FleetJoined, FleetLost]
    assert events[1:] == [FleetLost("prod", "ConnectionResetError"), FleetJoined("prod", 3, True)]


async def test_the_table_has_a_line_for_the_fleet(registry, store, clock):
    async with registry.join(store):
        membership = await joined(store)
        clock.advance(3)
        alone = repr(registry).splitlines()[-1]
        membership.connected(push=False)
        membership.counted(14)
        membership.took(0.0003)

        assert alone == "fleet prod: alone for 3.0 s"
        assert repr(registry).splitlines()[-1] == "fleet prod: 14 workers, polling, 0.3 ms"


def two(registry, us, *, alive=True):
    @failover(Endpoint("us", credential="key 1"), Endpoint("eu"), strategy="priority", registry=registry)
    async def ask(endpoint):
        return await us() if endpoint.name == "us" else "eu"

    return ask


async def test_a_refusal_that_holds_for_all_is_told(registry, store, provider_errors):
    ask = two(registry, scripted(ProviderError("rate_limit", retry_after=7.0), "us"))
    async with registry.join(store):
        membership = await joined(store)
        await ask()
        told = membership.next_to_tell()

    assert told.key == hashed("prod", Subject("us", "key 1"))
    assert (told.fact.error_type, told.fact.alone) == (ErrorType.RATE_LIMIT, 7)


@pytest.mark.parametrize("error_type", ["model_overloaded", "network_error", "internal_error", "timeout"])
async def test_what_may_be_one_worker_s_own_trouble_is_not_told(registry, store, provider_errors, error_type):
    ask = two(registry, scripted(ProviderError(error_type, retry_after=7.0), "us"))
    async with registry.join(store):
        membership = await joined(store)
        await ask()

        assert membership.next_to_tell() is None


async def test_an_endpoint_that_refused_another_worker_rests_here_too_without_a_strike(registry, store, clock, events):
    ask = two(registry, scripted("us"))
    async with registry.join(store):
        await joined(store)
        tell(store, "us", "rate_limit", 7.0, credential="key 1")
        during = await ask(), registry.endpoints["us"].stats()
        clock.advance(7.1)
        afterwards = await ask()

    assert (during[0], during[1].resting_for, during[1].strikes, during[1].failures) == ("eu", 7, 0, 0)
    assert afterwards == "us"
    assert FactHeard("us", "rate_limit", 7.0) in events


async def test_another_credential_s_refusal_rests_nobody(registry, store):
    ask = two(registry, scripted("us"))
    async with registry.join(store):
        await joined(store)
        tell(store, "us", "authentication", 7.0, credential="key 2")

        assert await ask() == "us"
        assert registry.fleet.facts_heard == 0


async def test_an_operator_s_word_stands(registry, store):
    two(registry, scripted("us"))
    async with registry.join(store):
        await joined(store)
        registry.endpoints["us"].mark_down()
        tell(store, "us", "rate_limit", 7.0, credential="key 1")
        tell(store, "us", None, 0.0, credential="key 1")

        assert registry.endpoints["us"].stats().state == "marked_down"


async def test_a_good_answer_anywhere_takes_a_fact_back(registry, store, clock):
    ask = two(registry, scripted("us"))
    async with registry.join(store):
        await joined(store)
        tell(store, "us", "quota_exceeded", 500.0, credential="key 1", confirmed=True)
        resting = registry.endpoints["us"].stats().resting_for
        tell(store, "us", None, 0.0, credential="key 1")

        assert resting == 500
        assert await ask() == "us"


async def test_a_rest_of_one_s_own_is_not_taken_back_by_others(registry, store, provider_errors):
    ask = two(registry, scripted(ProviderError("rate_limit", retry_after=70.0), "us"))
    async with registry.join(store):
        await joined(store)
        await ask()
        tell(store, "us", "rate_limit", 7.0, credential="key 1")
        tell(store, "us", None, 0.0, credential="key 1")

        assert registry.endpoints["us"].stats().resting_for == 70


async def test_the_worker_whose_trial_is_answered_says_that_it_is_over(registry, store, clock, provider_errors):
    ask = two(registry, scripted(ProviderError("rate_limit", retry_after=7.0), "us"))
    async with registry.join(store):
        membership = await joined(store)
        await ask()
        membership.told(membership.next_to_tell())
        clock.advance(7.1)
        await ask()
        over = membership.next_to_tell()

    assert (over.key, over.fact) == (hashed("prod", Subject("us", "key 1")), None)


async def test_what_still_holds_is_told_again_to_a_server_that_lost_its_data(registry, store, clock, provider_errors):
    ask = two(registry, scripted(ProviderError("rate_limit", retry_after=7.0), "us"))
    async with registry.join(store):
        membership = await joined(store)
        await ask()
        membership.told(membership.next_to_tell())
        clock.advance(3)
        membership.tell_again()
        again = membership.next_to_tell()
        membership.told(again)
        clock.advance(5)
        membership.tell_again()

        assert again.fact.alone == pytest.approx(4)
        assert membership.next_to_tell() is None


async def test_a_quota_pauses_when_another_worker_was_refused_and_tells_when_this_one_is(
    registry, store, clock, provider_errors
):
    refused = ProviderError("rate_limit", retry_after=30.0)
    ask = rate_limit("chat", requests_per_minute=60, max_wait=0, registry=registry)(scripted(refused, "answer"))
    async with registry.join(store):
        membership = await joined(store)
        tell(store, "chat", "rate_limit", 7.0)
        paused = registry.rate_limits["chat"].stats()
        clock.advance(8)
        with pytest.raises(ProviderError):
            await ask()

        assert (paused.paused_for, paused.factor) == (7, 1)  # only one's own refusal says how fast was too fast
        assert membership.next_to_tell().key == hashed("prod", Subject("chat"))


async def retries_in_an_outage(registry, workers, store):
    calls = scripted(ConnectionError("refused"))
    rules = {ErrorType.NETWORK_ERROR: RetryRule(1, 0, 0)}
    ask = classified_retry(rules=rules, registry=registry)(calls)
    async with registry.join(store):
        (await joined(store)).counted(workers)
        for _ in range(100):
            with pytest.raises(AIServiceError):
                await ask()
    return calls.calls - 100


async def test_a_retry_budget_is_divided_by_the_size_of_the_fleet(registry, store, clock):
    alone = await retries_in_an_outage(registry, 1, store)
    shared = await retries_in_an_outage(Registry(clock=clock, listeners=()), 10, Store())
    crowd = await retries_in_an_outage(Registry(clock=clock, listeners=()), 1000, Store())

    assert (alone, shared, crowd) == (35, 3, 1)  # 100 tokens at 2.8 each; a tenth; one retry can always be paid for


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "http://cache"}, "url of a RedisStore must begin with one of redis://, rediss://"),
        ({"namespace": "a b"}, "namespace must be 1 to 64"),
        ({"namespace": ""}, "namespace must be 1 to 64"),
        ({"push": "yes"}, "push must be True or False"),
        ({"sync_interval": 0}, "sync_interval must be a number above 0 up to 10"),
        ({"share": ("facts", "votes")}, "share knows 'circuits', 'facts', 'rate_limits'; got 'votes'"),
        ({"share": "facts"}, "share must be a tuple of some of 'circuits', 'facts', 'rate_limits'; got 'facts'"),
        ({"share": ("facts", [])}, "got \\[\\]"),
        ({"command_timeout": -1}, "command_timeout must be a number above 0"),
    ],
)
def test_bad_settings_of_a_store_are_errors(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        RedisStore(**settings)


@pytest.mark.parametrize("password", ["s3cr#et", "s3cr/et", "s3cr?et", "6379#s3cr"])
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(password):
    with pytest.raises(ValueError, match="no host and port that can be read") as wrong:
        RedisStore(f"redis://:{password}@cache:6379/0")

    assert "s3cr" not in str(wrong.value)
    assert wrong.value.__context__ is None


async def test_what_one_has_told_is_kept_within_bounds(registry, store):
    async with registry.join(store):
        membership = await joined(store)
        for number in range(3_000):
            membership.failed(Subject("us", f"key {number}"), ErrorType.RATE_LIMIT, 30.0)
        while (what := membership.next_to_tell()) is not None:
            membership.told(what)
        membership.tell_again()
        told = 0
        while (what := membership.next_to_tell()) is not None:
            membership.told(what)
            told += 1

    assert told == 1_000


def test_a_store_does_not_show_its_password():
    shown = repr(RedisStore("redis://ops:hunter2@cache:6380/0", namespace="prod"))

    assert shown == "RedisStore('redis://cache:6380', namespace='prod')"
    with pytest.raises(ValueError, match="got 'http'") as wrong:
        RedisStore("http://ops:hunter2@cache")
    assert "hunter2" not in str(wrong.value)
