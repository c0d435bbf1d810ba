"""What a store does not share stays local: it is neither told nor heard."""

from __future__ import annotations

import pytest

from resilient_ai import CircuitState, rate_limit
from tests.fleet.test_joining import Store, joined, tell, two
from tests.fleet.test_votes import asking, connected, failures, opened
from tests.helpers import ProviderError, scripted

ALL = ("circuits", "facts", "rate_limits")


def without(kind):
    return Store(*(each for each in ALL if each != kind))


async def test_facts_that_are_not_shared_are_neither_told_nor_heard(registry, provider_errors):
    store = without("facts")
    ask = two(registry, scripted("us", ProviderError("rate_limit", retry_after=7.0)))
    async with registry.join(store):
        membership = await joined(store)
        tell(store, "us", "rate_limit", 7.0, credential="key 1")
        heard = await ask() == "eu"
        await ask()
        membership.tell_again()

        assert not heard
        assert registry.endpoints["us"].stats().failures == 1
        assert membership.next_to_tell() is None


async def test_circuits_that_are_not_shared_neither_ask_nor_answer_nor_follow(registry):
    store = without("circuits")
    ask = asking(registry, OSError(), failure_threshold=1_000)
    async with registry.join(store):
        votes = await connected(store)
        await failures(ask, 1)
        votes.ask(opened(1).key, 7)
        followed = votes.decided(opened(1_000_001))

        assert (votes.take_suspicions(), votes.take_questions(), followed) == ([], [], True)
        assert registry.circuit_breakers["openai"].state is CircuitState.CLOSED


@pytest.mark.parametrize(("store", "quotas"), [(Store(), 1), (without("rate_limits"), 0)])
async def test_a_quota_that_is_not_shared_is_each_worker_s_own(registry, store, quotas):
    rate_limit("chat", requests_per_minute=60, registry=registry)(scripted("answer"))
    async with registry.join(store):
        membership = await joined(store)

        assert len(membership.leased()) == quotas
