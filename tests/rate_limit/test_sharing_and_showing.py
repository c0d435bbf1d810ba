"""One quota for several call sites, one for each endpoint, and what people see of it."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a loop that is closed with a task in it is asyncio's alone
import gc
import re
import threading

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    Endpoint,
    ErrorType,
    LimitReachedError,
    Registry,
    classified_retry,
    describe,
    failover,
    rate_limit,
)
from resilient_ai.types import SystemClock
from resilient_ai.web import http_status
from tests.helpers import scripted


async def test_call_sites_of_one_name_share_one_quota(registry):
    settings = {"requests_per_minute": 60, "burst": 1, "max_wait": 0, "registry": registry}
    first, second = (rate_limit("q", **settings)(scripted("answer")) for _ in range(2))
    await first()

    with pytest.raises(LimitReachedError):
        await second()


@pytest.mark.parametrize(("number", "shown"), [(2_000_000, "2,000,000"), (1_234_567, "1,234,567"), (0.5, "0.5")])
def test_numbers_are_shown_in_full(registry, number, shown):
    rate_limit("q", tokens_per_minute=number, registry=registry)(scripted("answer"))

    assert registry.rate_limits["q"].row().state == f"0% of {shown} tokens a minute"


def test_one_name_with_other_numbers_is_an_error(registry):
    rate_limit("q", requests_per_minute=60, registry=registry)(scripted("answer"))

    with pytest.raises(ValueError, match=r"requests_per_minute 60 there, 90 here"):
        rate_limit("q", requests_per_minute=90, registry=registry)(scripted("answer"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "rate_limit needs a number to keep"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a number above 0 or None, got 0"),
        ({"tokens_per_minute": -5}, "tokens_per_minute must be a number above 0"),
        ({"requests_per_minute": 60, "max_wait": -1}, "max_wait must be a number of at least 0 or None"),
        ({"requests_per_minute": 60, "burst": 0}, "burst must be a number above 0 up to 60"),
        ({"requests_per_minute": 60, "burst": 61}, "burst must be a number above 0 up to 60"),
        ({"requests_per_minute": 60, "max_queue_size": 1.5}, "max_queue_size must be an integer"),
        ({"tokens_per_minute": 60, "cost": "much"}, "cost must be a function of the call's arguments"),
        ({"tokens_per_minute": 60, "cost": -1}, "cost must be a function of the call's arguments"),
        ({"tokens_per_minute": 60, "cost": scripted(5)}, "cost must be a plain function, got async def"),
        ({"tokens_per_minute": 60, "name": ""}, "name of a rate_limit must be a non-empty string"),
    ],
)
def test_bad_settings_are_errors_at_decoration(registry, settings, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        rate_limit(**settings, registry=registry)(scripted("answer"))


@pytest.mark.parametrize("settings", [{"requests_per_minute": 6}, {"tokens_per_minute": 600, "cost": 100}])
async def test_what_a_call_gives_back_after_a_minute_makes_the_use_no_less_than_nothing(registry, clock, settings):
    @rate_limit("q", **settings, registry=registry)
    async def ask():
        clock.advance(60)
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await ask()

    assert registry.rate_limits["q"].stats().used == 0


async def test_below_a_failover_each_endpoint_has_a_quota_of_its_own(registry):
    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    @rate_limit("q", requests_per_minute=60, burst=1, max_wait=0, registry=registry)
    async def ask(endpoint):
        return endpoint.name

    assert [await ask(), await ask()] == ["us", "eu"]  # a full quota moves the call on, and is no endpoint's fault
    assert set(registry.rate_limits) == {"q[us]", "q[eu]"}
    assert registry.endpoints["us"].stats().failures == 0


async def test_an_endpoint_s_own_numbers_replace_those_of_the_decorator(registry):
    us = Endpoint("us", requests_per_minute=120)
    eu = Endpoint("eu", tokens_per_minute=5000)

    @failover(us, eu, registry=registry)
    @rate_limit("q", requests_per_minute=60, registry=registry)
    async def ask(endpoint):
        return endpoint.name

    numbers = {
        name: (each.stats().requests_per_minute, each.stats().tokens_per_minute)
        for name, each in registry.rate_limits.items()
    }

    assert numbers == {"q[us]": (120, None), "q[eu]": (60, 5000)}
    assert {await ask(), await ask()} == {"us", "eu"}


def test_a_number_of_an_endpoint_that_is_none_is_an_error(registry):
    with pytest.raises(ValueError, match="requests_per_minute of endpoint 'us' must be a number above 0"):

        @failover(Endpoint("us", requests_per_minute="many"), registry=registry)
        @rate_limit(requests_per_minute=60, registry=registry)
        async def ask(endpoint):
            return endpoint.name


async def test_the_table_and_the_description_show_how_it_is_doing(registry, clock):
    @rate_limit(requests_per_minute=60, tokens_per_minute=6000, cost=100, registry=registry)
    async def ask():
        return "answer"

    await ask()
    await ask()
    handle = next(iter(registry.rate_limits.values()))

    assert handle.row().state == "3% of 60 requests and 6,000 tokens a minute"
    assert "rate_limit" in repr(registry)
    assert "3% of 60 requests" in repr(describe(ask))
    assert repr(handle).endswith("a minute: 2 calls, 0 failed>")
    assert registry.as_dict()["rate_limit"][handle.name]["calls"] == 2


async def test_the_row_tells_of_callers_in_line_and_raises_the_alarm(registry, clock):
    ask = rate_limit("q", requests_per_minute=60, burst=1, registry=registry)(scripted("answer"))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
        row = registry.rate_limits["q"].row()
        tasks.cancel_scope.cancel()

    assert row.state.endswith("2 waiting")
    assert row.alarm


async def test_a_reset_fills_the_buckets_and_serves_who_waits(registry, clock):
    ask = rate_limit("q", requests_per_minute=60, burst=1, registry=registry)(scripted("answer"))
    await ask()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        registry.reset()

    assert clock.now() == 0
    assert registry.rate_limits["q"].stats().ok == 1


async def test_in_tests_of_a_program_nobody_waits(registry):
    ask = rate_limit("q", requests_per_minute=60, burst=1, max_wait=0, registry=registry)(scripted("answer"))

    with registry.testing():
        assert [await ask() for _ in range(5)] == ["answer"] * 5


def test_threads_with_loops_of_their_own_share_one_quota():
    registry = Registry(listeners=())
    served = []

    @rate_limit("q", requests_per_minute=6000, burst=0.01, registry=registry)
    async def ask(number):
        served.append(number)

    def run(first):
        async def main():
            async with anyio.create_task_group() as tasks:
                for number in range(first, first + 10):
                    tasks.start_soon(ask, number)

        anyio.run(main)

    threads = [threading.Thread(target=run, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(served) == list(range(30))
    assert registry.rate_limits["q"].stats().ok == 30


class StoppedClock(SystemClock):
    """Time passes only when it is told to, but scopes are the event loop's own, which may be closed."""

    time = 0.0

    def now(self):
        return self.time


def test_callers_of_a_closed_loop_hold_nobody_up(anyio_backend):
    clock = StoppedClock()
    registry = Registry(clock=clock, listeners=())
    ask = rate_limit("q", requests_per_minute=60, burst=1, registry=registry)(scripted("answer"))
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending!"

    async def leave_somebody_waiting():
        await ask()
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(leave_somebody_waiting())
    waiting = registry.rate_limits["q"].stats().waiting
    loop.close()
    clock.time = 1.0

    assert waiting == 1
    assert registry.rate_limits["q"].stats().waiting == 0
    assert anyio.run(ask, backend=anyio_backend) == "answer"
    del task, loop
    gc.collect()


async def test_the_numbers_can_be_changed_while_calls_wait(registry, clock):
    ask = rate_limit("q", requests_per_minute=60, burst=1, registry=registry)(scripted("answer"))
    await ask()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        registry.configure({"q": {"rate_limit": {"requests_per_minute": None, "tokens_per_minute": 6000}}})
        await anyio.wait_all_tasks_blocked()
        stats = registry.rate_limits["q"].stats()

    assert (stats.ok, stats.waiting, clock.now()) == (2, 0, 0)
    assert (stats.requests_per_minute, stats.tokens_per_minute) == (None, 6000)


def test_an_endpoint_s_own_number_outlives_a_change_of_the_other(registry):
    @failover(Endpoint("us", requests_per_minute=120), registry=registry)
    @rate_limit("q", requests_per_minute=60, registry=registry)
    async def ask(endpoint):
        return endpoint.name

    registry.configure({"q*": {"rate_limit": {"requests_per_minute": 30, "tokens_per_minute": 6000}}})
    stats = registry.rate_limits["q[us]"].stats()

    assert (stats.requests_per_minute, stats.tokens_per_minute) == (120, 6000)


def test_the_last_number_cannot_be_taken_away(registry):
    ask = rate_limit("q", requests_per_minute=60, registry=registry)(scripted("answer"))

    with pytest.raises(ValueError, match="rate_limit of 'q': rate_limit needs a number to keep"):
        registry.configure({"q": {"rate_limit": {"requests_per_minute": None}}})
    assert registry.rate_limits["q"].stats().requests_per_minute == 60
    assert "60" in repr(describe(ask))


async def test_a_call_too_big_for_any_endpoint_s_minute_is_refused_as_without_failover(registry, clock):
    calls = scripted("answer")

    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @rate_limit("q", tokens_per_minute=100, cost=lambda endpoint: 5000, registry=registry)
    async def ask(endpoint):
        return await calls()

    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert (caught.value.attempts, clock.now(), calls.calls) == (1, 0, 0)
    assert isinstance(caught.value.original_error, LimitReachedError)
    assert "asked us, eu" in caught.value.original_error.__notes__[-1]
    assert http_status(caught.value) == (400, {})


async def test_an_endpoint_with_room_takes_a_call_too_big_for_another(registry):
    @failover(Endpoint("us", tokens_per_minute=100), Endpoint("eu"), strategy="priority", registry=registry)
    @rate_limit("q", tokens_per_minute=60_000, cost=lambda endpoint: 500, registry=registry)
    async def ask(endpoint):
        return endpoint.name

    assert await ask() == "eu"


async def test_a_call_too_big_for_one_endpoint_waits_for_the_other_one_which_rests(registry, clock):
    @failover(Endpoint("us", tokens_per_minute=100), Endpoint("eu"), strategy="priority", registry=registry)
    @rate_limit("q", tokens_per_minute=60_000, cost=lambda endpoint: 500, registry=registry)
    async def ask(endpoint):
        raise ConnectionError("refused")

    with pytest.raises(AllEndpointsFailedError) as caught:
        await ask()

    assert caught.value.error_type is ErrorType.NETWORK_ERROR
