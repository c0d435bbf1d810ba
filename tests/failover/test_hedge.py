"""Hedging: a second endpoint is asked when the first is slow, and few of these calls are paid for."""

from __future__ import annotations

from contextlib import aclosing, suppress

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, failover
from resilient_ai._core.call_facts import watch
from resilient_ai._failover.hedge import HedgeBudget
from resilient_ai.types import EndpointState

US, EU, AP = Endpoint("us"), Endpoint("eu"), Endpoint("ap")


class Slow:
    """Endpoints that take so many seconds and then answer, or raise."""

    def __init__(self, clock, **seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.faults: dict[str, BaseException] = {}
        self.began: list[tuple[str, float]] = []
        self.ended: list[tuple[str, float]] = []

    async def __call__(self, endpoint) -> str:
        self.began.append((endpoint.name, self.clock.now()))
        try:
            await self.clock.sleep(self.seconds[endpoint.name])
            if endpoint.name in self.faults:
                raise self.faults[endpoint.name]
        finally:
            self.ended.append((endpoint.name, self.clock.now()))
        return endpoint.name


@pytest.fixture
def hedged(registry):
    def make(slow, *endpoints, **settings):
        async def ask(endpoint) -> str:
            return await slow(endpoint)

        settings = {"hedge_after": 0.8, "strategy": "priority", **settings}
        return failover(*(endpoints or (US, EU)), name="ask", registry=registry, **settings)(ask)

    return make


async def test_a_slow_endpoint_is_overtaken_by_the_next_and_its_call_is_cancelled_and_awaited(hedged, clock, registry):
    slow = Slow(clock, us=10, eu=0.1)
    async with clock.autojump():
        with watch() as seen:
            answer = await hedged(slow)()
    endpoint = registry.endpoints["us"].stats()

    assert answer == "eu"
    assert slow.began == [("us", 0), ("eu", 0.8)]
    assert slow.ended == [("eu", 0.9), ("us", 0.9)]
    assert (seen.endpoint, seen.endpoints_tried) == ("eu", ("us", "eu"))
    assert (endpoint.in_flight, endpoint.failures, endpoint.state) == (0, 0, EndpointState.UP)
    assert (registry.failovers["ask"].stats().hedges, registry.failovers["ask"].stats().hedges_won) == (1, 1)


async def test_a_first_endpoint_that_answers_in_time_is_never_doubled(hedged, clock):
    slow = Slow(clock, us=0.7, eu=0.1)
    async with clock.autojump():
        answer = await hedged(slow)()

    assert answer == "us"
    assert slow.began == [("us", 0)]


async def test_the_first_may_still_win_and_then_the_hedge_is_cancelled(hedged, clock, registry):
    slow = Slow(clock, us=1, eu=10)
    async with clock.autojump():
        answer = await hedged(slow)()

    assert answer == "us"
    assert slow.ended == [("us", 1), ("eu", 1)]
    assert registry.endpoints["eu"].stats().in_flight == 0


async def test_a_first_endpoint_that_fails_starts_the_next_at_once(hedged, clock):
    slow = Slow(clock, us=0.1, eu=0.1)
    slow.faults["us"] = OSError("down")
    async with clock.autojump():
        answer = await hedged(slow)()

    assert answer == "eu"
    assert slow.began == [("us", 0), ("eu", 0.1)]


async def test_after_a_failure_the_delay_is_counted_anew(hedged, clock):
    slow = Slow(clock, us=0.7, eu=0.5, ap=0.1)
    slow.faults["us"] = OSError("down")
    async with clock.autojump():
        answer = await hedged(slow, US, EU, AP)()

    assert answer == "eu"
    assert [name for name, _ in slow.began] == ["us", "eu"]


async def test_one_of_two_failing_leaves_the_other_to_answer(hedged, clock):
    slow = Slow(clock, us=1, eu=5)
    slow.faults["us"] = OSError("down")
    async with clock.autojump():
        answer = await hedged(slow)()

    assert answer == "eu"
    assert clock.now() == 5.8


async def test_when_both_fail_the_error_names_both(hedged, clock):
    slow = Slow(clock, us=1, eu=1)
    slow.faults |= {"us": OSError("down"), "eu": TimeoutError()}
    async with clock.autojump():
        with pytest.raises(AllEndpointsFailedError, match="us: network_error .* eu: timeout"):  # noqa: RUF043
            await hedged(slow)()


async def test_when_every_endpoint_has_failed_before_the_delay_the_caller_hears_of_it_at_once(hedged, clock):
    slow = Slow(clock, us=0.1, eu=0.1)
    slow.faults |= {"us": OSError("down"), "eu": OSError("down")}
    async with clock.autojump():
        with pytest.raises(AllEndpointsFailedError):
            await hedged(slow)()

    assert clock.now() == pytest.approx(0.2)


async def test_the_callers_own_mistake_ends_both(hedged, clock):
    class MistakeError(Exception):
        status_code = 400

    slow = Slow(clock, us=10, eu=1)
    slow.faults["eu"] = MistakeError()
    async with clock.autojump():
        with pytest.raises(MistakeError):
            await hedged(slow)()

    assert slow.ended == [("eu", 1.8), ("us", 1.8)]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_extra_calls_stay_within_their_share_of_all(share):
    budget = HedgeBudget(share)
    hedges = 0
    for _ in range(10_000):
        budget.called()
        hedges += budget.take()

    assert hedges == pytest.approx(10_000 * share, rel=0.01)
    assert hedges <= 10_000 * share


async def test_a_spent_budget_lets_the_first_endpoint_finish(hedged, clock, registry):
    slow = Slow(clock, us=2, eu=2)
    ask = hedged(slow)
    async with clock.autojump():
        for _ in range(6):
            await ask()

    assert registry.failovers["ask"].stats().hedges == 3


async def test_a_budget_of_zero_hedges_nothing(hedged, clock):
    slow = Slow(clock, us=2, eu=0.1)
    ask = hedged(slow, hedge_budget=0)
    async with clock.autojump():
        await ask()

    assert slow.began == [("us", 0)]


async def test_p95_is_learned_first_and_then_hedges_the_slow_tail(hedged, clock):
    slow = Slow(clock, us=1, eu=0.1)
    ask = hedged(slow, hedge_after="p95")
    async with clock.autojump():
        for tenths in range(20):
            slow.seconds["us"] = tenths / 20
            await ask()
        unhedged = len(slow.began)
        slow.seconds["us"] = 30
        began = clock.now()
        await ask()

    assert unhedged == 20
    assert slow.began[-1][0] == "eu"
    assert slow.began[-1][1] - began == pytest.approx(0.9)


@pytest.mark.parametrize("idempotent", [False, lambda: False])
async def test_a_call_that_must_not_run_twice_is_not_hedged(hedged, clock, idempotent):
    slow = Slow(clock, us=10, eu=0.1)
    async with clock.autojump():
        answer = await hedged(slow, idempotent=idempotent)()

    assert answer == "us"
    assert slow.began == [("us", 0)]


async def test_a_hedge_that_loses_does_not_make_an_endpoint_fast_that_has_never_answered(hedged, clock, registry):
    async with clock.autojump():
        answer = await hedged(Slow(clock, us=0.9, eu=60))()

    assert answer == "us"
    assert registry.endpoints["eu"].stats().latency_p50 is None


async def test_an_endpoint_that_a_hedge_overtakes_is_slow_though_it_has_never_answered(hedged, clock, registry):
    async with clock.autojump():
        answer = await hedged(Slow(clock, us=60, eu=0.1))()

    assert answer == "eu"
    assert registry.endpoints["us"].stats().latency_p50 == pytest.approx(0.9)


async def test_a_resting_endpoint_is_no_hedge(hedged, clock, registry):
    slow = Slow(clock, us=10, eu=0.1)
    ask = hedged(slow)
    registry.endpoints["eu"].mark_down()
    async with clock.autojump():
        answer = await ask()

    assert answer == "us"
    assert slow.began == [("us", 0)]


async def test_a_cancelled_caller_cancels_both_and_blames_neither(hedged, clock, registry):
    slow = Slow(clock, us=10, eu=10)
    ask = hedged(slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert sorted(name for name, _ in slow.ended) == ["eu", "us"]
    for name in ("us", "eu"):
        stats = registry.endpoints[name].stats()
        assert (stats.in_flight, stats.calls, stats.failures) == (0, 0, 0)


async def test_an_answer_that_comes_too_late_is_closed(registry, clock):
    closed = []

    class Response:
        def __init__(self, name):
            self.name = name

        async def aclose(self):
            await anyio.lowlevel.checkpoint()
            closed.append(self.name)

    async def ask(endpoint) -> Response:
        with suppress(BaseException):  # a function that answers although it was cancelled
            await clock.sleep({"us": 10, "eu": 0.1}[endpoint.name])
        return Response(endpoint.name)

    call = failover(US, EU, strategy="priority", hedge_after=0.8, registry=registry)(ask)
    async with clock.autojump():
        answer = await call()

    assert answer.name == "eu"
    assert closed == ["us"]


async def test_an_answer_in_the_moment_of_the_callers_cancellation_is_closed_and_gives_its_endpoint_back(registry):
    closed = []

    class Response:
        async def aclose(self):
            closed.append(self)

    async def ask(endpoint) -> Response:
        scope.cancel()
        return Response()

    call = failover(US, EU, strategy="priority", hedge_after=0.8, registry=registry)(ask)
    with anyio.CancelScope() as scope:
        await call()

    stats = registry.endpoints["us"].stats()
    assert scope.cancelled_caught
    assert len(closed) == 1
    assert (stats.in_flight, stats.failures) == (0, 0)


async def test_an_exit_passes_through_a_hedged_call_as_it_is(hedged, clock, registry):
    class Exit(BaseException):
        pass

    slow = Slow(clock, us=1, eu=10)
    slow.faults["us"] = Exit()
    async with clock.autojump():
        with pytest.raises(Exit):
            await hedged(slow)()

    assert [registry.endpoints[name].stats().in_flight for name in ("us", "eu")] == [0, 0]


async def test_a_strategy_of_the_users_own_that_fails_is_raised_as_it_is(hedged, clock):
    def pick(endpoints):
        if len(endpoints) == 1:
            raise ZeroDivisionError("mine")
        return endpoints[0]

    slow = Slow(clock, us=10, eu=0.1)
    async with clock.autojump():
        with pytest.raises(ZeroDivisionError, match="mine"):
            await hedged(slow, strategy=pick)()


# -- streams


class SlowStreams:
    def __init__(self, clock, **seconds) -> None:
        self.clock = clock
        self.seconds = seconds
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def __call__(self, endpoint):
        self.opened.append(endpoint.name)
        try:
            for number, wait in enumerate(self.seconds[endpoint.name]):
                await self.clock.sleep(wait)
                yield endpoint.name, number
        finally:
            self.closed.append(endpoint.name)


@pytest.fixture
def hedged_stream(registry):
    def make(streams):
        async def tokens(endpoint):
            async with aclosing(streams(endpoint)) as items:
                async for item in items:
                    yield item

        return failover(US, EU, strategy="priority", hedge_after=0.8, name="tokens", registry=registry)(tokens)

    return make


async def test_after_a_call_in_vain_the_next_one_there_is_hedged_soon_and_beside_the_budget(hedged, clock, registry):
    slow = Slow(clock, us=1, eu=1)
    ask = hedged(slow, hedge_after=100, strategy="round_robin")
    async with clock.autojump():
        for _ in range(4):
            await ask()
        slow.seconds["us"] = 3600
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await clock.sleep(20)
            tasks.cancel_scope.cancel()
        began = clock.now()
        answers = [await ask(), await ask()]

    assert answers == ["eu", "eu"]
    assert clock.now() - began == pytest.approx(1 + 1.5 + 1)


@pytest.mark.parametrize(("waiting", "asked"), [(1, []), (4, ["eu"] * 4)])
async def test_where_more_calls_wait_than_chance_would_leave_the_endpoint_hangs_and_each_is_hedged(
    hedged, clock, waiting, asked
):
    slow = Slow(clock, us=3, eu=4)
    ask = hedged(slow, hedge_after=2)
    async with clock.autojump():
        for seconds in [3] * 3 + [1] * 30:  # after three hedges that lose, the budget is spent
            slow.seconds["us"] = seconds
            await ask()
        slow.seconds.update(us=3600, eu=1)
        slow.began.clear()
        with clock.move_on_after(3.5):
            async with anyio.create_task_group() as tasks:
                for _ in range(waiting):
                    tasks.start_soon(ask)

    assert [name for name, _ in slow.began if name == "eu"] == asked
    assert [name for name, _ in slow.ended if name == "eu"][3:] == asked


async def test_an_endpoint_that_never_answered_does_not_get_call_after_call(hedged, clock, registry):
    slow = Slow(clock, us=3600, eu=1)
    ask = hedged(slow, hedge_after=100, strategy="least_latency")

    async def for_20_seconds():
        with clock.move_on_after(20):
            await ask()

    async with clock.autojump():
        while "us" not in dict(slow.began):
            await for_20_seconds()
        slow.began.clear()
        for _ in range(4):
            await for_20_seconds()
        soon = [name for name, _ in slow.began]
        await clock.sleep(40)  # what was measured of the other one fades
        slow.began.clear()
        await for_20_seconds()

    assert soon == ["eu"] * 4
    assert [name for name, _ in slow.began] == ["us"]  # it is tried again


async def test_a_budget_of_zero_hedges_nothing_where_calls_were_left_in_vain_either(hedged, clock):
    slow = Slow(clock, us=1, eu=1)
    ask = hedged(slow, hedge_after=100, hedge_budget=0.0)
    async with clock.autojump():
        await ask()
        slow.seconds["us"] = 3600
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await clock.sleep(20)
                tasks.cancel_scope.cancel()

    assert {name for name, _ in slow.began} == {"us"}


async def test_calls_that_an_endpoint_forgot_in_a_silence_are_sent_once_more_when_it_answers(hedged, clock):
    slow = Slow(clock, us=1)
    ask = hedged(slow, US, hedge_after=5)
    answers = []

    async def one():
        answers.append((await ask(), clock.now()))

    async with clock.autojump():
        await ask()
        slow.seconds["us"] = 3600
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one)
            await clock.sleep(60)
            assert answers == []
            slow.seconds["us"] = 1
            await ask()
            await clock.sleep(4)
            tasks.cancel_scope.cancel()

    assert len(answers) == 4
    assert len(slow.began) == 1 + 4 + 1 + 4


async def test_a_merely_long_answer_is_not_asked_for_again(hedged, clock):
    slow = Slow(clock, us=1)
    ask = hedged(slow, US, hedge_after=5)
    async with clock.autojump():
        await ask()
        slow.seconds["us"] = 30
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await clock.sleep(10)
            slow.seconds["us"] = 1
            for _ in range(5):
                await ask()

    assert len(slow.began) == 7


async def test_a_stream_whose_first_item_is_slow_comes_from_the_other_endpoint(hedged_stream, clock):
    streams = SlowStreams(clock, us=[10, 1], eu=[0.1, 5, 5])
    async with clock.autojump():
        items = [item async for item in hedged_stream(streams)()]

    assert items == [("eu", 0), ("eu", 1), ("eu", 2)]
    assert streams.closed == ["us", "eu"]


async def test_a_stream_is_never_hedged_after_its_first_item(hedged_stream, clock):
    streams = SlowStreams(clock, us=[0.1, 10, 10], eu=[0.1])
    async with clock.autojump():
        items = [item async for item in hedged_stream(streams)()]

    assert items == [("us", 0), ("us", 1), ("us", 2)]
    assert streams.opened == ["us"]


async def test_a_consumer_who_leaves_a_hedged_stream_leaves_nothing_open(hedged_stream, clock, registry):
    streams = SlowStreams(clock, us=[10], eu=[0.1, 1, 1])
    async with clock.autojump(), aclosing(hedged_stream(streams)()) as items:
        async for _ in items:
            break

    assert sorted(streams.closed) == ["eu", "us"]
    assert [registry.endpoints[name].stats().in_flight for name in ("us", "eu")] == [0, 0]
