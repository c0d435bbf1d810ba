"""While there is room, calls of a quota of requests go one short way; what they do and count is the same."""

from __future__ import annotations

from threading import RLock

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    AllEndpointsFailedError,
    Endpoint,
    LimitReachedError,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    failover,
    rate_limit,
)
from resilient_ai._rate_limit.config import RateLimitConfig
from resilient_ai._rate_limit.quota import Quota
from tests.helpers import scripted
from tests.rate_limit.support import Answer, TooFastError


def stats(registry):
    return registry.rate_limits["quick"].stats()


def limited(registry, function, **settings):
    return rate_limit("quick", requests_per_minute=600, burst=1, registry=registry, **settings)(function)


async def test_no_more_calls_go_through_than_the_bucket_holds(registry, clock):
    ask = limited(registry, scripted(*["answer"] * 100), max_wait=0)
    through = []
    for _ in range(200):
        clock.advance(0.01)
        try:
            await ask()
        except LimitReachedError:
            continue
        through.append(clock.now())

    assert 28 <= len(through) <= 30  # ten at once, and ten a second
    assert stats(registry).ok == len(through)


async def test_after_a_quiet_time_the_bucket_is_full_and_no_fuller(registry, clock):
    ask = limited(registry, scripted(*["answer"] * 100), max_wait=0)
    for _ in range(3):
        await ask()
    clock.advance(100)
    through = 0
    with pytest.raises(LimitReachedError):
        for _ in range(30):
            await ask()
            through += 1

    assert through == 10


def test_a_full_bucket_gains_nothing_from_calls_that_nobody_has_looked_at():
    quota, lock = Quota(RateLimitConfig(requests_per_minute=600, burst=5), 0.0), RLock()
    assert quota.enter(0.0, 10.0)
    for _ in range(49):
        assert quota.enter_quickly(10.2, lock)

    assert quota.enter(0.0, 10.2)
    assert not quota.enter(0.0, 10.2)  # fifty at once, and no more
    assert quota.enter(0.0, 10.31)


@pytest.mark.parametrize(
    ("error", "left", "failed"), [(ConnectionRefusedError("nobody"), 8, 0), (ValueError("a bug"), 7, 1)]
)
async def test_an_error_is_settled_as_it_always_is(registry, error, left, failed):
    ask = limited(registry, scripted("answer", "answer", error))
    await ask()
    await ask()
    with pytest.raises(type(error)):
        await ask()

    assert (stats(registry).requests_left, stats(registry).failed) == (left, failed)


async def test_a_refusal_stops_the_calls_behind_it(registry, clock):
    ask = limited(registry, scripted("answer", "answer", TooFastError(5.0), "answer"))
    await ask()
    await ask()
    with pytest.raises(TooFastError):
        await ask()
    async with clock.autojump():
        await ask()

    assert clock.now() >= 5
    assert stats(registry).factor < 1


async def test_headers_of_an_answer_are_heard(registry):
    little = Answer(headers={"x-ratelimit-remaining-requests": "2", "x-ratelimit-limit-requests": "600"})
    ask = limited(registry, scripted("answer", "answer", little))
    for _ in range(3):
        await ask()

    assert stats(registry).requests_left == 2


async def test_a_caller_who_leaves_is_nobody_s_failure(registry):
    calls = []

    async def call():
        calls.append(1)
        if len(calls) == 3:
            await anyio.sleep_forever()

    ask = limited(registry, call)
    await ask()
    await ask()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert (stats(registry).neutral, stats(registry).failed) == (1, 0)


async def test_a_stream_is_held_until_it_ends(registry):
    async def items():
        yield "one"
        yield "two"

    async def call():
        return items()

    ask = limited(registry, call)
    for _ in range(2):
        assert [item async for item in await ask()] == ["one", "two"]
    stream = await ask()
    before = stats(registry).ok
    assert [item async for item in stream] == ["one", "two"]

    assert (before, stats(registry).ok) == (2, 3)


async def test_what_is_above_and_below_counts_its_calls_too(registry):
    ask = classified_retry("quick", registry=registry)(
        limited(registry, circuit_breaker("quick", registry=registry)(scripted(*["answer"] * 4)))
    )
    for _ in range(4):
        assert await ask() == "answer"

    assert stats(registry).ok == 4
    assert registry.retries["quick"].stats().calls == 4
    assert registry.circuit_breakers["quick"].stats().total_calls == 4


async def test_below_a_choice_among_endpoints_each_has_a_quota_of_its_own(registry):
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @rate_limit("quick", requests_per_minute=600, burst=1, max_wait=0, registry=registry)
    @circuit_breaker("quick", registry=registry)
    async def ask(endpoint):
        return endpoint.name

    answers = [await ask() for _ in range(20)]

    assert (answers.count("us"), answers.count("eu")) == (10, 10)
    assert [each.stats().ok for each in registry.rate_limits.values()] == [10, 10]
    with pytest.raises(AllEndpointsFailedError):
        await ask()


async def test_a_limit_below_is_not_passed_by(registry):
    calls = []

    async def call():
        calls.append(1)
        if len(calls) == 3:
            await anyio.sleep_forever()

    below = adaptive_limit("quick", initial=1, max_limit=1, max_wait=0, registry=registry)(call)
    ask = limited(registry, below)
    await ask()
    await ask()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitReachedError):
            await ask()
        tasks.cancel_scope.cancel()

    assert len(calls) == 3


async def test_an_open_circuit_below_takes_nothing_out_of_the_quota(registry):
    ask = limited(registry, circuit_breaker("quick", registry=registry)(scripted(*["answer"] * 4)))
    await ask()
    await ask()
    registry.circuit_breakers["quick"].force_open()
    left = stats(registry).requests_left
    with pytest.raises(Exception, match="circuit 'quick'"):
        await ask()

    assert stats(registry).requests_left == left


async def test_who_comes_later_does_not_overtake_those_in_line(registry, clock):
    order = []

    async def call(number):
        order.append(number)

    ask = limited(registry, call)
    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(15):
            tasks.start_soon(ask, number)
            while len(order) + stats(registry).waiting <= number:
                await anyio.lowlevel.checkpoint()
        clock.advance(0.1)  # there is room for one more, and who waits for it has not run yet
        await ask(15)

    assert order == list(range(16))
