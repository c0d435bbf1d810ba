"""Refusals by chance, and those of a provider that is asked too much."""

from __future__ import annotations

import random

import pytest

from resilient_ai._adaptive_limit.refusals import Refusals, Speed
from tests.adaptive_limit.simulation import Bucket, Chance, Simulation


def answered(limited, *, share, seed=1, **world):
    return Simulation(Chance(share, random.Random(seed)), limited=limited, **world).run().share


@pytest.mark.parametrize("overload", [False, True], ids=["429", "529"])
@pytest.mark.parametrize("stated", [None, 1.0, 20.0])
@pytest.mark.parametrize("deadline", [2.0, 15.0, 60.0])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.03, 0.1, 0.2])
def test_refusals_by_chance_cost_no_more_answers_than_having_no_limit(share, deadline, stated, overload):
    for rate in (2.0, 10.0, 40.0):
        world = {"share": share, "deadline": deadline, "stated": stated, "rate": rate, "overload": overload}
        without, with_limit = (answered(limited, seconds=min(100.0, 1000 / rate), **world) for limited in (False, True))

        assert with_limit >= without - 0.01


@pytest.mark.parametrize("seed", range(2, 6))
def test_when_they_begin_after_good_times_only_the_first_moments_cost_something(seed):
    class Later(Chance):
        sent = 0

        def refuses(self, now):
            self.sent += 1
            return self.sent > 300 and super().refuses(now)

    world = {"rate": 10.0, "deadline": 15.0, "seconds": 200.0}
    without, with_limit = (
        Simulation(Later(0.2, random.Random(seed)), limited=limited, **world).run().share for limited in (False, True)
    )

    assert with_limit >= without - 0.03


@pytest.mark.parametrize("stated", [None, 1.0, 3.0])
@pytest.mark.parametrize("demand", [1.25, 2.0, 4.0])
def test_a_rate_limit_is_used_to_the_full_and_hardly_ever_overrun(demand, stated):
    taken = 10.0 / demand
    world = Simulation(Bucket(taken), rate=10.0, deadline=15.0, seconds=120.0, stated=stated).run()

    assert world.answered >= 0.9 * taken * 120
    assert world.refused <= (0.3 if stated is None else 0.15) * world.sent


def test_without_a_limit_that_provider_would_hardly_answer_anybody():
    """What the test before is worth: refused calls count, and their retries are refused as well."""
    world = Simulation(Bucket(5.0), rate=10.0, deadline=15.0, seconds=120.0, limited=False).run()

    assert world.share < 0.1


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_rate_limit_is_noticed_where_calls_are_refused_by_chance_as_well(share):
    class Both(Bucket):
        chance = random.Random(1)

        def refuses(self, now):
            return super().refuses(now) or self.chance.random() < share

    world = Simulation(Both(5.0), rate=10.0, deadline=15.0, seconds=200.0).run()

    assert world.answered >= 0.75 * 5.0 * 200 * (1 - share)


# -- the test itself


def send(refusals, count, now, speed=Speed.FREE):
    return [refusals.sent(now, speed) for _ in range(count)]


def after_good_calls(count=100):
    refusals = Refusals()
    for number in range(count):
        refusals.sent(0.2 * number, Speed.FREE)
    return refusals, 0.2 * count


def test_one_refusal_is_no_evidence_and_two_in_a_row_are_where_none_was_refused_before():
    refusals, now = after_good_calls()
    found = [refusals.refused(*send(refusals, 1, now + 0.2 * number), now + 0.2 * number) for number in range(2)]

    assert [each.beyond_chance for each in found] == [False, True]
    assert [each.is_first for each in found] == [True, False]


def test_a_provider_that_has_refused_a_share_before_must_refuse_more():
    refusals, now = after_good_calls()
    for number in range(200):
        cohort = refusals.sent(now := now + 0.2, Speed.FREE)
        if number % 5 == 0:
            refusals.refused(cohort, now)
    found = [refusals.refused(*send(refusals, 1, now + 0.2 * number), now + 0.2 * number) for number in range(1, 5)]

    assert not any(each.beyond_chance for each in found)
    assert refusals.by_chance == pytest.approx(0.15, abs=0.05)


def test_a_crowd_of_which_a_fifth_is_refused_is_no_evidence():
    """Refusals come back before answers; the calls that were sent with them count as taken."""
    refusals, now = after_good_calls()
    cohorts = send(refusals, 100, now + 1.0)

    assert not any(refusals.refused(cohort, now + 1.05).beyond_chance for cohort in cohorts[:20])


def test_calls_that_were_sent_after_the_refused_one_do_not_hide_it():
    refusals, now = after_good_calls()
    refused = [send(refusals, 1, now + 0.2 * number)[0] for number in range(5)]
    send(refusals, 500, now + 1.0)  # their refusals are not back yet
    found = [refusals.refused(cohort, now + 1.0).beyond_chance for cohort in refused]

    assert found[-1]


def test_refusals_of_calls_sent_too_fast_teach_nothing_about_chance():
    refusals, now = after_good_calls()
    for cohort in send(refusals, 10, now, Speed.FAST):
        refusals.refused(cohort, now)

    assert refusals.by_chance < 0.01


def test_what_was_sent_before_a_cut_is_tested_no_more():
    refusals, now = after_good_calls()
    cohorts = send(refusals, 10, now)
    refusals.begin_anew()

    assert not any(refusals.refused(cohort, now).beyond_chance for cohort in cohorts)
    assert refusals.all_refused()


def test_the_rate_that_was_taken_is_measured_over_more_time_where_calls_are_rare():
    rare, busy = Refusals(), Refusals()
    for second in range(0, 60, 8):
        rare.sent(float(second), Speed.FREE)
    for tenth in range(600):
        busy.sent(tenth / 10, Speed.FREE)

    assert rare.taken_lately(60.0) == (8, 60.0)
    assert rare.taken_lately(100.0) == (3, 60.0)
    taken, seconds = busy.taken_lately(60.0)
    assert seconds == pytest.approx(10.0, abs=0.1)
    assert taken / seconds == pytest.approx(10.0, rel=0.02)


def test_a_provider_that_has_taken_nothing_yet_is_known_by_its_first_refusal():
    refusals = Refusals()
    (cohort,) = send(refusals, 1, 0.0)

    assert refusals.refused(cohort, 0.05).nothing_taken
