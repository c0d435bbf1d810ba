"""A clock that has `now` and `sleep` and nothing else works with every policy's defaults, on both backends."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilient_ai import (
    AIServiceError,
    CallTimeoutError,
    Endpoint,
    LimitReachedError,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    rate_limit,
)
from resilient_ai.events import Degraded
from resilient_ai.testing import VirtualClock


class PlainClock:
    """Virtual time without scopes of its own."""

    def __init__(self):
        self.inner = VirtualClock()

    def now(self):
        return self.inner.now()

    async def sleep(self, seconds):
        await self.inner.sleep(seconds)


@pytest.fixture
def plain():
    return PlainClock()


@pytest.fixture
def registry(plain):
    return Registry(clock=plain, listeners=())


async def test_the_default_timeout_of_a_circuit_ends_a_call_that_hangs(plain, registry):
    @circuit_breaker(registry=registry)
    async def ask():
        await plain.sleep(math.inf)

    async with plain.inner.autojump():
        with pytest.raises(CallTimeoutError, match="30"):
            await ask()

    assert plain.now() == 30
    assert registry.circuit_breakers[f"{ask.__qualname__}"].stats().total_failures == 1


async def test_a_call_that_ends_in_time_leaves_nobody_sleeping(plain, registry):
    @circuit_breaker(registry=registry)
    async def ask():
        return "pong"

    for _ in range(50):
        assert await ask() == "pong"
    for _ in range(5):
        await checkpoint()

    assert plain.inner.next_due == math.inf


async def test_a_stream_that_shows_life_waits_anew_and_one_that_does_not_ends(plain, registry):
    @circuit_breaker(timeout_seconds=5, idle_timeout_seconds=2, registry=registry)
    async def stream():
        yield 1
        await plain.sleep(1.5)
        yield 2
        await plain.sleep(math.inf)

    seen = []
    async with plain.inner.autojump():
        with pytest.raises(CallTimeoutError):
            async for item in stream():
                seen.append(item)  # noqa: PERF401 - it ends with an error

    assert seen == [1, 2]
    assert plain.now() == 3.5


async def test_retries_and_failover_wait_on_it(plain, registry):
    calls = 0

    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(endpoint):
        nonlocal calls
        calls += 1
        if calls < 5:
            raise ConnectionError
        return endpoint.name

    async with plain.inner.autojump():
        assert await ask() in ("us", "eu")

    assert calls == 5


async def test_a_hanging_health_check_is_given_up(plain, registry):
    began = 0

    async def check(_endpoint):
        nonlocal began
        began += 1
        await plain.sleep(math.inf)

    @failover(Endpoint("us"), health_check=check, registry=registry)
    async def ask(_endpoint):
        raise ConnectionError

    async with plain.inner.autojump():
        for _ in range(4):
            with pytest.raises(Exception, match="us"):
                await ask()
            await plain.sleep(60)

    assert began >= 2


async def test_a_caller_waits_for_a_permit_no_longer_than_it_may(plain, registry):
    @adaptive_limit(initial=1, max_limit=1, max_wait=3, registry=registry)
    async def ask():
        await plain.sleep(100)

    async with plain.inner.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await plain.sleep(1)
        with pytest.raises(LimitReachedError):
            await ask()
        refused_at = plain.now()
        tasks.cancel_scope.cancel()

    assert refused_at <= 4


async def test_a_caller_waits_for_its_turn_under_a_quota(plain, registry):
    @rate_limit(requests_per_minute=1, registry=registry)
    async def ask():
        return plain.now()

    async with plain.inner.autojump():
        answers = [await ask(), await ask()]

    assert answers[1] >= 30


async def test_a_batch_leaves_when_its_time_is_over(plain, registry):
    @batched(batch_size=10, batch_timeout=0.5, registry=registry)
    async def double(items):
        return [2 * each for each in items]

    found = []

    async def one(item):
        found.append(await double(item))

    async with plain.inner.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(one, 1)
        tasks.start_soon(one, 2)

    assert sorted(found) == [2, 4]
    assert plain.now() == 0.5


async def test_a_rung_that_hangs_is_given_up(plain):
    events = []
    registry = Registry(clock=plain, listeners=(events.append,))

    async def hangs(_call):
        await plain.sleep(math.inf)

    @degrade_to(hangs, "sorry", registry=registry)
    @classified_retry(max_attempts=1, registry=registry)
    async def ask():
        raise ConnectionError

    async with plain.inner.autojump():
        assert await ask() == "sorry"

    assert any(isinstance(each, Degraded) for each in events)


async def test_a_clock_that_cannot_sleep_is_told_of_and_breaks_no_call(plain, registry, caplog):
    class Broken(PlainClock):
        async def sleep(self, seconds):
            raise OSError("no timer")

    @circuit_breaker(registry=Registry(clock=Broken(), listeners=()))
    async def ask():
        for _ in range(5):
            await checkpoint()
        return "pong"

    assert await ask() == "pong"
    assert "clock_failed" in caplog.text


async def test_retries_that_are_over_say_so(plain, registry):
    @classified_retry(registry=registry)
    async def ask():
        raise ConnectionError

    async with plain.inner.autojump():
        with pytest.raises(AIServiceError):
            await ask()
