"""Who is sent at once, who waits, and who is turned away."""

from __future__ import annotations

import math

import anyio
import pytest

from resilient_ai import AIServiceError, LimitReachedError, classified_retry, rate_limit
from resilient_ai.events import CallRejected
from tests.rate_limit.simulation import Simulation, World
from tests.rate_limit.support import at_once


async def test_calls_within_the_burst_go_at_once_and_the_others_at_the_rate(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=60, burst=2, registry=registry)(provider)

    await at_once(ask, range(5), clock)

    assert provider.times == pytest.approx([0, 0, 1, 2, 3])


async def test_a_quiet_service_saves_up_no_more_than_the_burst(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=60, burst=2, registry=registry)(provider)
    clock.advance(3600)

    await at_once(ask, range(4), clock)

    assert [when - 3600 for when in provider.times] == pytest.approx([0, 0, 1, 2])


async def test_who_comes_first_is_served_first(registry, clock, provider):
    ask = rate_limit("q", tokens_per_minute=600, burst=1, cost=lambda tokens: tokens, registry=registry)(provider)

    await at_once(ask, [10, 40, 1, 2, 3], clock)  # the second needs more than there is; the small ones do not overtake

    assert [asked for asked, _ in provider.calls] == [10, 40, 1, 2, 3]


async def test_a_cancelled_caller_leaves_the_line_to_the_next(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=6, burst=10, registry=registry)(provider)
    await ask("first")

    async with anyio.create_task_group() as tasks:
        leaving = anyio.CancelScope()

        async def impatient():
            with leaving:
                await ask("impatient")

        tasks.start_soon(impatient)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, "next")
        await anyio.wait_all_tasks_blocked()
        leaving.cancel()
        await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            await clock.sleep(11)

    assert provider.calls == [("first", 0), ("next", pytest.approx(10))]
    assert registry.rate_limits["q"].stats().waiting == 0


async def test_a_caller_whose_deadline_comes_first_is_turned_away_at_once(registry, clock, provider, events):
    ask = rate_limit("q", requests_per_minute=6, burst=10, registry=registry)(provider)
    await ask()

    with pytest.raises(LimitReachedError) as refused, anyio.move_on_after(9):
        await ask()

    assert clock.now() == 0
    assert refused.value.retry_after == pytest.approx(10)
    assert str(refused.value) == (
        "limit 'q' cannot serve the call in time: 6 requests a minute, 0 in the queue; ask again in 10.0 s"
    )
    assert [(each.name, each.reason) for each in events if isinstance(each, CallRejected)] == [("q", "limit_reached")]


async def test_a_deadline_must_hold_the_answer_as_well(registry, clock, provider):
    provider.seconds = 8.0
    ask = rate_limit("q", requests_per_minute=6, burst=10, registry=registry)(provider)
    async with clock.autojump():
        await ask()
        clock.advance(2)  # it was sent 10 seconds ago: the next may go
        await ask()

    with pytest.raises(LimitReachedError), anyio.move_on_after(5):
        await ask()  # its turn would come in 2 seconds, and an answer takes 8


async def test_nobody_waits_longer_than_max_wait(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=60, burst=1, max_wait=2.5, registry=registry)(provider)

    outcomes = await at_once(ask, range(6), clock)

    assert [type(each) is LimitReachedError for each in outcomes] == [False, False, False, True, True, True]
    assert provider.times == pytest.approx([0, 1, 2])


async def test_a_caller_without_a_deadline_waits_for_a_minute_at_most(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=2, burst=30, registry=registry)(provider)

    outcomes = await at_once(ask, range(4), clock)

    assert [type(each) is LimitReachedError for each in outcomes] == [False, False, False, True]


async def test_a_call_bigger_than_a_minute_is_turned_away_and_nobody_retries_it(registry, clock, provider):
    limited = rate_limit("q", tokens_per_minute=600, cost=lambda tokens: tokens, registry=registry)(provider)
    ask = classified_retry(registry=registry)(limited)

    with pytest.raises(AIServiceError) as gave_up:
        await ask(601)
    refused = gave_up.value.original_error

    assert isinstance(refused, LimitReachedError)
    assert (refused.retry_after, gave_up.value.attempts, clock.now()) == (None, 1, 0)
    assert str(refused) == (
        "the call needs about 601 tokens, more than the 600 a minute of limit 'q';"
        " make it smaller, or raise tokens_per_minute="
    )


async def test_a_call_of_less_than_a_minute_waits_for_a_full_bucket_and_the_next_for_what_it_took(
    registry, clock, provider
):
    ask = rate_limit("q", tokens_per_minute=600, burst=5, cost=lambda tokens: tokens, registry=registry)(provider)

    await at_once(ask, [50, 300, 10], clock)

    assert provider.times == pytest.approx([0, 5, 31])  # 300 tokens leave 250 to be made up for


async def test_a_full_line_turns_callers_away(registry, clock, provider):
    ask = rate_limit("q", requests_per_minute=60, burst=1, max_queue_size=1, registry=registry)(provider)

    outcomes = await at_once(ask, range(4), clock)

    assert [type(each) is LimitReachedError for each in outcomes] == [False, False, True, True]


async def test_whoever_is_turned_away_comes_back_in_time_by_a_retry(registry, clock, provider):
    limited = rate_limit("q", requests_per_minute=12, burst=5, max_wait=0, registry=registry)(provider)
    ask = classified_retry(registry=registry)(limited)
    await ask("first")

    async with clock.autojump():
        with anyio.move_on_after(math.inf):
            await ask("second")

    assert provider.calls[1][0] == "second"
    assert 5 <= provider.calls[1][1] < 8


def test_the_quota_is_used_and_kept_when_more_is_asked_than_it_has():
    busy = Simulation(World(demand=1.5, seconds=15.0)).run()

    assert max(busy.used) > 0.98
    assert busy.refused_share < 0.002


def test_hardly_anybody_waits_when_less_is_asked_than_the_quota_has():
    calm = Simulation(World(demand=0.9, seconds=15.0)).run()

    assert calm.wait(0.99) < 0.02
    assert calm.turned_away == 0
    assert calm.refused_share == 0


def test_others_who_use_the_same_quota_are_met_softly():
    shared = Simulation(World(demand=1.5, foreign=0.3, seconds=15.0)).run()

    assert max(shared.used) > 0.95
    assert shared.refused_share < 0.01


def test_callers_are_served_in_the_order_in_which_they_came():
    busy = Simulation(World(demand=1.2, window=60.0, seconds=10.0)).run()

    assert busy.provider.refused == 0  # or they would come again
    assert busy.order == sorted(busy.order)
