"""What users of `@adaptive_limit` can rely on."""

from __future__ import annotations

import itertools
import threading
from contextlib import aclosing
from dataclasses import dataclass

import anyio
import pytest

from resilient_ai import (
    CircuitOpenError,
    Endpoint,
    LimitReachedError,
    Registry,
    StackOrderWarning,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    classify,
    describe,
    failover,
    register_classifier,
)
from resilient_ai._adaptive_limit.events import LimitLowered
from resilient_ai._core.events import CallRejected
from tests.helpers import scripted


class BusyError(Exception):
    """The provider has too many calls (529)."""

    status_code = 529


@dataclass
class TooFastError(Exception):
    """The provider's rate limit was met (429)."""

    retry_after: float | None = None
    status_code = 429

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}


class Provider:
    """Answers after so many seconds, and remembers when each call came and how many were under way."""

    def __init__(self, clock, seconds=1.0):
        self.clock, self.seconds = clock, seconds
        self.calls, self.under_way, self.most = [], 0, 0
        self.errors = []  # raised, first to last, in place of answers

    async def __call__(self, number=0):
        self.calls.append((number, self.clock.now()))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.errors:
                raise self.errors.pop(0)
            await self.clock.sleep(self.seconds)
            return number
        finally:
            self.under_way -= 1


@pytest.fixture
def provider(clock):
    return Provider(clock)


async def at_once(ask, count, clock):
    """So many calls, begun in order at the same moment; what became of each."""
    outcomes = {}

    async def one(number):
        try:
            outcomes[number] = await ask(number)
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
        async with clock.autojump():
            while len(outcomes) < count:
                await clock.sleep(0.5)
    return [outcomes[number] for number in range(count)]


async def fail(ask, error):
    with pytest.raises(error):
        await ask()


# -- places


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


class Gate:
    """Every call waits until it opens, and then fails so or answers."""

    def __init__(self, error=None):
        self.opens, self.error = anyio.Event(), error

    async def __call__(self):
        await self.opens.wait()
        if self.error is not None:
            raise self.error
        return "answer"


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
    await at_once(ask, 60, clock)
    provider.seconds = 5.0
    limits = []
    for _ in range(4):
        await at_once(ask, 8, clock)
        limits.append(registry.limits["slower"].stats().limit)

    assert 10 <= min(limits) < 20


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


# -- pace


async def test_after_a_rate_limit_nothing_is_sent_before_the_providers_wait_is_over(registry, clock, provider):
    ask = adaptive_limit("wait", registry=registry)(provider)
    provider.errors = [TooFastError(7.0)]
    await fail(ask, TooFastError)
    await at_once(ask, 3, clock)

    assert provider.calls[1][1] >= 7.0


async def test_after_a_rate_limit_calls_go_out_slower_than_they_were_accepted(registry, clock, provider):
    ask = adaptive_limit("paced", registry=registry)(provider)
    provider.seconds = 0.0
    for _ in range(100):  # 10 a second for 10 seconds
        await ask()
        clock.advance(0.1)
    provider.errors = [TooFastError()]
    await fail(ask, TooFastError)
    rate = registry.limits["paced"].stats().rate
    await at_once(ask, 20, clock)
    times = [when for _, when in provider.calls[101:]]

    assert rate == pytest.approx(7.0, rel=0.02)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.1 - 1e-9
    assert 20 / 10 <= times[-1] - times[0] <= 20 / 7


async def test_the_pace_is_given_up_when_nothing_is_refused_for_a_while(registry, clock, provider):
    ask = adaptive_limit("free", registry=registry)(provider)
    provider.errors = [TooFastError()]
    await fail(ask, TooFastError)
    assert registry.limits["free"].stats().rate is not None
    clock.advance(15.0)

    assert registry.limits["free"].stats().rate is None


async def test_without_pace_a_rate_limit_shrinks_the_limit(registry, provider):
    ask = adaptive_limit("unpaced", initial=20, pace=False, registry=registry)(provider)
    provider.errors = [TooFastError(7.0)]
    await fail(ask, TooFastError)
    stats = registry.limits["unpaced"].stats()

    assert (stats.limit, stats.rate) == (10, None)


# -- being turned away


async def test_who_would_not_be_served_within_the_deadline_is_turned_away_at_once(registry, clock, provider):
    ask = adaptive_limit("late", registry=registry)(provider)
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    with anyio.fail_after(60), pytest.raises(LimitReachedError, match="ask again in 100") as caught:
        await ask()

    assert len(provider.calls) == 1
    assert caught.value.name == "late"
    assert caught.value.retry_after == pytest.approx(100.0, abs=0.1)


async def test_max_wait_bounds_the_line(registry, clock):
    gate = Gate()
    ask = adaptive_limit("short", initial=1, max_wait=2.0, registry=registry)(gate)
    outcomes = []

    async def one():
        try:
            outcomes.append(await ask())
        except LimitReachedError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.9)
        await anyio.wait_all_tasks_blocked()
        assert outcomes == []
        clock.advance(0.1)
        await anyio.wait_all_tasks_blocked()
        gate.opens.set()

    assert [type(each) for each in outcomes] == [LimitReachedError, str]


async def test_max_wait_of_zero_never_waits(registry):
    gate = Gate()
    ask = adaptive_limit("none", initial=1, max_wait=0, registry=registry)(gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await fail(ask, LimitReachedError)
        gate.opens.set()


async def test_a_full_line_turns_away_at_once(registry):
    gate = Gate()
    ask = adaptive_limit("full", initial=1, max_queue_size=1, registry=registry)(gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitReachedError, match="1 at once and 1 in line"):
            await ask()
        gate.opens.set()
    stats = registry.limits["full"].stats()

    assert (stats.refused, stats.succeeded, stats.waiting) == (1, 2, 0)


def test_a_listener_that_hears_of_a_refusal_may_look_at_the_limit():
    registry = Registry(listeners=())
    heard = []
    registry.subscribe(lambda event: heard.append((event.reason, registry.limits["full"].stats().refused)))

    async def main() -> None:
        gate = Gate()
        ask = adaptive_limit("full", initial=1, max_queue_size=0, registry=registry)(gate)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await fail(ask, LimitReachedError)
            gate.opens.set()

    thread = threading.Thread(target=anyio.run, args=(main,), daemon=True)
    thread.start()
    thread.join(30)

    assert heard == [("limit_reached", 1)]


async def test_being_turned_away_is_no_endpoints_fault(registry):
    refusal = LimitReachedError("x", limit=1, waiting=0, retry_after=3.0)
    verdict = classify(refusal)

    assert (verdict.endpoint_fault, verdict.retryable, verdict.retry_after) == (False, True, 3.0)


async def test_the_circuit_above_does_not_count_refusals(registry, provider):
    ask = circuit_breaker("above", failure_threshold=1, registry=registry)(
        adaptive_limit("below", max_wait=0, registry=registry)(provider)
    )
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    await fail(ask, LimitReachedError)

    assert registry.circuit_breakers["above"].stats().total_failures == 0


# -- calls within calls


async def test_a_function_that_calls_itself_goes_on_in_its_own_place(registry, clock):
    @adaptive_limit("recursive", initial=1, max_limit=1, registry=registry)
    async def countdown(number):
        await clock.sleep(1.0)
        return [number, *(await countdown(number - 1) if number else [])]

    async with clock.autojump():
        assert await countdown(3) == [3, 2, 1, 0]
    stats = registry.limits["recursive"].stats()

    assert clock.now() == 4.0
    assert (stats.total_calls, stats.in_flight, stats.refused, stats.limit) == (4, 0, 0, 1)


async def test_functions_that_call_each_other_through_one_limit_do_too(registry):
    put_on = adaptive_limit("shared", initial=1, max_limit=1, registry=registry)

    async def between(number):
        return await ping(number)

    @put_on
    async def ping(number):
        return await adaptive_limit("another", registry=registry)(pong)(number)

    @put_on
    async def pong(number):
        return await between(number - 1) if number else "done"

    assert await ping(3) == "done"


async def test_a_crowd_in_which_every_call_makes_another_one_comes_to_an_end_at_once(registry, clock, provider):
    @adaptive_limit("crowd", initial=5, max_limit=5, registry=registry)
    async def ask(depth):
        return await ask(depth - 1) if depth else await provider()

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask, 2)

    assert provider.most <= 5
    assert clock.now() < 10.0


async def test_calls_side_by_side_within_a_call_take_turns_in_its_place(registry, clock, provider):
    put_on = adaptive_limit("fan-out", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)

    @put_on
    async def outer():
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(inner, number)

    async with clock.autojump():
        await outer()

    assert (len(provider.calls), provider.most, clock.now()) == (3, 1, 3.0)


async def test_a_call_within_a_call_keeps_the_pace(registry, clock, provider):
    put_on = adaptive_limit("paced", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)

    @put_on
    async def outer():
        await inner()

    provider.errors = [TooFastError(7.0)]
    await fail(outer, TooFastError)
    async with clock.autojump():
        await outer()

    assert provider.calls[1][1] >= 7.0


async def test_a_task_that_outlives_the_call_it_was_started_in_holds_the_place_on(registry, clock, provider):
    put_on = adaptive_limit("outlived", initial=1, max_limit=1, registry=registry)
    inner = put_on(provider)
    async with clock.autojump(), anyio.create_task_group() as tasks:

        @put_on
        async def outer():
            tasks.start_soon(inner)
            await clock.sleep(0.5)

        await outer()
        assert registry.limits["outlived"].stats().in_flight == 1
        await inner()

    assert (provider.most, registry.limits["outlived"].stats().in_flight) == (1, 0)


async def test_who_reads_a_stream_may_call_through_its_limit(registry):
    put_on = adaptive_limit("reader", initial=1, max_limit=1, registry=registry)
    ask = put_on(scripted("answer"))

    @put_on
    async def tokens():
        yield 1
        yield 2

    async with aclosing(tokens()) as items:
        answers = [await ask() async for _ in items]

    assert answers == ["answer", "answer"]


# -- leaving


async def test_cancelling_a_call_gives_its_place_back(registry):
    gate = Gate()
    ask = adaptive_limit("cancelled", initial=1, registry=registry)(gate)
    with anyio.move_on_after(0):
        await ask()
    gate.opens.set()

    assert await ask() == "answer"
    assert registry.limits["cancelled"].stats().failed == 0


async def test_cancelling_who_waits_lets_the_next_one_move_up(registry):
    gate = Gate()
    ask = adaptive_limit("moving-up", initial=1, registry=registry)(gate)
    scope = anyio.CancelScope()
    answers = []

    async def impatient():
        with scope:
            await ask()

    async def patient():
        answers.append(await ask())

    async with anyio.create_task_group() as tasks:
        for each in (ask, impatient, patient):
            tasks.start_soon(each)
            await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert registry.limits["moving-up"].stats().waiting == 1
        gate.opens.set()

    assert answers == ["answer"]


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_exit_gives_the_place_back(registry, leaving):
    @adaptive_limit("exit", registry=registry)
    async def leave():
        raise leaving

    await fail(leave, leaving)
    stats = registry.limits["exit"].stats()

    assert (stats.in_flight, stats.failed) == (0, 0)


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
async def test_an_exit_out_of_a_classifier_gives_the_place_back(registry, leaving):
    def interrupted(error):
        raise leaving

    ask = adaptive_limit("classifier", registry=registry)(scripted(OSError()))
    unregister = register_classifier(interrupted)
    try:
        await fail(ask, leaving)
    finally:
        unregister()

    assert registry.limits["classifier"].stats().in_flight == 0


async def test_an_exit_out_of_a_listener_gives_the_place_back(registry, clock, provider):
    ask = adaptive_limit("listener", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()

    def interrupted(event):
        raise KeyboardInterrupt

    unsubscribe = registry.subscribe(interrupted)
    provider.seconds = 1000.0
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        clock.advance(60.0)  # they are overdue, which the next call finds out
        await fail(ask, KeyboardInterrupt)
        unsubscribe()
        tasks.cancel_scope.cancel()

    assert registry.limits["listener"].stats().in_flight == 0


async def test_calls_given_up_after_an_unusual_time_count_as_slow(registry, clock, provider):
    ask = adaptive_limit("given-up", initial=20, registry=registry)(provider)
    async with clock.autojump():
        for _ in range(20):
            await ask()
        provider.seconds = 1000.0
        for _ in range(20):
            with clock.move_on_after(10.0):
                await ask()
    stats = registry.limits["given-up"].stats()

    assert stats.limit < 14
    assert stats.failed == 0


async def test_a_circuit_below_that_refuses_neither_fails_nor_counts(registry, provider):
    ask = adaptive_limit("above", registry=registry)(circuit_breaker("below", registry=registry)(provider))
    registry.circuit_breakers["below"].force_open()
    await fail(ask, CircuitOpenError)
    stats = registry.limits["above"].stats()

    assert (stats.limit, stats.total_calls, stats.failed, stats.in_flight) == (20, 0, 0, 0)


async def test_a_cancelled_caller_hears_of_that_and_not_of_the_limit(registry, provider):
    ask = adaptive_limit("cancelled-first", registry=registry)(provider)
    provider.errors = [TooFastError(100.0)]
    await fail(ask, TooFastError)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask()

    assert scope.cancelled_caught


# -- streams


async def test_a_stream_keeps_its_place_until_it_ends(registry):
    @adaptive_limit("stream", initial=1, registry=registry)
    async def tokens():
        yield 1
        yield 2

    limit = registry.limits["stream"]
    async with aclosing(tokens()) as stream:
        assert [await anext(stream), limit.stats().in_flight] == [1, 1]
        assert [item async for item in stream] == [2]
    stats = limit.stats()

    assert (stats.in_flight, stats.succeeded) == (0, 1)


async def test_a_stream_left_early_gives_its_place_back(registry):
    closed = []

    @adaptive_limit("left", initial=1, registry=registry)
    async def tokens():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async with aclosing(tokens()) as stream:
        await anext(stream)
    stats = registry.limits["left"].stats()

    assert closed
    assert (stats.in_flight, stats.succeeded, stats.failed) == (0, 0, 0)


async def test_a_stream_is_as_slow_as_its_first_item(registry, clock):
    @adaptive_limit("first", registry=registry)
    async def tokens():
        await clock.sleep(2.0)
        yield 1
        await clock.sleep(50.0)

    async with clock.autojump():
        async for _ in tokens():
            pass

    assert registry.limits["first"].stats().normal_seconds == pytest.approx(2.0)


async def test_a_failure_in_a_stream_counts(registry):
    @adaptive_limit("broken", initial=20, registry=registry)
    async def tokens():
        yield 1
        raise BusyError

    with pytest.raises(BusyError):
        async for _ in tokens():
            pass
    stats = registry.limits["broken"].stats()

    assert (stats.limit, stats.failed, stats.in_flight) == (10, 1, 0)


async def test_a_stream_whose_arguments_do_not_fit_takes_no_place(registry):
    @adaptive_limit("stream", initial=1, max_limit=1, registry=registry)
    async def tokens(prompt):
        yield prompt

    for _ in range(3):
        with pytest.raises(TypeError):
            await anext(tokens())

    assert registry.limits["stream"].stats().in_flight == 0


# -- sharing, showing


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

    assert (stats.waiting, stats.succeeded, stats.rate) == (0, 1, None)


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
