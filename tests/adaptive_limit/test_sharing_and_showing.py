"""Call sites share a limit, and it shows what it does."""

from __future__ import annotations

import threading

import anyio
import pytest

from resilient_ai import LimitReachedError, Registry, StackOrderWarning, adaptive_limit, classified_retry, describe
from resilient_ai._adaptive_limit.events import LimitLowered
from resilient_ai.events import CallRejected
from tests.adaptive_limit.support import BusyError, TooFastError, fail


def test_loops_in_threads_share_places_and_the_line(anyio_backend):
    registry = Registry(listeners=())
    lock, under_way, most, done = threading.Lock(), [0], [0], []

    @adaptive_limit("threads", initial=2, max_limit=2, registry=registry)
    async def ask(number):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        await anyio.sleep(0.001)
        with lock:
            under_way[0] -= 1
        return number

    async def main():
        async def one(number):
            done.append(await ask(number))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)

    threads = [threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": anyio_backend}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    stats = registry.limits["threads"].stats()

    assert len(done) == 80
    assert most[0] == 2
    assert (stats.in_flight, stats.waiting, stats.refused) == (0, 0, 0)


def test_a_second_run_finds_what_the_first_has_learnt(anyio_backend, registry, provider):
    ask = adaptive_limit("runs", registry=registry)(provider)
    provider.errors = [BusyError()]
    anyio.run(fail, ask, BusyError, backend=anyio_backend)
    provider.seconds = 0.0

    assert anyio.run(ask, 7, backend=anyio_backend) == 7
    assert registry.limits["runs"].stats().limit == 10


async def test_events_tell_when_it_sends_less_and_whom_it_turns_away(registry, events, provider):
    ask = adaptive_limit("told", initial=20, max_wait=0, registry=registry)(provider)
    provider.errors = [BusyError(), TooFastError(100.0)]
    await fail(ask, BusyError)
    await fail(ask, TooFastError)
    await fail(ask, LimitReachedError)
    lowered, paced, rejected = events

    assert lowered == LimitLowered("told", "overloaded", 10, None)
    assert isinstance(paced, LimitLowered)
    assert (paced.reason, paced.limit) == ("rate limit", 10)
    assert paced.rate is not None
    assert rejected == CallRejected("told", "limit_reached", pytest.approx(100.0))


async def test_the_table_shows_places_line_and_pace(registry, provider):
    ask = adaptive_limit("shown", initial=4, registry=registry)(provider)
    provider.errors = [TooFastError(1.0)]
    await fail(ask, TooFastError)
    row = registry.limits["shown"].row()

    assert (row.policy, row.state, row.calls, row.failed) == ("adaptive_limit", "0 of 4, 0.7 a second", 1, 1)
    assert "'shown' 0 of 4" in repr(registry.limits["shown"])
    assert "adaptive_limit" in repr(describe(ask))


async def test_reset_forgets_what_was_learnt_and_lets_those_in_line_in(registry, provider, clock):
    ask = adaptive_limit("reset", initial=4, registry=registry)(provider)
    provider.errors = [TooFastError(50.0)]
    provider.seconds = 0.0
    await fail(ask, TooFastError)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert registry.limits["reset"].stats().waiting == 1
        registry.reset()
    stats = registry.limits["reset"].stats()

    assert (stats.waiting, stats.ok, stats.rate) == (0, 1, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_limit": 0}, "min_limit must be an integer of at least 1, got 0"),
        ({"initial": 2000}, "initial must be an integer of at least 1 up to 1000, got 2000"),
        ({"max_limit": 2.5}, "max_limit must be an integer"),
        ({"max_wait": -1}, "max_wait must be a number of at least 0 or None, got -1"),
        ({"max_queue_size": -1}, "max_queue_size must be an integer of at least 0"),
        ({"pace": 1}, "pace must be True or False, got 1"),
    ],
)
def test_bad_settings_are_refused_at_decoration(registry, settings, message):
    with pytest.raises(ValueError, match=message):
        adaptive_limit(registry=registry, **settings)


def test_a_retry_below_it_is_the_wrong_order(registry):
    async def ask(): ...

    with pytest.warns(StackOrderWarning, match="holds its place while a retry sleeps"):
        adaptive_limit(registry=registry)(classified_retry(registry=registry)(ask))


def test_it_works_bare():
    @adaptive_limit
    async def ask() -> int:
        return 7

    assert anyio.run(ask) == 7
