"""A failover does for plain functions what it does for async ones; the health of an endpoint is one for both."""

from __future__ import annotations

import threading

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    Endpoint,
    ErrorType,
    Registry,
    circuit_breaker,
    classified_retry,
    deadline,
    degrade_to,
    failover,
    watch,
)
from resilient_ai.events import EndpointDown, EndpointUp, FailedOver
from resilient_ai.testing import VirtualClock
from resilient_ai.types import EndpointState
from tests.helpers import ProviderError, interleaved

pytestmark = pytest.mark.usefixtures("provider_errors")

US, EU = Endpoint("us", model="small"), Endpoint("eu", model="large")


class Regions:
    """What each endpoint raises, and who was asked."""

    def __init__(self):
        self.faults = {}
        self.asked = []

    def __call__(self, endpoint, prompt="hi"):
        self.asked.append(endpoint.name)
        if endpoint.name in self.faults:
            raise self.faults[endpoint.name]
        return f"{endpoint.name}: {prompt}"


@pytest.fixture
def regions():
    return Regions()


@pytest.fixture
def ask(caller, registry, regions):
    def ask(endpoint, prompt="hi"):
        return regions(endpoint, prompt)

    return failover(US, EU, name="ask", strategy="priority", registry=registry)(caller.function(ask))


def test_it_hands_the_endpoint_in_and_moves_on_when_that_fails(caller, ask, regions, events):
    regions.faults["us"] = ConnectionError("down")
    with watch() as seen:
        answer = caller.call(ask, "hello")

    assert answer == "eu: hello"
    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))
    assert [type(event) for event in events] == [EndpointDown, FailedOver]


def test_a_failed_endpoint_rests_and_comes_back_by_one_trial_call(caller, ask, regions, clock, events, registry):
    regions.faults["us"] = ConnectionError()
    caller.call(ask)
    caller.call(ask)
    clock.advance(31)
    del regions.faults["us"]
    answer = caller.call(ask)

    assert answer == "us: hi"
    assert regions.asked == ["us", "eu", "eu", "us"]
    assert type(events[-1]) is EndpointUp
    assert registry.endpoints["us"].stats().state is EndpointState.RETURNING


def test_all_failed_says_what_each_said(caller, ask, regions):
    regions.faults = {"us": ConnectionError("no route"), "eu": ProviderError("model_overloaded")}
    with pytest.raises(AllEndpointsFailedError) as caught:
        caller.call(ask)

    assert set(caught.value.errors) == {"us", "eu"}


def test_the_callers_own_mistake_is_raised_as_it_is(caller, ask, regions):
    regions.faults["us"] = ProviderError("invalid_request")
    with pytest.raises(ProviderError):
        caller.call(ask)

    assert regions.asked == ["us"]


def test_a_request_that_is_too_long_goes_to_another_model(caller, ask, regions):
    regions.faults["us"] = ProviderError("context_length")

    assert caller.call(ask) == "eu: hi"


def test_a_bug_of_the_program_is_asked_of_one_other_endpoint_and_raised(caller, ask, regions, registry):
    regions.faults = dict.fromkeys(("us", "eu"), KeyError("typo"))
    with pytest.raises(KeyError):
        caller.call(ask)

    assert regions.asked == ["us", "eu"]
    assert registry.endpoints["us"].stats().failures == 0


def test_an_endpoint_that_was_passed_by_hand_is_named_in_the_error(registry, regions):
    @failover(US, EU, registry=registry)
    def ask(endpoint, prompt): ...

    with pytest.raises(TypeError) as caught:
        ask(US, "hello")

    assert any("leave it out of the call" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "least_latency", lambda endpoints: endpoints[-1]])
def test_every_strategy_chooses_for_plain_functions_too(caller, registry, regions, strategy):
    def ask(endpoint):
        return regions(endpoint)

    guarded = failover(US, EU, strategy=strategy, registry=registry)(caller.function(ask))

    assert {caller.call(guarded) for _ in range(2)} <= {"us: hi", "eu: hi"}


def test_with_a_retry_and_a_circuit_per_endpoint_it_outlives_an_outage(caller, registry, regions, clock):
    def ask(endpoint):
        if clock.now() > 3:
            regions.faults.clear()
        return regions(endpoint)

    guarded = circuit_breaker(failure_threshold=1, recovery_timeout=2, registry=registry)(caller.function(ask))
    guarded = failover(US, EU, registry=registry)(guarded)
    guarded = degrade_to("later", registry=registry)(classified_retry("outage", registry=registry)(guarded))
    regions.faults = dict.fromkeys(("us", "eu"), ConnectionError())
    answers = [caller.call(guarded) for _ in range(12)]

    assert set(answers) <= {"us: hi", "eu: hi"}


def test_methods_get_the_endpoint_after_their_instance(registry):
    class Desk:
        name = "desk"

        @failover(US, EU, name="desk", registry=registry)
        def ask(self, endpoint, prompt):
            return f"{self.name} {endpoint.name} {prompt}"

    desk = Desk()

    assert {desk.ask("hi"), Desk.ask(desk, "hi")} == {"desk us hi", "desk eu hi"}


def test_within_a_deadline_all_four_answer_and_nothing_is_ended_early(registry, regions, clock):
    @degrade_to("later", registry=registry)
    @classified_retry("bounded", registry=registry)
    @failover(US, EU, strategy="priority", registry=registry)
    @circuit_breaker("bounded", registry=registry)
    def ask(endpoint):
        clock.advance(9)
        return regions(endpoint)

    with deadline(5):
        answers = [ask()]
    regions.faults = dict.fromkeys(("us", "eu"), ConnectionError())
    with deadline(0.01), watch() as seen:
        answers.append(ask())

    assert answers == ["us: hi", "later"]
    assert seen.degraded


# -- one health for both


async def test_async_and_plain_functions_share_the_health_of_an_endpoint(registry, regions):
    @failover(US, EU, name="plain", strategy="priority", registry=registry)
    def ask(endpoint):
        return regions(endpoint)

    @failover(US, EU, name="async", strategy="priority", registry=registry)
    async def ask_async(endpoint):
        return regions(endpoint)

    regions.faults["us"] = ConnectionError()
    ask()
    regions.asked.clear()

    assert await ask_async() == "eu: hi"
    assert regions.asked == ["eu"]


def test_a_plain_function_is_handed_the_twin_and_trial_calls_replace_the_check(registry, clock):
    class Sync:
        def __init__(self, name):
            self.name = name

    class Provider:
        def __init__(self, name):
            self.name = name

        async def check(self):
            raise AssertionError("nobody can wait for this")

        @property
        def sync(self):
            return Sync(self.name)

    handed, down = [], ["us"]

    @failover(Provider("us"), Provider("eu"), name="twins", strategy="priority", registry=registry)
    def ask(endpoint):
        handed.append(type(endpoint))
        if endpoint.name in down:
            raise ConnectionError
        return endpoint.name

    answers = [ask()]
    clock.advance(31)
    down.clear()
    answers.append(ask())
    with registry.disabled():
        answers.append(ask())

    assert answers == ["eu", "us", "us"]
    assert set(handed) == {Sync}


def test_what_needs_a_task_beside_the_call_is_an_error_at_decoration(registry):
    def ask(endpoint): ...
    async def check(endpoint): ...

    with pytest.raises(ValueError, match=r"hedge_after=0\.8 needs two calls at a time"):
        failover(US, EU, hedge_after=0.8, registry=registry)(ask)
    with pytest.raises(ValueError, match="health_check= runs alongside the calls"):
        failover(US, EU, health_check=check, registry=registry)(ask)

    failover(US, EU, health_check=False, registry=registry)(ask)


async def test_within_a_running_loop_it_moves_on_without_a_wait(registry, regions):
    @classified_retry("in a loop", rules={ErrorType.NETWORK_ERROR: None}, registry=registry)
    @failover(US, EU, strategy="priority", registry=registry)
    def ask(endpoint):
        return regions(endpoint)

    regions.faults["us"] = ConnectionError()

    assert ask() == "eu: hi"
    regions.faults["eu"] = ConnectionError()
    with pytest.raises((AllEndpointsFailedError, AIServiceError)):
        ask()


def test_eight_threads_count_every_call_in_all_four_layers():
    registry = Registry(clock=VirtualClock(), listeners=())
    sent, lock, threads, calls = [0], threading.Lock(), 8, 100

    @degrade_to("sorry", registry=registry)
    @classified_retry("counted", budget=None, registry=registry)
    @failover(US, EU, registry=registry)
    @circuit_breaker("counted", failure_threshold=10**9, registry=registry)
    def ask(_endpoint):
        with lock:
            sent[0] += 1
            number = sent[0]
        if number % 40 == 0:
            raise ProviderError("rate_limit", retry_after=0)
        return "pong"

    def caller():
        for _ in range(calls):
            assert ask() == "pong"

    interleaved(*[caller] * threads, trace=("fast_path", "plain_calls"))
    stats = registry.stats()

    assert [next(iter(stats[kind].values())).calls for kind in ("degrade_to", "classified_retry")] == [
        threads * calls
    ] * 2
    assert sum(each.calls for each in stats["endpoint"].values()) == sent[0]
    assert sum(each.total_calls for each in stats["circuit_breaker"].values()) == sent[0]
    assert [each.in_flight for each in stats["endpoint"].values()] == [0, 0]
