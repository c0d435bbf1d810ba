"""A registry can be switched off, put into a test's mode, or replaced, for every function of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import anyio
import pytest

import resilient_ai
from resilient_ai import (
    AIServiceError,
    BatchResultError,
    CircuitOpenError,
    Endpoint,
    ErrorType,
    RetryRule,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    rate_limit,
    spend_limit,
)
from resilient_ai.testing import VirtualClock, isolated_registry
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


class Service:
    """Decorated in a module of an application, on the default registry."""

    def __init__(self):
        self.calls = 0

    @classified_retry("method", rules={ErrorType.NETWORK_ERROR: RetryRule(2, 9, 9)})
    @failover(Endpoint("us"), Endpoint("eu"), name="method", strategy="priority")
    @circuit_breaker("method", failure_threshold=1)
    async def ask(self, endpoint, error=None):
        self.calls += 1
        if error is not None:
            raise error
        return endpoint.name

    @classmethod
    @circuit_breaker("of_class", failure_threshold=1)
    async def of_class(cls, error=None):
        if error is not None:
            raise error
        return cls.__name__

    @staticmethod
    @circuit_breaker("static", failure_threshold=1)
    async def static(error=None):
        if error is not None:
            raise error
        return "static"


@classified_retry("function", rules={ErrorType.NETWORK_ERROR: RetryRule(2, 9, 9, jitter="none")})
async def function(errors):
    if errors:
        raise errors.pop()
    return "answer"


KEPT = Service().ask  # registered with a framework, say


# -- switched off


@pytest.fixture
def broken(registry):
    """Functions that fail, each below a policy that would do something about it."""
    error = ConnectionError("refused")
    return {
        "circuit_breaker": circuit_breaker("c", failure_threshold=1, registry=registry),
        "classified_retry": classified_retry("r", registry=registry),
        "adaptive_limit": adaptive_limit("l", registry=registry),
        "spend_limit": spend_limit("s", usd_per_hour=1, registry=registry),
        "rate_limit": rate_limit("q", requests_per_minute=1, registry=registry),
        "degrade_to": degrade_to("later", name="d", registry=registry),
    }, error


@pytest.mark.parametrize(
    "policy", ["circuit_breaker", "classified_retry", "adaptive_limit", "rate_limit", "spend_limit", "degrade_to"]
)
async def test_switched_off_a_call_goes_straight_through_uncounted(registry, broken, policy):
    policies, error = broken
    ask = scripted(error, error, error)
    guarded = policies[policy](ask)
    before = registry.as_dict()
    with registry.disabled():
        for _ in range(2):
            with pytest.raises(ConnectionError) as caught:
                await guarded()

            assert caught.value is error

    assert registry.as_dict() == before


async def test_switched_off_a_failover_hands_in_its_first_endpoint_and_a_batch_is_a_list_of_one(registry):
    class Store:
        @failover(Endpoint("us"), Endpoint("eu"), name="m", registry=registry)
        async def ask(self, endpoint, text, *, n=1):
            return endpoint.name, text, n

        @batched("bm", registry=registry)
        @failover(Endpoint("us"), Endpoint("eu"), name="bm", registry=registry)
        async def embed(self, endpoint, texts, n=1):
            return [(endpoint.name, text, n) for text in texts]

        @failover(Endpoint("us"), name="fb", registry=registry)
        @batched("fb", registry=registry)
        async def below(self, endpoint, texts):
            return [(endpoint.name, text) for text in texts]

    @batched("f", registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), name="f", registry=registry)
    async def embed(endpoint, texts, n=1):
        return [(endpoint.name, text, n) for text in texts]

    store = Store()
    kept = store.ask
    registry.disable()

    assert await store.ask("x", n=3) == await kept("x", n=3) == ("us", "x", 3)
    assert await store.embed("x", 2) == await embed("x", 2) == await embed(texts="x", n=2) == ("us", "x", 2)
    assert await store.below("x") == ("us", "x")
    registry.enable()
    assert registry.batches["f"].stats().total_requests == 0


@pytest.mark.parametrize(
    ("results", "error"), [([], BatchResultError), ([OSError("x")], OSError), ("ab", BatchResultError)]
)
async def test_switched_off_a_batch_of_one_keeps_its_result_rules(registry, results, error):
    @batched("f", registry=registry)
    async def embed(texts):
        return results

    with registry.disabled(), pytest.raises(error):
        await embed("x")


async def test_switched_off_a_stream_is_the_bare_stream(registry):
    @degrade_to("later", name="s", registry=registry)
    @failover(Endpoint("us"), name="s", registry=registry)
    async def tokens(endpoint, n):
        for number in range(n):
            yield endpoint.name, number
        raise ConnectionError("cut")

    seen = []
    with registry.disabled(), pytest.raises(ConnectionError):
        async for each in tokens(2):
            seen.append(each)  # noqa: PERF401 - the stream ends with an error

    assert seen == [("us", 0), ("us", 1)]
    assert registry.degradations["s"].stats().calls == 0


async def test_a_function_that_is_decorated_while_it_is_switched_off_begins_switched_off(registry):
    registry.disable()
    ask = circuit_breaker("c", failure_threshold=1, registry=registry)(scripted(OSError(), OSError(), OSError()))
    for _ in range(2):
        with pytest.raises(OSError):
            await ask()
    registry.enable()
    with pytest.raises(OSError):
        await ask()

    with pytest.raises(CircuitOpenError):
        await ask()


async def test_a_call_under_way_ends_as_it_began(registry):
    gate = anyio.Event()

    @degrade_to("later", name="d", registry=registry)
    async def ask():
        await gate.wait()
        raise ConnectionError("refused")

    answers = []

    async def call():
        answers.append(await ask())

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        registry.disable()
        gate.set()

    assert answers == ["later"]


@pytest.mark.parametrize("first_ends_first", [True, False])
async def test_overlapping_blocks_hold_until_the_last_has_ended_and_then_all_is_as_ever(registry, first_ends_first):
    ask = degrade_to("later", name="d", registry=registry)(scripted(*[OSError("refused")] * 3))
    opened = [registry.disabled(), registry.disabled()]
    for block in opened:
        block.__enter__()
    for block in opened if first_ends_first else reversed(opened):
        with pytest.raises(OSError, match="refused"):
            await ask()
        block.__exit__(None, None, None)

    assert await ask() == "later"


async def test_blocks_of_several_kinds_may_overlap(registry):
    ask = classified_retry("r", max_attempts=3, registry=registry)(scripted(*[ConnectionError()] * 9))
    once, off, twice = registry.testing(attempts=1), registry.disabled(), registry.testing(attempts=2)
    for block in (once, off, twice):
        block.__enter__()
    once.__exit__(None, None, None)
    with pytest.raises(ConnectionError):
        await ask()
    off.__exit__(None, None, None)
    with pytest.raises(AIServiceError) as caught:
        await ask()
    twice.__exit__(None, None, None)

    assert caught.value.attempts == 2
    with registry.testing(attempts=1), pytest.raises(AIServiceError) as caught:
        await ask()
    assert caught.value.attempts == 1


async def test_of_a_block_and_a_switch_inside_it_the_switch_stays(registry):
    ask = degrade_to("later", name="d", registry=registry)(scripted(*[OSError("refused")] * 3))
    with registry.disabled():
        registry.enable()

        assert await ask() == "later"
        registry.disable()
    with pytest.raises(OSError, match="refused"):
        await ask()
    registry.enable()

    assert await ask() == "later"


async def test_observers_from_many_threads_all_see_the_calls(registry):
    ask = circuit_breaker("c", registry=registry)(scripted("answer"))
    seen = set()

    class Looker:
        def wants(self, _stack):
            return True

        def call(self, _call_site, handler):
            seen.add(self)
            return handler

        def attempt(self, _call_site, _endpoint, handler):
            return handler

    def observe():
        for _ in range(100):
            registry.observe(Looker())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=observe) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    await ask()

    assert len(seen) == 400


def test_an_environment_variable_switches_the_default_registry_off():
    code = (
        "import asyncio\n"
        "from resilient_ai import degrade_to, registry\n"
        "@degrade_to('later')\n"
        "async def ask(): raise OSError('refused')\n"
        "try: print(asyncio.run(ask()))\n"
        "except OSError: print('straight')\n"
    )

    def said(value):
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "RESILIENT_AI_DISABLED": value},
        ).stdout.split()[-1]

    assert [said("1"), said("0"), said("")] == ["straight", "later", "later"]


# -- isolated


async def test_what_was_decorated_at_import_starts_afresh_inside_and_is_as_it_was_afterwards():
    outside = resilient_ai.registry.circuit_breakers
    before = {name: repr(handle.stats()) for name, handle in outside.items() if name.startswith(("method", "of_class"))}
    service, lost = Service(), ConnectionError("refused")
    for _ in range(2):
        with isolated_registry() as inner:
            with pytest.raises(ConnectionError):
                await Service.of_class(lost)
            with pytest.raises(CircuitOpenError):
                await Service.of_class()
            with pytest.raises(ConnectionError):
                await Service.static(lost)
            with pytest.raises(CircuitOpenError):
                await Service.static()

            assert await service.ask() == await KEPT() == "us"
            assert inner.circuit_breakers["method[us]"].stats().total_calls == 2
            assert "open" in repr(describe(Service.of_class))

    assert {name: repr(outside[name].stats()) for name in before} == before
    assert await Service.of_class() == "Service"
    assert await Service.static() == "static"


async def test_inside_the_tests_clock_counts_for_functions_that_were_there_before():
    clock = VirtualClock()
    with isolated_registry(clock=clock):
        async with clock.autojump():
            assert await function([ConnectionError(), ConnectionError()]) == "answer"

    assert clock.now() == 18.0


async def test_inside_nothing_is_told_to_the_listeners_outside_and_chance_repeats():
    heard = []
    unsubscribe = resilient_ai.registry.subscribe(heard.append)

    @classified_retry("chance", rules={ErrorType.NETWORK_ERROR: RetryRule(3, 9, 9)})
    async def ask(errors):
        if errors:
            raise errors.pop()

    times = []
    for _ in range(2):
        clock = VirtualClock()
        with isolated_registry(clock=clock, seed=3):
            async with clock.autojump():
                await ask([ConnectionError(), ConnectionError()])
        times.append(clock.now())
    unsubscribe()

    assert times[0] == times[1] > 0
    assert heard == []


async def test_isolations_nest_and_end_in_any_case():
    with isolated_registry() as outer:
        with pytest.raises(LookupError), isolated_registry() as inner:
            await Service.of_class()
            raise LookupError
        await Service.of_class()
        await Service.of_class()

        assert inner.circuit_breakers["of_class"].stats().total_calls == 1
        assert outer.circuit_breakers["of_class"].stats().total_calls == 2


# -- testing


async def test_in_a_test_there_is_no_waiting_and_no_more_attempts_than_told(registry, clock):
    lost = [ConnectionError() for _ in range(9)]
    ask = classified_retry("r", rules={ErrorType.NETWORK_ERROR: RetryRule(5, 9, 9)}, registry=registry)(scripted(*lost))
    for attempts in (1, 3):
        with registry.testing(attempts=attempts), pytest.raises(AIServiceError) as caught:
            await ask()

        assert caught.value.attempts == attempts
    assert clock.now() == 0
    assert registry.retries["r"].stats().calls == 2


async def test_in_a_test_circuits_and_limits_admit_all_and_batches_leave_at_once(registry, clock):
    broken = circuit_breaker("c", failure_threshold=1, registry=registry)(scripted(*[OSError("down")] * 4))
    registry.circuit_breakers["c"].force_open()
    limited = adaptive_limit("l", initial=1, max_limit=1, registry=registry)(scripted("a", "b", "c"))

    @batched("b", batch_timeout=60, registry=registry)
    async def embed(texts):
        return texts

    with registry.testing():
        for _ in range(3):
            with pytest.raises(OSError, match="down"):
                await broken()
        assert await embed("x") == "x"
        assert await limited() == "a"
    with pytest.raises(CircuitOpenError):
        await broken()
    assert clock.now() == 0


async def test_in_a_test_failover_and_fallbacks_act_as_always(registry):
    @degrade_to("later", name="d", registry=registry)
    @classified_retry("r", registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), name="f", strategy="priority", registry=registry)
    @circuit_breaker("c", registry=registry)
    async def ask(endpoint, broken):
        if endpoint.name in broken:
            raise ProviderError("model_overloaded")
        return endpoint.name

    with registry.testing():
        assert await ask(["us"]) == "eu"
        assert await ask(["us", "eu"]) == "later"
    assert registry.degradations["d"].stats().degraded == 1


def test_a_test_makes_at_least_one_attempt(registry):
    with pytest.raises(ValueError, match="attempts must be at least 1, got 0"):
        registry.testing(attempts=0)
