"""Answers that take longer for good, with room for all."""

from __future__ import annotations

import math
import random

import pytest

from resilient_ai import adaptive_limit
from resilient_ai._adaptive_limit.latency import LatencyBaseline
from tests.adaptive_limit.support import at_once


@pytest.mark.parametrize(("seconds", "witnesses"), [(4.0, 4), (2.0, 4), (1.6, 8), (1.45, 10)])
def test_the_longer_answers_take_the_fewer_of_them_are_believed(seconds, witnesses):
    latency = LatencyBaseline()
    for _ in range(50):
        latency.add(1.0, 1)
    factors = [latency.witness(seconds) for _ in range(witnesses)]

    assert factors[:-1] == [1.0] * (witnesses - 1)
    assert factors[-1] == pytest.approx(seconds)
    assert latency.typical == pytest.approx(seconds)


def test_answers_hardly_longer_than_normal_are_never_believed():
    latency = LatencyBaseline()
    for _ in range(50):
        latency.add(1.0, 1)

    assert {latency.witness(1.3) for _ in range(40)} == {1.0}
    assert latency.typical == pytest.approx(1.0)


@pytest.mark.parametrize("longer", [[0.0009] * 20, [0.01]])
def test_a_function_that_takes_microseconds_is_not_slow_when_the_machine_holds_it_up(longer):
    latency = LatencyBaseline()
    for seconds in [0.00002] * 50 + longer:
        latency.add(seconds, 1)

    assert latency.excess == 0.0
    assert latency.slow_after > 0.001


def test_one_long_answer_among_normal_ones_is_not_believed():
    latency = LatencyBaseline()
    for _ in range(50):
        latency.add(1.0, 1)

    assert {latency.witness(4.0 if number % 5 == 0 else 1.0) for number in range(40)} == {1.0}
    assert latency.typical == pytest.approx(1.0)


def test_the_queue_of_a_crowd_is_not_taken_for_normal():
    """Forty callers come at once before anything is known, and the provider answers two at a time, a second each."""
    latency = LatencyBaseline()
    for number in range(40):
        latency.add(1.0 + number // 2, number + 1)

    assert latency.typical < 4.0
    assert latency.excess > 0.0


def test_longer_answers_become_normal_when_as_many_calls_as_these_had_beside_them_are_usual():
    """A provider that works in batches, say: each of thirty calls takes longer than one alone."""
    latency = LatencyBaseline()
    for _ in range(50):
        latency.add(1.0, 1)
    for _ in range(300):
        latency.add(1.4, 30)

    assert latency.typical == pytest.approx(1.4, rel=0.05)
    assert latency.excess == 0.0


async def test_twice_as_long_answers_get_more_places_than_before_soon(registry, clock, provider):
    """As many callers as before need twice as many calls at a time."""
    ask = adaptive_limit("twice", initial=10, registry=registry)(provider)
    for _ in range(4):
        await at_once(ask, 10, clock)
    before = registry.limits["twice"].stats().limit
    provider.seconds *= 2.5
    answers, limits = 0, []
    while answers < 60:
        count = registry.limits["twice"].stats().limit
        await at_once(ask, count, clock)
        answers += count
        limits.append(registry.limits["twice"].stats().limit)
    assert max(limits) >= 1.3 * before


async def test_a_trouble_ends_when_longer_answers_are_believed_though_the_limit_is_not_in_use(
    registry, clock, provider
):
    ask = adaptive_limit("seldom", registry=registry)(provider)
    for _ in range(30):
        await at_once(ask, 1, clock)
    provider.seconds *= 2.5
    for _ in range(30):
        await at_once(ask, 1, clock)

    assert not registry.limits["seldom"]._gate.state.concurrency.in_trouble


@pytest.mark.parametrize("seed", range(8))
def test_answers_learnt_together_teach_what_they_teach_one_by_one(seed):
    """Quick and slow times, long and rare answers, callers that left."""
    rng = random.Random(seed)
    together, one_by_one = LatencyBaseline(), LatencyBaseline()
    for _ in range(60):
        typical, spread = rng.choice([0.1, 1.0, 1.0, 1.0, 4.0]), rng.choice([0.1, 0.5, 1.0])
        left = [(typical * math.exp(rng.gauss(0.0, spread)), 3) for _ in range(rng.randint(1, 64))]
        if rng.random() < 0.2:
            together.at_least(5.0)
            one_by_one.at_least(5.0)
        while left:
            learnt = together.add_some(left)
            for number, answer in enumerate(left[:learnt], 1):
                one_by_one.add(*answer)
                assert number == learnt or not one_by_one.excess
            left = left[learnt:]

        assert together.seen == one_by_one.seen
        assert together.excess == pytest.approx(one_by_one.excess, abs=1e-6)
        assert together.typical == pytest.approx(one_by_one.typical)
        assert together.latest == pytest.approx(one_by_one.latest)
        assert together.slow_after == pytest.approx(one_by_one.slow_after)
