"""What exporters read: who a state belongs to, and counts that never fall."""

from __future__ import annotations

import contextlib
import pickle

import pytest

from resilient_ai import (
    Endpoint,
    ErrorType,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.events import (
    AttemptFailed,
    CircuitOpened,
    EndpointDown,
    FailedOver,
)
from resilient_ai.testing import VirtualClock, capture_events
from tests.helpers import ProviderError, errors_mean_what_they_say, scripted

US, EU = Endpoint("us"), Endpoint("eu")


@pytest.fixture(autouse=True)
def _errors():
    with errors_mean_what_they_say():
        yield


async def calls(ask, *arguments) -> None:
    for each in arguments:
        with contextlib.suppress(Exception):
            await ask(each)


def stack(registry, fn, *, retry=True):
    ask = circuit_breaker("ask", failure_threshold=2, registry=registry)(fn)
    ask = adaptive_limit("ask", registry=registry)(ask)
    ask = failover(US, EU, name="ask", strategy="priority", registry=registry)(ask)
    ask = classified_retry("ask", max_attempts=1, registry=registry)(ask) if retry else ask
    return degrade_to("sorry", name="ask", registry=registry)(ask)


async def test_a_state_says_which_call_site_endpoint_and_key_it_is_about(registry):
    stack(registry, scripted("a"))
    keyed = circuit_breaker("keyed", key=lambda text: text, registry=registry)(scripted("a"))
    await keyed("tenant[7]")

    handles = {handle.name: (handle.call_site, handle.endpoint, handle.key) for handle in registry.find("*")}
    assert handles == {
        "ask": ("ask", None, None),
        "ask[us]": ("ask", "us", None),
        "ask[eu]": ("ask", "eu", None),
        "us": (None, "us", None),
        "eu": (None, "eu", None),
        "keyed[tenant[7]]": ("keyed", None, "tenant[7]"),
    }


async def test_a_bracket_in_a_name_of_the_users_is_taken_for_no_endpoint(registry):
    circuit_breaker("a[b]", registry=registry)(scripted("a"))

    assert registry.circuit_breakers["a[b]"].call_site == "a[b]"
    assert registry.circuit_breakers["a[b]"].endpoint is None


async def test_events_say_the_same(registry):
    async def down(endpoint, text):
        raise ProviderError(ErrorType.INTERNAL_ERROR)

    with capture_events(registry) as events:
        await calls(stack(registry, down), "a", "b", "c")

    opened = next(each for each in events if type(each) is CircuitOpened)
    assert (opened.call_site, opened.endpoint, opened.key) == ("ask", "us", None)
    assert (pickle.loads(pickle.dumps(opened)).name, opened.name) == ("ask[us]", "ask[us]")
    assert {(each.call_site, each.endpoint) for each in events if type(each) is EndpointDown} == {
        (None, "us"),
        (None, "eu"),
    }


async def test_an_event_made_by_hand_has_a_call_site_too():
    assert CircuitOpened("ask[us]", 3, "why", 1.0).call_site == "ask"


async def test_failures_say_how_long_they_took_and_where(registry, clock: VirtualClock):
    async def slow(endpoint, text):
        clock.advance(2.0 if endpoint is US else 3.0)
        raise ProviderError(ErrorType.MODEL_OVERLOADED)

    with capture_events(registry) as events:
        await calls(stack(registry, slow), "a")

    assert [each.seconds for each in events if type(each) is EndpointDown] == [2.0, 3.0]
    assert [(each.endpoint, each.seconds) for each in events if type(each) is FailedOver] == [("us", 2.0)]
    assert [(each.endpoint, each.seconds) for each in events if isinstance(each, AttemptFailed)] == [(None, 5.0)]


async def test_a_retry_below_a_failover_names_the_endpoint_and_times_each_attempt(registry, clock: VirtualClock):
    async def slow(endpoint, text):
        clock.advance(2.0)
        raise ProviderError(ErrorType.MODEL_OVERLOADED)

    ask = failover(US, registry=registry)(classified_retry(max_attempts=2, registry=registry)(slow))
    with capture_events(registry) as events:
        async with clock.autojump():
            await calls(ask, "a")

    assert [(each.endpoint, each.seconds) for each in events if isinstance(each, AttemptFailed)] == [("us", 2.0)] * 2


async def test_an_endpoint_counts_its_failures_by_type(registry):
    outcomes = [ProviderError(ErrorType.MODEL_OVERLOADED), ProviderError(ErrorType.RATE_LIMIT), "well"]
    await calls(stack(registry, scripted(*outcomes)), "a")

    assert registry.endpoints["us"].stats().error_counts == {"model_overloaded": 1}
    assert registry.endpoints["eu"].counts().errors == {"rate_limit": 1}


async def test_what_endpoints_are_sent_is_counted_apart_from_attempts_of_a_retry(registry, clock: VirtualClock):
    down = ProviderError(ErrorType.MODEL_OVERLOADED)
    ask = classified_retry("ask", registry=registry)(
        failover(US, EU, name="ask", registry=registry)(scripted(down, down, "well"))
    )
    async with clock.autojump():
        await ask("a")

    assert registry.retries["ask"].counts().attempts == 2
    assert registry.failovers["ask"].counts().attempts == 3


async def test_the_loser_of_a_hedge_was_sent_a_call_too(registry, clock: VirtualClock):
    @failover(US, EU, name="ask", strategy="priority", hedge_after=1.0, registry=registry)
    async def ask(endpoint, text):
        await registry.clock.sleep(9.0 if endpoint is US else 0.5)
        return text

    async with clock.autojump():
        await ask("a")

    assert registry.failovers["ask"].stats().attempts == 2


async def test_a_refusal_of_a_circuit_is_nothing_that_an_endpoint_was_sent(registry):
    ask = stack(registry, scripted("a"), retry=False)
    registry.circuit_breakers["ask[us]"].force_open()
    await calls(ask, "a")

    assert registry.failovers["ask"].stats().attempts == 1  # eu's answer
    assert registry.failovers["ask"].stats().moves == 1


@pytest.mark.parametrize("kind", ["circuit_breaker", "classified_retry", "failover", "endpoint", "degrade_to"])
async def test_a_reset_takes_nothing_back_from_the_counts(registry, kind):
    down = ProviderError(ErrorType.MODEL_OVERLOADED)
    ask = stack(registry, scripted("a", down, "b", down, down))
    await calls(ask, "a", "b", "c")
    before = registry.counts()[kind]
    registry.reset()
    after_reset = registry.counts()[kind]
    await calls(ask, "d")

    assert any(any(counts) for counts in before.values())
    assert after_reset == before
    assert registry.counts()[kind] != before


async def test_batches_and_limits_keep_their_counts_over_a_reset_as_well(registry):
    @batched(batch_size=1, registry=registry)
    @adaptive_limit(registry=registry)
    async def embed(texts):
        return texts

    await calls(embed, "a", "b")
    before = registry.counts()
    registry.reset()
    await calls(embed, "c")

    [batches], [limit] = registry.counts()["batched"].values(), registry.counts()["adaptive_limit"].values()
    assert (batches.ok, batches.batches, batches.items, limit.ok) == (3, 3, 3, 3)
    assert registry.batches[next(iter(registry.batches))].stats().ok == 1
    assert before["batched"] != registry.counts()["batched"]


async def test_counts_of_dropped_keys_stay(clock: VirtualClock):
    registry = Registry(clock=clock, listeners=())
    ask = circuit_breaker("ask", key=lambda text: text, registry=registry)(scripted("a"))
    await calls(ask, *"abc")
    clock.advance(10_000)
    await calls(ask, "d")

    assert list(registry.circuit_breakers) == ["ask[d]"]
    assert registry.counts()["circuit_breaker"]["ask", None].ok == 4


async def test_keys_of_a_call_site_are_counted_together(registry):
    ask = circuit_breaker("ask", key=lambda text: text, registry=registry)(scripted("a"))
    await calls(ask, *"abc")

    assert list(registry.counts()["circuit_breaker"]) == [("ask", None)]
