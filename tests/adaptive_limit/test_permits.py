"""How many calls run at once, and who is next."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import Endpoint, LimitReachedError, adaptive_limit, failover, rate_limit
from resilient_ai._adaptive_limit.config import LimitConfig
from resilient_ai._adaptive_limit.state import Limit
from resilient_ai._core.event_loops import LoopUsage
from tests.adaptive_limit.support import BusyError, Gate, Provider, TooFastError, at_once, fail


async def test_no_more_calls_are_under_way_than_the_limit(registry, clock, provider):
    ask = adaptive_limit("few", initial=3, max_limit=3, registry=registry)(provider)
    answers = await at_once(ask, 10, clock)

    assert answers == list(range(10))
    assert provider.most == 3


async def test_those_in_line_are_served_first_come_first_served(registry, clock, provider):
    ask = adaptive_limit("line", initial=1, max_limit=1, registry=registry)(provider)
    await at_once(ask, 6, clock)

    assert [number for number, _ in provider.calls] == list(range(6))


async def test_the_limit_grows_while_its_places_are_used(registry, clock, provider):
    ask = adaptive_limit("growing", initial=2, registry=registry)(provider)
    await at_once(ask, 30, clock)

    assert registry.limits["growing"].stats().limit > 8


async def test_an_unused_limit_does_not_grow(registry, clock, provider):
    ask = adaptive_limit("idle", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(50):
            await ask()

    assert registry.limits["idle"].stats().limit == 20


async def test_an_overload_shrinks_it_and_answers_bring_it_back(registry, clock, provider):
    ask = adaptive_limit("overloaded", initial=20, registry=registry)(provider)
    provider.errors = [BusyError(), BusyError()]
    await fail(ask, BusyError)
    assert registry.limits["overloaded"].stats().limit == 10
    await fail(ask, BusyError)
    assert registry.limits["overloaded"].stats().limit == 5
    async with clock.autojump():
        for _ in range(60):
            await ask()

    assert registry.limits["overloaded"].stats().limit == 20


async def test_a_crowd_refused_together_is_one_setback(registry, provider):
    ask = adaptive_limit("crowd", initial=8, registry=registry)(gate := Gate(BusyError()))
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(fail, ask, BusyError)
        await anyio.wait_all_tasks_blocked()
        gate.opens.set()

    # The first of the eight is refused while seven are under way: 0.9 of these.
    assert registry.limits["crowd"].stats().limit == 6


async def test_a_provider_that_refuses_by_chance_keeps_the_places_that_it_takes(registry, clock, provider):
    ask = adaptive_limit("by-chance", initial=20, registry=registry)(provider)
    outcomes = []

    async def one(number):
        await clock.sleep(0.2 * number)  # five a second, a second each: five at a time are needed
        if number % 3 == 0:
            provider.errors = [BusyError()]
        try:
            outcomes.append(await ask(number))
        except BusyError:
            outcomes.append(None)

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(one, number)
        await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            while len(outcomes) < 200:
                await clock.sleep(1.0)

    assert 5 <= registry.limits["by-chance"].stats().limit <= 20


async def test_an_overload_does_not_take_what_was_taken_together_since_the_last(registry, clock, provider):
    ask = adaptive_limit("together", initial=20, max_limit=20, registry=registry)(provider)
    await at_once(ask, 15, clock)
    provider.errors = [BusyError()]
    await fail(ask, BusyError)

    assert registry.limits["together"].stats().limit == 15


async def test_timeouts_shrink_it(registry, provider):
    ask = adaptive_limit("timeouts", initial=20, registry=registry)(provider)
    provider.errors = [TimeoutError()]
    await fail(ask, TimeoutError)

    assert registry.limits["timeouts"].stats().limit == 18


@pytest.mark.parametrize("error", [ValueError("mine"), ConnectionError("reset")], ids=["mistake", "network"])
async def test_errors_that_say_nothing_about_load_leave_it_alone(registry, provider, error):
    ask = adaptive_limit("other", initial=20, registry=registry)(provider)
    provider.errors = [error]
    await fail(ask, type(error))
    stats = registry.limits["other"].stats()

    assert (stats.limit, stats.failed, stats.in_flight) == (20, 1, 0)


async def test_answers_far_slower_than_normal_shrink_it_by_half_at_most(registry, clock, provider):
    ask = adaptive_limit("slower", initial=20, max_limit=20, registry=registry)(provider)
    limits = []

    async def caller():
        for _ in range(8):
            await ask()
            limits.append(registry.limits["slower"].stats().limit)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(20):  # so many are always under way, so that the longer answers may be their own doing
            tasks.start_soon(caller)
        await clock.sleep(4.5)
        provider.seconds = 5.0

    assert 10 <= min(limits) <= 12


async def test_places_that_nobody_used_are_the_first_to_go(registry, clock, provider):
    """Three at a time were answered well: that the provider takes twenty, nobody knows."""
    ask = adaptive_limit("unused", initial=20, registry=registry)(provider)
    for _ in range(6):
        await at_once(ask, 3, clock)
    assert registry.limits["unused"].stats().limit == 20
    provider.seconds = 5.0
    await at_once(ask, 3, clock)

    assert registry.limits["unused"].stats().limit <= 3


async def test_a_provider_that_is_slower_for_good_gets_its_places_back(registry, clock, provider):
    """As few calls as in good times take as long as many: that is no queue, and shrinking it further helps nobody."""
    ask = adaptive_limit("slower for good", initial=20, registry=registry)(provider)
    await at_once(ask, 60, clock)
    provider.seconds = 3.0
    for _ in range(6):
        await at_once(ask, 20, clock)

    stats = registry.limits["slower for good"].stats()
    assert stats.normal_seconds == pytest.approx(3.0, rel=0.1)
    assert stats.limit >= 15


async def test_a_provider_that_refuses_everything_is_down_and_not_too_small(registry, clock, provider):
    ask = adaptive_limit("down", initial=20, registry=registry)(provider)
    await at_once(ask, 20, clock)
    for _ in range(5):
        provider.errors = [BusyError()]
        await fail(ask, BusyError)
        clock.advance(10)

    assert registry.limits["down"].stats().limit == 20


async def hung(ask, provider, clock, tasks, count):
    """So many calls that will not be answered for an hour, and all of them overdue."""
    provider.seconds = 3600.0
    for _ in range(count):
        tasks.start_soon(ask)
    await anyio.wait_all_tasks_blocked()
    clock.advance(10)


async def test_a_provider_that_fell_silent_is_asked_by_one_call_after_the_other(registry, clock, provider):
    ask = adaptive_limit("silent", initial=4, max_limit=4, registry=registry)(provider)
    await at_once(ask, 12, clock)
    async with anyio.create_task_group() as tasks:
        await hung(ask, provider, clock, tasks, 4)
        came = len(provider.calls)
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        asked = [len(provider.calls) - came]
        for _ in range(3):
            clock.advance(1.1)  # an answer took 1 s
            await anyio.wait_all_tasks_blocked()
            asked.append(len(provider.calls) - came)
        tasks.cancel_scope.cancel()

    assert asked == [1, 2, 3, 4]  # although every place is held by calls that hang


async def test_calls_that_hang_hold_up_nobody_when_the_provider_answers_again(registry, clock, provider):
    ask = adaptive_limit("back again", initial=4, max_limit=4, registry=registry)(provider)
    await at_once(ask, 12, clock)
    async with anyio.create_task_group() as tasks:
        await hung(ask, provider, clock, tasks, 4)
        provider.seconds = 1.0
        async with clock.autojump():
            await ask()
        came = len(provider.calls)
        for _ in range(4):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        stats = registry.limits["back again"].stats()
        asked = len(provider.calls) - came
        tasks.cancel_scope.cancel()

    assert (asked, stats.limit, stats.in_flight) == (4, 4, 8)
    assert registry.limits["back again"].stats().in_flight == 0


async def test_a_failover_does_not_wait_for_an_endpoint_that_fell_silent(registry, clock):
    providers = {name: Provider(clock) for name in ("us", "eu")}

    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    @adaptive_limit(registry=registry)
    async def ask(endpoint):
        await providers[endpoint.name]()
        return endpoint.name

    async with clock.autojump():
        for _ in range(20):
            await ask()
    async with anyio.create_task_group() as tasks:
        await hung(ask, providers["us"], clock, tasks, 4)
        tasks.start_soon(ask)  # it is asked again, by one
        await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            started = clock.now()
            answer = await ask()
            seconds = clock.now() - started
        tasks.cancel_scope.cancel()

    assert answer == "eu"
    assert seconds == pytest.approx(1.0)


async def test_calls_that_a_deadline_cut_are_known_to_be_slow(registry, clock, provider):
    """With two seconds' patience nobody ever sees how long three seconds are; that they are long is known."""
    ask = adaptive_limit("cut", initial=8, max_limit=8, registry=registry)(provider)
    await at_once(ask, 24, clock)
    provider.seconds = 3.0
    async with clock.autojump():
        for _ in range(20):
            with clock.move_on_after(1.9):
                await ask()

    assert 4 <= registry.limits["cut"].stats().limit < 8


async def test_a_line_that_does_not_get_shorter_turns_newcomers_away_sooner(registry, clock, provider):
    """Whoever waits for long in a line that stands is late, and so is everybody behind."""
    ask = adaptive_limit("standing", initial=1, max_limit=1, registry=registry)(provider)
    await at_once(ask, 12, clock)
    outcomes = []

    async def one():
        try:
            with anyio.fail_after(20):
                await ask()
            outcomes.append("answered")
        except LimitReachedError:
            outcomes.append("turned away")

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)  # a burst: ten seconds for the last one, of twenty
        await anyio.wait_all_tasks_blocked()
        burst = list(outcomes)
        for _ in range(5):
            clock.advance(1.0)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(one)  # as many come as are served: the line stands
            await anyio.wait_all_tasks_blocked()
        later = outcomes.count("turned away")
        async with clock.autojump():
            while len(outcomes) < 15:
                await clock.sleep(0.5)

    assert burst == []
    assert later == 1  # from the fifth second on, a quarter of twenty, nine seconds are too long
    assert outcomes.count("turned away") == 1


def test_a_provider_that_hangs_is_known_by_callers_who_leave_before_an_answer_would_be_slow():
    """Where answers vary by much, nobody waits for as long as a slow one takes."""
    limit, loop, now = Limit(LimitConfig()), LoopUsage(None), 0.0
    for seconds in [0.1, 0.5, 2.0, 4.0] * 10:
        permit = limit.enter(now, loop)
        now += seconds
        limit.succeed(permit, now)
    waiting = [limit.enter(now, loop) for _ in range(3)]
    now += 5.0
    for permit in waiting[:2]:
        limit.release(permit, now)
    two_left = limit.stalled(now)
    limit.release(waiting[2], now)

    assert limit.latency.slow_after > 10
    assert not two_left
    assert limit.stalled(now)
    limit.succeed(limit.enter(now, loop), now + 0.1)
    assert not limit.stalled(now + 0.1)


async def test_what_slowness_took_comes_back_when_answers_are_normal_again(registry, clock, provider):
    ask = adaptive_limit("back", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for seconds, times in ((1.0, 20), (5.0, 100), (1.0, 40)):
            provider.seconds = seconds
            for _ in range(times):
                await ask()

    assert registry.limits["back"].stats().limit == 20


async def test_a_provider_that_hangs_is_noticed_before_it_answers(registry, clock, provider):
    ask = adaptive_limit("hanging", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()
    provider.seconds = 1000.0
    async with anyio.create_task_group() as tasks:
        for _ in range(18):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        clock.advance(10.0)
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        limit = registry.limits["hanging"].stats().limit
        tasks.cancel_scope.cancel()

    assert limit < 14


async def test_a_line_that_waits_for_the_pace_does_not_make_the_limit_grow(registry, clock, provider):
    ask = adaptive_limit("paced-line", initial=20, registry=registry)(provider)
    provider.errors = [TooFastError()]
    await fail(ask, TooFastError)
    await at_once(ask, 10, clock)

    assert registry.limits["paced-line"].stats().limit == 20


async def test_a_slower_provider_is_believed_in_the_end(registry, clock, provider):
    ask = adaptive_limit("new-normal", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()
        provider.seconds = 5.0
        for _ in range(2_000):
            await ask()
    stats = registry.limits["new-normal"].stats()

    assert stats.normal_seconds == pytest.approx(5.0, rel=0.3)
    assert stats.limit >= 20


@pytest.mark.filterwarnings("ignore::resilient_ai.StackOrderWarning")
@pytest.mark.parametrize("above", [adaptive_limit, rate_limit])
async def test_a_limit_beside_a_quota_holds_every_call_back(above, registry, clock, provider):
    settings = {adaptive_limit: {"initial": 2, "max_limit": 2}, rate_limit: {"requests_per_minute": 1e6}}
    ask = provider
    for limit in sorted(settings, key=lambda each: each is above):
        ask = limit("beside", registry=registry, **settings[limit])(ask)
    await at_once(ask, 6, clock)

    assert provider.most == 2
