"""What users of `@failover` can rely on."""

from __future__ import annotations

import gc
import inspect
import itertools
import json
import pickle
import threading
from collections import Counter

import anyio
import pytest

from resilient_ai import (
    AllEndpointsFailedError,
    CircuitOpenError,
    Endpoint,
    EndpointRestingError,
    EndpointState,
    ErrorType,
    RejectedResultError,
    ResilienceError,
    circuit_breaker,
    classified_retry,
    classify,
    describe,
    failover,
)
from resilient_ai._core.watch import watch

BACKENDS = ("asyncio", "trio")
US, EU, AP = Endpoint("us"), Endpoint("eu"), Endpoint("ap")


class RefusalError(Exception):
    """What an SDK raises for a status."""

    def __init__(self, status: int, retry_after: float | None = None, code: str = "") -> None:
        super().__init__(code)
        self.status_code = status
        self.body = {"error": {"code": code}} if code else None
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


class Regions:
    """Scripted endpoints: what each name raises, and who was asked."""

    def __init__(self) -> None:
        self.faults: dict[str, BaseException] = {}
        self.asked: list[str] = []

    async def __call__(self, endpoint, prompt: str = "hi") -> str:
        self.asked.append(endpoint.name)
        await anyio.lowlevel.checkpoint()
        if endpoint.name in self.faults:
            raise self.faults[endpoint.name]
        return f"{endpoint.name}: {prompt}"

    def was_asked(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def regions() -> Regions:
    return Regions()


@pytest.fixture
def over(registry, regions):
    """`over(us, eu, strategy=…)`: a failover over the scripted endpoints."""

    def make(*endpoints, **settings):
        async def ask(endpoint, prompt: str = "hi") -> str:
            return await regions(endpoint, prompt)

        return failover(*endpoints, registry=registry, **{"name": "ask", **settings})(ask)

    return make


# -- handing the endpoint in


async def test_the_endpoint_is_the_first_argument_and_callers_do_not_pass_it(registry):
    @failover(US, registry=registry)
    async def ask(endpoint, prompt: str, *, shout: bool = False) -> str:
        return f"{endpoint.name}: {prompt}{'!' * shout}"

    assert await ask("hi", shout=True) == "us: hi!"
    assert list(inspect.signature(ask).parameters) == ["prompt", "shout"]


async def test_in_a_method_it_comes_after_self(registry):
    class Client:
        greeting = "hello"

        @failover(US, registry=registry)
        async def ask(self, endpoint, prompt: str) -> str:
            return f"{self.greeting} {endpoint.name}: {prompt}"

        @failover(US, registry=registry)
        async def tokens(self, endpoint, count: int):
            for number in range(count):
                yield endpoint.name, number

        @classmethod
        @failover(US, registry=registry)
        async def make(cls, endpoint, prompt: str) -> str:
            return f"{cls.__name__} {endpoint.name}: {prompt}"

        @staticmethod
        @failover(US, registry=registry)
        async def bare(endpoint, prompt: str) -> str:
            return f"{endpoint.name}: {prompt}"

    client = Client()

    assert await client.ask("hi") == await Client.ask(client, "hi") == "hello us: hi"
    assert [item async for item in client.tokens(2)] == [("us", 0), ("us", 1)]
    assert await client.make("hi") == await Client.make("hi") == "Client us: hi"
    assert await client.bare("hi") == await Client.bare("hi") == "us: hi"


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ([], "failover needs at least one endpoint: @failover\\(us, eu\\)"),
        ([US, EU, US], "need names of their own, got 'us' twice"),
        (["us"], "endpoints need a .name; write Endpoint\\('us'\\)"),
        ([[US, EU]], "write @failover\\(\\*endpoints\\)"),
        ([lambda endpoint: None], "needs endpoints before the function: @failover\\(us, eu\\), got .*lambda"),
        ([42], "endpoints need a .name that is a non-empty string, got a int"),
        ([Endpoint("heavy", weight=-1)], "weight of endpoint 'heavy' must be a number of at least 0, got -1"),
    ],
)
def test_wrong_endpoints_are_refused_with_the_way_out(endpoints, message, registry):
    async def ask(endpoint) -> None: ...

    with pytest.raises(ValueError, match=message):
        failover(*endpoints, registry=registry)(ask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "fastest"}, "strategy must be 'round_robin', .* or a callable, got 'fastest'"),
        ({"health_check": "ping"}, "health_check must be an async function, None or False, got 'ping'"),
        ({"health_check_interval": -1}, "health_check_interval must be a number of at least 0, got -1"),
        ({"max_endpoints": 0}, "max_endpoints must be an integer of at least 1 or None, got 0"),
        ({"hedge_after": "p99"}, "hedge_after must be seconds, 'p95' or None, got 'p99'"),
        ({"hedge_after": -1}, "hedge_after must be a number of at least 0 or None, got -1"),
        ({"hedge_budget": 2}, "hedge_budget must be a number of at least 0 up to 1, got 2"),
        ({"idempotent": "no"}, "idempotent must be True, False or a function, got 'no'"),
    ],
)
def test_bad_settings_are_refused_at_decoration(settings, message, registry):
    with pytest.raises(ValueError, match=message):
        failover(US, EU, registry=registry, **settings)


def test_the_same_name_with_other_endpoints_is_refused(over):
    over(US, EU)

    with pytest.raises(ValueError, match="failover 'ask' already exists with other settings: endpoints"):
        over(US, AP)


def test_an_endpoint_shows_no_attribute_that_could_be_a_key():
    shown = repr(Endpoint("us", api_key="sk-planted", url="https://user:planted@host", weight=2, region="us-east"))

    assert shown == "Endpoint('us', api_key=…, url=…, weight=2, region='us-east')"


# -- strategies


async def test_round_robin_takes_turns(over):
    ask = over(US, EU, AP)

    assert [(await ask())[:2] for _ in range(6)] == ["us", "eu", "ap"] * 2


async def test_round_robin_deals_the_turns_of_a_resting_endpoint_out_evenly(over, regions):
    ask = over(US, EU, AP)
    regions.faults["eu"] = OSError("down")
    for _ in range(3):
        await ask()
    regions.was_asked()
    for _ in range(300):
        await ask()

    assert Counter(regions.was_asked()) == {"us": 150, "ap": 150}


async def test_priority_keeps_to_the_first_that_is_healthy(over, regions):
    ask = over(US, EU, AP, strategy="priority")
    answers = [await ask() for _ in range(3)]
    regions.faults["us"] = OSError("down")
    answers += [await ask() for _ in range(3)]

    assert answers == ["us: hi"] * 3 + ["eu: hi"] * 3


async def test_weighted_sends_in_proportion_and_nothing_to_weight_zero_while_there_is_another(over, regions):
    ask = over(Endpoint("three", weight=3), Endpoint("one", weight=1), Endpoint("spare", weight=0), strategy="weighted")
    for _ in range(2_000):
        await ask()
    asked = Counter(regions.was_asked())
    regions.faults |= {"three": OSError(), "one": OSError()}

    assert asked["spare"] == 0
    assert asked["three"] == pytest.approx(1_500, rel=0.1)
    assert await ask() == "spare: hi"


async def test_a_strategy_of_the_users_own_picks_among_the_healthy_ones(over, regions):
    offered = []

    def last(endpoints):
        offered.append([endpoint.name for endpoint in endpoints])
        return endpoints[-1]

    ask = over(US, EU, AP, strategy=last)
    regions.faults["ap"] = OSError("down")

    assert await ask() == "eu: hi"
    assert offered == [["us", "eu", "ap"], ["us", "eu"]]


async def test_a_strategy_that_returns_a_stranger_is_told_so(over):
    ask = over(US, EU, strategy=lambda endpoints: AP)

    with pytest.raises(ValueError, match="not one of the endpoints it was given: us, eu"):
        await ask()


# -- moving on


async def test_a_failure_moves_on_at_once_and_each_endpoint_is_asked_once(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError("down"), "eu": TimeoutError()}

    assert await ask() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]


async def test_the_callers_own_mistake_is_raised_as_it_is_from_the_first_endpoint(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = mistake = RefusalError(400, code="invalid_request_error")

    with pytest.raises(RefusalError) as caught:
        await ask()

    assert caught.value is mistake
    assert regions.was_asked() == ["us"]
    assert registry.endpoints["us"].stats().failures == 0


async def test_when_all_have_failed_the_error_names_each_with_its_reason(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": OSError("the prompt"), "eu": RefusalError(401)}

    with pytest.raises(
        AllEndpointsFailedError, match=r"us: network_error \(OSError\), eu: authentication \(RefusalError\)"
    ) as all_failed:
        await ask()

    assert all_failed.value.errors == regions.faults
    assert all_failed.value.__cause__ is regions.faults["eu"]
    assert "the prompt" not in str(all_failed.value)
    assert str(pickle.loads(pickle.dumps(all_failed.value))) == str(all_failed.value)


async def test_max_endpoints_bounds_how_many_are_asked(over, regions):
    ask = over(US, EU, AP, max_endpoints=2)
    regions.faults |= {"us": OSError(), "eu": OSError()}

    with pytest.raises(AllEndpointsFailedError) as all_failed:
        await ask()

    assert list(all_failed.value.errors) == ["us", "eu"]
    assert await ask() == "ap: hi"


async def test_an_error_that_nothing_recognises_moves_on_and_is_raised_itself_if_every_endpoint_gives_one(
    over, regions, registry
):
    ask = over(US, EU)
    regions.faults |= {"us": KeyError("choices"), "eu": TypeError("'NoneType' object is not subscriptable")}
    with pytest.raises(TypeError):
        await ask()
    blamed = [endpoint.stats().failures for endpoint in registry.endpoints.values()]
    del regions.faults["eu"]
    answers = [await ask() for _ in range(2)]

    assert blamed == [0, 0]
    assert answers == ["eu: hi"] * 2
    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


async def test_a_result_that_reject_calls_a_failure_moves_on(over, regions):
    ask = over(US, EU, reject=lambda result: ErrorType.CONTENT_FILTER if result.startswith("us") else None)
    with pytest.raises(RejectedResultError):
        await ask()
    broken = over(US, EU, name="b", reject=lambda result: ErrorType.INTERNAL_ERROR if result[:2] == "us" else None)

    assert await broken() == "eu: hi"


async def test_a_long_request_moves_only_to_an_endpoint_with_a_larger_window(over, regions, registry):
    small, same, large = (Endpoint(f"{size}k", context_window=size * 1000) for size in (8, 8.0, 128))
    ask = over(small, same, EU, large, strategy="priority")
    regions.faults["8k"] = RefusalError(400, code="context_length_exceeded")

    assert await ask() == "128k: hi"
    assert regions.was_asked() == ["8k", "128k"]
    assert registry.endpoints["8k"].stats().state is EndpointState.UP


async def test_a_long_request_without_a_larger_window_is_the_callers_error(over, regions):
    ask = over(US, EU)
    regions.faults["us"] = RefusalError(400, code="context_length_exceeded")

    with pytest.raises(RefusalError):
        await ask()

    assert regions.was_asked() == ["us"]


async def test_a_filtered_request_moves_only_to_another_provider(over, regions):
    one, two = (Endpoint(f"azure-{number}", provider="azure") for number in (1, 2))
    other = Endpoint("claude", provider="anthropic")
    ask = over(one, two, other, strategy="priority")
    regions.faults["azure-1"] = RefusalError(400, code="content_filter")

    assert await ask() == "claude: hi"
    assert regions.was_asked() == ["azure-1", "claude"]


async def test_a_call_that_must_not_run_twice_moves_on_only_if_it_was_not_processed(over, regions):
    ask = over(US, EU, strategy="priority", idempotent=False)
    regions.faults["us"] = RefusalError(429)
    moved = await ask()
    regions.faults |= {"us": TimeoutError(), "eu": TimeoutError()}
    regions.was_asked()
    with pytest.raises(TimeoutError):
        await ask()

    assert moved == "eu: hi"
    assert regions.was_asked() == ["eu"]


async def test_idempotent_may_be_said_of_each_call(over, regions):
    ask = over(US, EU, strategy="priority", idempotent=lambda prompt: not prompt.startswith("book"))
    regions.faults["us"] = TimeoutError()
    with pytest.raises(TimeoutError):
        await ask("book a flight")

    assert await ask("tell a joke") == "eu: tell a joke"


# -- resting


async def test_a_failed_endpoint_rests_and_comes_back_with_one_trial_call(over, regions, clock, registry):
    ask = over(US, EU, strategy="priority", health_check_interval=30)
    regions.faults["us"] = OSError("down")
    await ask()
    del regions.faults["us"]
    clock.advance(29.9)
    await ask()
    clock.advance(0.1)
    regions.was_asked()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)

    assert Counter(regions.was_asked()) == {"us": 1, "eu": 4}
    assert await ask() == "us: hi"
    assert registry.endpoints["us"].stats().state is EndpointState.RETURNING


async def test_a_trial_that_is_cancelled_leaves_the_trial_to_the_next(registry, clock):
    hang, down = [True], [True]

    async def ask(endpoint) -> str:
        if endpoint.name == "us" and down:
            raise OSError("down")
        if endpoint.name == "us" and hang:
            await anyio.sleep_forever()
        return endpoint.name

    call = failover(US, EU, strategy="priority", registry=registry)(ask)
    await call()
    down.clear()
    clock.advance(30)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        meanwhile = await call()
        tasks.cancel_scope.cancel()
    hang.clear()

    assert meanwhile == "eu"
    assert await call() == "us"


@pytest.mark.parametrize("asks", [2.0, 90.0])
async def test_a_rate_limited_endpoint_rests_for_as_long_as_it_asks(over, regions, clock, asks):
    ask = over(US, EU, strategy="priority", health_check_interval=30)
    regions.faults["us"] = RefusalError(429, retry_after=asks)
    await ask()
    del regions.faults["us"]
    clock.advance(asks - 0.1)
    answers = [await ask()]
    clock.advance(0.1)
    answers.append(await ask())

    assert answers == ["eu: hi", "us: hi"]


async def test_rests_grow_with_failures_in_a_row(over, regions, clock, registry):
    ask = over(US, EU, strategy="priority", health_check_interval=10)
    regions.faults["us"] = OSError("down")
    rests = []
    for _ in range(6):
        await ask()
        rests.append(registry.endpoints["us"].stats().resting_for)
        clock.advance(rests[-1])

    assert rests[0] == 10
    assert all(after > 1.5 * before for before, after in itertools.pairwise(rests[:4]))
    assert max(rests) <= 100


@pytest.mark.parametrize("fault", [RefusalError(401), RefusalError(403), RefusalError(429, 18.0, "insufficient_quota")])
async def test_an_endpoint_that_denies_us_rests_long_and_is_reported_once_at_error_level(
    over, regions, clock, registry, events, fault
):
    ask = over(US, EU)
    regions.faults["us"] = fault
    for _ in range(4):
        for _ in range(20):
            await ask()
        clock.advance(registry.endpoints["us"].stats().resting_for)

    assert [event.log_name for event in events if event.level == "error"] == ["resilient_ai.endpoint_denied"]
    assert 3 <= regions.was_asked().count("us") <= 4
    assert clock.now() > 3 * 600


async def test_when_all_rest_the_one_due_soonest_is_asked(over, regions, clock):
    ask = over(US, EU, strategy="priority")
    regions.faults |= {"us": RefusalError(429, 20.0), "eu": RefusalError(429, 10.0)}
    with pytest.raises(AllEndpointsFailedError):
        await ask()
    regions.faults.clear()
    regions.was_asked()

    assert await ask() == "eu: hi"
    assert regions.was_asked() == ["eu"]


async def test_when_all_rest_and_one_fails_again_the_next_is_asked(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    with pytest.raises(AllEndpointsFailedError):
        await ask()
    regions.was_asked()
    del regions.faults["ap"]

    assert await ask() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]


async def test_in_a_long_outage_of_all_no_endpoint_is_pressed_by_more_than_one_call_each(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    for _ in range(130):
        with pytest.raises(AllEndpointsFailedError):
            await ask()

    assert len(regions.was_asked()) <= 130 + 2 + 10  # the first call's other two, and what earlier answers had paid for


async def test_what_denies_us_is_not_pressed_while_there_is_another(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": RefusalError(401), "eu": OSError()}
    for _ in range(5):
        with pytest.raises(
            AllEndpointsFailedError, match=r"us: resting for .* eu: |us: authentication|eu: .*, us: resting"
        ):
            await ask()

    assert regions.was_asked() == ["us", "eu", "eu", "eu", "eu", "eu"]


async def test_a_circuits_refusal_takes_no_chance_away_from_a_call(registry, regions):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, AP, registry=registry)(circuit_breaker("c", failure_threshold=1, registry=registry)(ask))
    regions.faults |= {"us": OSError(), "eu": OSError(), "ap": OSError()}
    for _ in range(15):
        with pytest.raises(AllEndpointsFailedError):
            await call()
    regions.was_asked()
    regions.faults.clear()
    registry.circuit_breakers["c[ap]"].reset()

    assert await call() == "ap: hi"
    assert regions.was_asked() == ["ap"]


async def test_one_failure_among_many_good_answers_begins_no_rest_and_a_second_does(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    states = []
    for _ in range(2):
        for _ in range(20):
            await ask()
        for _ in range(1 + len(states)):
            regions.faults["us"] = OSError("once")
            await ask()
        del regions.faults["us"]
        states.append(registry.endpoints["us"].stats().state)

    assert states == [EndpointState.UP, EndpointState.RESTING]


async def test_a_lone_endpoint_is_never_taken_out(over, regions):
    ask = over(US)
    regions.faults["us"] = OSError("down")
    for _ in range(3):
        with pytest.raises(AllEndpointsFailedError):
            await ask()
    del regions.faults["us"]

    assert await ask() == "us: hi"
    assert regions.was_asked() == ["us"] * 4


async def test_a_call_that_began_before_the_rest_does_not_end_it(over, registry, clock):
    slow = anyio.Event()

    async def ask(endpoint, kind: str) -> str:
        if kind == "slow":
            await slow.wait()
        elif endpoint.name == "us":
            raise OSError("down")
        return endpoint.name

    call = failover(US, EU, strategy="priority", registry=registry)(ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, "slow")
        await anyio.wait_all_tasks_blocked()
        await call("now")
        slow.set()

    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


# -- sharing, and the operator


async def test_call_sites_share_what_is_known_of_an_endpoint(over, regions, registry):
    ask, also = over(US, EU, strategy="priority"), over(US, AP, strategy="priority", name="also")
    regions.faults["us"] = OSError("down")
    await ask()

    assert await also() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]
    assert registry.failovers["also"].stats().endpoints["us"].state is EndpointState.RESTING


async def test_an_operator_takes_an_endpoint_out_and_back_in(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    registry.failovers["ask"].mark_down("us")
    answers = [await ask()]
    registry.endpoints["us"].mark_up()
    answers.append(await ask())

    assert answers == ["eu: hi", "us: hi"]
    with pytest.raises(KeyError, match="failover 'ask' has no endpoint named 'mars'; there are: 'us', 'eu'"):
        registry.failovers["ask"].mark_down("mars")


async def test_what_an_operator_marked_down_is_not_asked_even_as_the_last(over, regions, registry):
    ask = over(US, EU)
    for name in ("us", "eu"):
        registry.failovers["ask"].mark_down(name)

    with pytest.raises(AllEndpointsFailedError, match="us: marked down, eu: marked down") as all_failed:
        await ask()

    assert regions.was_asked() == []
    assert isinstance(all_failed.value.errors["us"], EndpointRestingError)
    assert "mark_up('us')" in str(all_failed.value.errors["us"])


# -- with other policies


async def test_a_circuit_below_is_one_per_endpoint_without_being_told(over, regions, registry):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, registry=registry)(
        circuit_breaker("summarize", failure_threshold=1, registry=registry)(ask)
    )
    regions.faults["us"] = OSError("down")
    await call()

    assert {name: each.state.value for name, each in registry.circuit_breakers.items()} == {
        "summarize[us]": "open",
        "summarize[eu]": "closed",
    }


async def test_an_open_circuit_moves_on_and_is_no_failure_of_the_endpoint(over, regions, registry):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = failover(US, EU, strategy="priority", registry=registry)(circuit_breaker("c", registry=registry)(ask))
    registry.circuit_breakers["c[us]"].trip()

    assert await call() == "eu: hi"
    assert registry.endpoints["us"].stats().failures == 0
    assert registry.endpoints["us"].stats().resting_for == 60


async def test_open_circuits_everywhere_let_a_retry_above_wait_for_the_soonest(registry, regions, clock):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    for name, seconds in (("us", 50), ("eu", 4)):
        regions.faults[name] = CircuitOpenError(name, retry_after=seconds)
    call = classified_retry(registry=registry)(failover(US, EU, registry=registry)(ask))
    async with clock.autojump(), anyio.create_task_group() as tasks:

        async def heal():
            await clock.sleep(3.9)
            regions.faults.clear()

        tasks.start_soon(heal)
        answer = await call()

    assert answer == "eu: hi"
    assert clock.now() == 4


async def test_all_failed_is_as_retryable_as_its_most_hopeful_endpoint(over, regions):
    ask = over(US, EU, AP)
    regions.faults |= {"us": RefusalError(429, 20.0), "eu": OSError("down"), "ap": RefusalError(401)}
    with pytest.raises(AllEndpointsFailedError) as soon:
        await ask()
    later = over(Endpoint("a"), Endpoint("b"), name="later")
    regions.faults |= {"a": RefusalError(429, 20.0), "b": RefusalError(429, 8.0)}
    with pytest.raises(AllEndpointsFailedError) as hinted:
        await later()

    assert (soon.value.error_type, soon.value.retry_after) == (ErrorType.NETWORK_ERROR, None)
    assert classify(soon.value).retryable
    assert (hinted.value.error_type, hinted.value.retry_after) == (ErrorType.RATE_LIMIT, 8.0)


async def test_a_retry_above_does_not_go_back_to_what_just_failed_while_another_is_healthy(registry, regions, clock):
    async def ask(endpoint) -> str:
        return await regions(endpoint)

    call = classified_retry(registry=registry)(failover(US, EU, AP, max_endpoints=1, registry=registry)(ask))
    regions.faults |= {"us": OSError("down"), "eu": OSError("down")}
    async with clock.autojump():
        await call()

    assert regions.was_asked() == ["us", "eu", "ap"]


# -- what people see


async def test_the_p95_of_few_answers_is_the_slowest_for_an_endpoint_and_its_circuit_alike(registry, clock):
    @failover(US, name="ask", registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(endpoint, seconds: float) -> None:
        clock.advance(seconds)

    for seconds in (4, 1, 2):
        await ask(seconds)

    (breaker,) = registry.circuit_breakers.values()
    assert breaker.stats().p95 == registry.endpoints["us"].stats().latency_p95 == 4


async def test_watch_tells_which_endpoints_were_asked_and_which_answered(over, regions):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    with watch() as seen:
        await ask()

    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))


async def test_watch_tells_which_endpoints_were_asked_in_vain_too(over, regions):
    ask = over(US, EU)
    regions.faults |= {"us": OSError("down"), "eu": OSError("down")}
    with watch() as seen, pytest.raises(AllEndpointsFailedError):
        await ask()

    assert (seen.endpoint, seen.endpoints_tried) == (None, ("us", "eu"))


async def test_events_tell_of_rests_moves_and_comebacks_without_the_prompt(over, regions, clock, events):
    ask = over(US, EU)
    regions.faults["us"] = OSError("secret prompt")
    await ask("secret prompt")
    clock.advance(30)
    del regions.faults["us"]
    for _ in range(2):
        await ask("secret prompt")

    assert [event.log_name.partition(".")[2] for event in events] == ["endpoint_down", "failed_over", "endpoint_up"]
    assert "secret" not in repr(events)


async def test_the_numbers_add_up(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    await ask()
    regions.faults["eu"] = OSError("down")
    with pytest.raises(ResilienceError):
        await ask()
    stats = registry.failovers["ask"].stats()

    assert (stats.calls, stats.ok, stats.failures, stats.moves) == (2, 1, 1, 2)
    assert (stats.endpoints["eu"].calls, stats.endpoints["eu"].failures) == (2, 1)
    assert registry.failovers["ask"].row().state == "0 of 2 up"
    assert "resting 30.0 s (network_error)" in repr(registry.failovers["ask"])
    assert "failover 'ask' over us resting" in repr(describe(ask))


async def test_the_numbers_are_plain_json_too(over, registry):
    await over(US, EU)()
    plain = json.loads(json.dumps(registry.as_dict()))

    assert plain["failover"]["ask"]["endpoints"]["us"]["healthy"] is True
    assert plain["endpoint"]["us"]["state"] == "up"


async def test_reset_puts_every_endpoint_back_up(over, regions, registry):
    ask = over(US, EU)
    regions.faults["us"] = OSError("down")
    await ask()
    registry.reset()
    del regions.faults["us"]

    assert registry.failovers["ask"].stats().calls == 0
    assert {await ask(), await ask()} == {"us: hi", "eu: hi"}


async def test_a_cancelled_call_is_nobodys_failure_and_leaves_nothing_in_flight(registry):
    async def ask(endpoint) -> str:
        await anyio.sleep_forever()
        return ""

    call = failover(US, EU, registry=registry)(ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    stats = registry.endpoints["us"].stats()

    assert (stats.calls, stats.failures, stats.in_flight, stats.state) == (0, 0, 0, EndpointState.UP)


# -- threads, loops and garbage


def test_several_loops_in_several_threads_share_the_endpoints(registry):
    lock, count = threading.Lock(), [0]

    @failover(US, EU, AP, registry=registry)
    async def ask(endpoint, number: int) -> int:
        await anyio.lowlevel.checkpoint()
        with lock:
            count[0] += 1
            broken = count[0] % 7 == 0
        if broken:
            raise OSError("now and then")
        return number

    async def many() -> None:
        for number in range(300):
            try:
                assert await ask(number) == number
            except AllEndpointsFailedError:
                failed.append(number)

    failed: list[int] = []
    threads = [threading.Thread(target=anyio.run, args=(many,), kwargs={"backend": each}) for each in BACKENDS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = registry.failovers["test_several_loops_in_several_threads_share_the_endpoints.<locals>.ask"].stats()

    assert (stats.ok, stats.failures) == (1_200 - len(failed), len(failed))
    assert sum(each.calls for each in stats.endpoints.values()) == count[0]
    assert {each.in_flight for each in stats.endpoints.values()} == {0}


async def test_a_good_call_leaves_no_garbage_and_neither_does_one_that_moved_on(registry):
    @failover(US, EU, strategy="priority", registry=registry)
    async def ask(endpoint) -> str:
        if endpoint is US:
            raise OSError("down")
        return endpoint.name

    await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await ask()
            registry.endpoints["us"].mark_up()
        left = gc.collect()
    finally:
        gc.enable()

    assert left == 0
