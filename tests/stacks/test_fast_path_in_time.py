"""
In real time on asyncio a fast path ends, leaves and hedges calls as the layers do.

The loop's time jumps to its next timer, so that seconds cost nothing, and what is real time elsewhere is the loop's.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a loop whose time jumps
import random
import re
from contextlib import ExitStack, nullcontext

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import (
    CallTimeoutError,
    Endpoint,
    Registry,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    deadline,
    degrade_to,
    failover,
    rate_limit,
    resilient,
    time_left,
    watch,
)
from resilient_ai._core.wrapper import decorate
from resilient_ai.testing import capture_events, isolated_registry
from resilient_ai.types import SystemClock
from resilient_ai.usage import Usage, report_usage
from tests.core.support import JumpingLoop
from tests.helpers import ByLayers, ProviderError, errors_mean_what_they_say


def loop_time():
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 1000.0


def moment():
    """Seconds since the loop began."""
    return round(asyncio.get_running_loop().time() - 1000, 6)


def in_jumping_time(fn, *args):
    with pytest.MonkeyPatch.context() as patch, isolated_registry(clock=SystemClock()):
        patch.setattr(SystemClock, "now", staticmethod(loop_time))
        return anyio.run(fn, *args, backend="asyncio", backend_options={"loop_factory": JumpingLoop})


def stacked(function, policies, registry, settings):
    timeout, hedge, strategy, patience = settings
    endpoints = [Endpoint(each) for each in ("eu", "us", "ap")]
    makers = {
        "degrade_to": lambda: degrade_to("sorry", registry=registry),
        "classified_retry": lambda: classified_retry(timeout_seconds=patience, registry=registry),
        "failover": lambda: failover(*endpoints, strategy=strategy, hedge_after=hedge, registry=registry),
        "rate_limit": lambda: rate_limit(requests_per_minute=60, tokens_per_minute=9_000, burst=3, registry=registry),
        "adaptive_limit": lambda: adaptive_limit(initial=4, registry=registry),
        "circuit_breaker": lambda: circuit_breaker(timeout_seconds=timeout, failure_threshold=3, registry=registry),
    }
    for policy in reversed(policies):
        function = makers[policy]()(function)
    return function


NUMBER = r"\d+\.\d+(?:e-\d+)?"


def told_apart(told):
    """Its text without numbers, and these, whose last places depend on the order of additions."""
    return re.sub(NUMBER, "#", repr(told)), [float(each) for each in re.findall(NUMBER, repr(told))]


WAITS = {
    "nobody": anyio.CancelScope,
    "deadline": lambda: deadline(5.3),
    "short deadline": lambda: deadline(1.9),
    "fail_after": lambda: anyio.fail_after(4.7),
}


class Side:
    """One stack over a scripted provider, in a registry of its own."""

    def __init__(self, policies, settings, *, by_layers):
        self.outcomes = []
        self.told = []
        self.registry = Registry(clock=SystemClock(), rng=random.Random(7), listeners=())

        async def ask(*given):
            name, left = getattr(given[0], "name", given[0]), time_left()
            self.told.append((name, moment(), left and round(left, 6)))
            outcome, seconds = self.outcomes.pop(0) if self.outcomes else ("ok", 0.5)
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.told.append((name, moment(), "cancelled"))
                if outcome == "stubborn":
                    return "late"
                raise
            if outcome != "bug":
                report_usage(Usage(input_tokens=110, output_tokens=40))
            if outcome in ("ok", "stubborn"):
                return None if outcome == "stubborn" else "pong"
            if outcome == "bug":
                raise ZeroDivisionError("a bug")
            raise ProviderError(outcome)

        ask.__qualname__ = "ask"
        inner = decorate(ask, ByLayers(None, None, self.registry)) if by_layers else ask
        self.call = stacked(inner, policies, self.registry, settings)

    async def ask(self, waits, outcomes, watched):
        self.outcomes = list(outcomes)
        seen = None
        try:
            with WAITS[waits](), watch() if watched else nullcontext() as seen:
                answer = await self.call("ping")
        except Exception as error:
            # Where a timeout came upon its call is told by some of the ways to end one.
            cause = None if type(error) is CallTimeoutError else type(error.__cause__)
            answer = type(error), re.sub(NUMBER, "#", str(error)), getattr(error, "__notes__", None), cause
        assert asyncio.current_task().cancelling() == 0
        return answer, moment(), seen

    async def run(self, steps):
        answers = []
        with capture_events(self.registry) as events:
            for waits, outcomes, pause, watched in steps:
                answers.append(await self.ask(waits, outcomes, watched))
                await asyncio.sleep(pause)
        return answers, self.told, events, self.registry.as_dict()


async def run(policies, settings, steps, by_layers):
    return await Side(policies, settings, by_layers=by_layers).run(steps)


OUTCOME = st.tuples(
    st.sampled_from(["ok", "ok", "ok", "model_overloaded", "rate_limit", "invalid_request", "bug", "stubborn"]),
    st.sampled_from([0.0, 0.2, 1.1, 2.6, 7.9, 100.0]),
)
STEP = st.tuples(
    st.sampled_from(sorted(WAITS)),
    st.lists(OUTCOME, min_size=1, max_size=4),
    st.sampled_from([0.0, 0.3, 61.0]),
    st.booleans(),
)
POLICIES = ("degrade_to", "classified_retry", "failover", "rate_limit", "adaptive_limit", "circuit_breaker")


@given(
    policies=st.sets(st.sampled_from(POLICIES), min_size=1),
    steps=st.lists(STEP, min_size=1, max_size=6),
    timeout=st.sampled_from([None, 3.1]),
    # Hedged calls that go through the layers choose among the endpoints that are up, in another order.
    choice=st.sampled_from([(None, "round_robin"), (None, "least_latency"), (None, "priority"), (0.7, "priority")]),
    patience=st.sampled_from([None, 4.1, 9.7]),
)
def test_it_ends_leaves_and_hedges_calls_as_its_layers_do(policies, steps, timeout, choice, patience):
    order = tuple(policy for policy in POLICIES if policy in policies)
    settings = timeout, *choice, patience
    if choice[0] is not None:
        # An answer in spite of the timeout, with a race beside it, is given by the fast path and lost by the layers. In
        # further calls an endpoint that may hang gets company sooner after a failure of the first, which layers do not.
        steps = [
            (waits, [("ok" if each == "stubborn" else each, seconds) for each, seconds in outcomes], *others)
            for waits, outcomes, *others in steps[:1]
        ]

    with errors_mean_what_they_say():
        short, long = (in_jumping_time(run, order, settings, steps, each) for each in (False, True))

    text, numbers = told_apart(long)

    assert told_apart(short) == (text, pytest.approx(numbers, abs=1e-4))


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({}, "eu"),
        ({"idempotent": lambda *_given: True}, "eu"),
        ({"idempotent": lambda *_given: False}, "us"),
        ({"idempotent": False}, "us"),
        ({"max_endpoints": 1}, "us"),
        ({"max_endpoints": 2}, "eu"),
    ],
    ids=["any", "by a function", "none by a function", "none", "one at most", "two at most"],
)
@pytest.mark.parametrize("by_layers", [False, True], ids=["fast path", "layers"])
def test_an_endpoint_is_left_for_the_next_one_only_where_that_may_be_asked(settings, answer, by_layers):
    async def main():
        registry, slow = Registry(listeners=()), Slow(us=8, eu=1)

        async def ask(endpoint):
            return await slow(endpoint)

        inner = decorate(ask, ByLayers(None, None, registry)) if by_layers else ask
        endpoints = Endpoint("us"), Endpoint("eu")
        with deadline(9):
            return await failover(*endpoints, strategy="priority", registry=registry, **settings)(inner)()

    assert in_jumping_time(main) == answer


@pytest.mark.parametrize(
    "nested",
    [
        *("scope 2", "deadline 15, scope 2", "scope 2, deadline 15", "deadline 2, scope 15", "scope 15, deadline 2"),
        *("deadline 2, deadline 15", "deadline 15, deadline 2", "scope 2, deadline 15, deadline 15"),
    ],
)
def test_of_nested_scopes_and_deadlines_the_soonest_counts(nested):
    async def main():
        async def ask():
            await asyncio.sleep(1000)

        call = degrade_to("sorry", registry=Registry(clock=SystemClock(), listeners=()))(ask)
        with ExitStack() as stacked:
            for kind, seconds in map(str.split, nested.split(", ")):
                stacked.enter_context((deadline if kind == "deadline" else anyio.fail_after)(float(seconds)))
            return await call(), moment()

    assert in_jumping_time(main) == ("sorry", 1.9)


# -- @resilient


def recommended(function, **settings):
    return resilient(Endpoint("us"), Endpoint("eu"), failover={"strategy": "priority"}, **settings)(function)


class Slow:
    """Endpoints that take so many seconds and then answer, or raise."""

    def __init__(self, **seconds):
        self.seconds = seconds
        self.faults = {}
        self.began, self.ended = [], []

    async def __call__(self, endpoint, *_given):
        self.began.append((endpoint.name, moment()))
        try:
            await asyncio.sleep(self.seconds[endpoint.name])
            if endpoint.name in self.faults:
                raise self.faults[endpoint.name]
        finally:
            self.ended.append((endpoint.name, moment()))
        return endpoint.name


def tasks():
    return len(asyncio.all_tasks())


def recommended_ask(slow, **settings):
    async def ask(endpoint, *given):
        return await slow(endpoint, *given)

    return recommended(ask, **settings)


def test_a_good_answer_of_the_recommended_stack_takes_one_task_and_no_timer_of_its_own():
    async def main():
        async def ask(_endpoint):
            await asyncio.sleep(1)
            return tasks()

        ask = recommended(ask)
        before = await ask(), len(asyncio.get_running_loop()._scheduled)
        for _ in range(5):
            await ask()
        return before, (await ask(), len(asyncio.get_running_loop()._scheduled))

    assert in_jumping_time(main) == ((1, 1), (1, 1))


def test_a_slow_endpoint_is_overtaken_and_its_call_is_cancelled_and_awaited():
    async def main():
        slow = Slow(us=30, eu=1)
        answer = await recommended_ask(slow)()
        return answer, slow.began, slow.ended, tasks(), asyncio.current_task().cancelling()

    assert in_jumping_time(main) == ("eu", [("us", 0), ("eu", 7.5)], [("eu", 8.5), ("us", 8.5)], 1, 0)


def test_the_first_may_still_win_and_then_the_hedge_is_cancelled_and_awaited():
    async def main():
        slow = Slow(us=9, eu=30)
        answer = await recommended_ask(slow)()
        return answer, slow.ended, tasks()

    assert in_jumping_time(main) == ("us", [("us", 9), ("eu", 9)], 1)


def test_when_the_patience_is_over_both_are_cancelled_and_the_caller_hears_of_it():
    async def main():
        slow = Slow(us=100, eu=100)
        with pytest.raises(CallTimeoutError, match="took longer than timeout_seconds=15"):
            await recommended_ask(slow)()
        return sorted(slow.ended), moment(), tasks(), asyncio.current_task().cancelling()

    assert in_jumping_time(main) == ([("eu", 15), ("us", 15)], 15, 1, 0)


def test_of_a_caller_who_is_cancelled_both_calls_end():
    async def main():
        slow = Slow(us=100, eu=100)
        with anyio.move_on_after(9) as scope:
            await recommended_ask(slow)()
        return scope.cancelled_caught, sorted(slow.ended), tasks(), asyncio.current_task().cancelling()

    assert in_jumping_time(main) == (True, [("eu", 9), ("us", 9)], 1, 0)


def test_a_task_that_asyncio_cancels_is_cancelled():
    async def main():
        slow = Slow(us=100, eu=100)
        task = asyncio.create_task(recommended_ask(slow)())
        await asyncio.sleep(9)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return sorted(slow.ended), tasks()

    assert in_jumping_time(main) == ([("eu", 9), ("us", 9)], 1)


def test_a_hedge_knows_what_its_caller_knows():
    """Context variables, and how much time is left: of the patience and of the caller's scope, the sooner."""

    async def main():
        told = []

        async def ask(endpoint):
            told.append((endpoint.name, round(time_left(), 6)))
            await asyncio.sleep(30 if endpoint.name == "us" else 0.5)

        ask = recommended(ask)
        await ask()
        with anyio.fail_after(10):
            await ask()
        return told

    told = in_jumping_time(main)

    assert told == [("us", 15), ("eu", 7.5), ("us", 10), ("eu", 2.5)]


def test_a_first_that_fails_after_its_hedge_has_begun_leaves_the_other_to_answer():
    async def main():
        slow = Slow(us=9, eu=5)
        slow.faults["us"] = ConnectionError("down")
        return await recommended_ask(slow)(), slow.began

    assert in_jumping_time(main) == ("eu", [("us", 0), ("eu", 7.5)])


def test_a_first_that_fails_at_once_is_followed_by_the_next_endpoint():
    async def main():
        slow = Slow(us=1, eu=1)
        slow.faults["us"] = ConnectionError("down")
        return await recommended_ask(slow)(), slow.began, tasks()

    assert in_jumping_time(main) == ("eu", [("us", 0), ("eu", 1)], 1)


def test_a_call_that_can_be_sent_only_once_is_not_hedged():
    async def main():
        slow = Slow(us=9, eu=1)
        return await recommended_ask(slow)(iter("request")), slow.began

    assert in_jumping_time(main) == ("us", [("us", 0)])


def test_hedges_stay_within_their_share_of_all_calls():
    async def main():
        slow = Slow(us=8, eu=8)
        ask = recommended_ask(slow)
        for _ in range(6):
            await ask()
        return len(slow.began)

    assert in_jumping_time(main) == 6 + 3  # the first three are free


def test_a_call_that_waits_for_its_limit_is_one_call_of_those_that_hedges_have_a_share_of():
    """Fewer than fifty quick answers do not show that a slow one is a hang, whose hedges are outside the budget."""

    async def main():
        registry, seconds, begun = Registry(listeners=()), 0.01, []
        endpoints = Endpoint("us"), Endpoint("eu")

        @failover(*endpoints, hedge_after=1, hedge_budget=0.1, strategy="priority", registry=registry)
        @adaptive_limit(initial=1, max_limit=1, registry=registry)
        async def ask(endpoint):
            begun.append(endpoint.name)
            await asyncio.sleep(seconds)

        await asyncio.gather(*[ask() for _ in range(45)])
        seconds = 3
        for _ in range(7):
            await ask()
        return len(begun)

    assert in_jumping_time(main) == 45 + 7 + 5


def test_calls_that_an_endpoint_forgot_are_sent_once_more_when_it_answers_a_new_one_on_the_fast_path():
    async def main():
        registry, hangs = Registry(listeners=()), False

        @failover(Endpoint("us"), hedge_after=0.2, registry=registry)
        async def ask(_endpoint):
            await asyncio.sleep(1_000 if hangs else 0.1)
            return moment()

        for _ in range(25):
            await ask()
        hangs = True
        forgotten = [asyncio.ensure_future(ask()) for _ in range(5)]
        await asyncio.sleep(5)
        hangs = False
        answered = await ask()
        return [round(when - answered, 2) < 1 for when in await asyncio.gather(*forgotten)]

    assert in_jumping_time(main) == [True] * 5


@pytest.mark.parametrize("by_layers", [False, True], ids=["fast path", "layers"])
def test_a_call_whose_answer_came_while_the_loop_stood_still_is_not_hedged(by_layers):
    async def main():
        registry, slow = Registry(listeners=()), Slow(us=6, eu=1)

        async def ask(endpoint):
            return await slow(endpoint)

        def stand_still():
            asyncio.get_running_loop().jumped += 60

        inner = decorate(ask, ByLayers(None, None, registry)) if by_layers else ask
        ask = failover(Endpoint("us"), Endpoint("eu"), strategy="priority", hedge_after=7, registry=registry)(inner)
        asyncio.get_running_loop().call_later(5, stand_still)
        answer = await ask()
        return answer, slow.began, registry.failovers[ask.__qualname__].stats().hedges

    assert in_jumping_time(main) == ("us", [("us", 0)], 0)


def test_what_a_hedge_raises_that_is_no_error_ends_the_call():
    class Exit(BaseException):
        pass

    async def main():
        slow = Slow(us=30, eu=1)
        slow.faults["eu"] = Exit()
        with pytest.raises(Exit):
            await recommended_ask(slow)()
        return sorted(slow.ended), tasks(), asyncio.current_task().cancelling()

    assert in_jumping_time(main) == ([("eu", 8.5), ("us", 8.5)], 1, 0)


def test_nothing_is_held_after_any_of_these():
    async def main():
        slow, registry = Slow(us=30, eu=1), Registry(clock=SystemClock(), listeners=())
        ask = recommended_ask(slow, registry=registry, name="ask")
        for seconds in ((30, 1), (9, 30), (100, 100), (1, 1)):
            slow.seconds = dict(zip(("us", "eu"), seconds, strict=True))
            with anyio.move_on_after(12):
                await ask()
        stats = registry.stats()
        return [each.in_flight for kind in ("endpoint", "adaptive_limit") for each in stats[kind].values()]

    assert set(in_jumping_time(main)) == {0}
