"""The pace after a rate limit that comes right after an outage, when nothing shows what is accepted."""

from __future__ import annotations

import pytest

from resilient_ai._adaptive_limit.config import LimitConfig
from resilient_ai._adaptive_limit.pace import Pace
from resilient_ai._adaptive_limit.refusals import Refusals, Speed
from resilient_ai._adaptive_limit.state import Limit
from resilient_ai._core.event_loops import LoopUsage


def send_all_that_may_be_sent(pace, until, *, refused=False):
    """Send as the pace allows from the time 0 on, and hear of each call after 50 ms; how many were sent."""
    sent, tick = 0, 0
    while (now := tick / 20) < until:
        while pace.wait(now) == 0.0:
            pace.sent(now)
            sent += 1
            if refused:
                pace.refused(now + 0.05)
            else:
                pace.taken(now, now + 0.05)
        tick += 1
    return sent


def paced(*, measured):
    pace = Pace()
    pace.cut(0.0, 1.0, trial=False, measured=measured)
    return pace


def test_a_guessed_rate_is_doubled_every_second_as_long_as_all_is_accepted():
    pace = paced(measured=False)
    send_all_that_may_be_sent(pace, 6.0)

    assert pace.rate(6.0) > 10.0


def test_a_measured_rate_is_not():
    pace = paced(measured=True)
    send_all_that_may_be_sent(pace, 5.0)

    assert pace.rate(5.0) == pytest.approx(1.0)


def test_a_guess_is_not_doubled_while_calls_are_refused():
    pace = paced(measured=False)
    send_all_that_may_be_sent(pace, 5.0, refused=True)

    assert pace.rate(5.0) == pytest.approx(1.0)


def test_a_guess_that_nobody_uses_is_not_doubled():
    pace = paced(measured=False)
    pace.cut(0.0, 20.0, trial=False, measured=False)
    for second in range(1, 5):
        pace.sent(float(second))
        pace.taken(float(second), second + 0.05)

    assert pace.rate(5.0) == pytest.approx(20.0)


def test_a_guess_that_was_too_high_goes_back_to_the_half_of_it_that_was_accepted():
    pace = paced(measured=False)
    pace.cut(0.0, 8.0, trial=False, measured=False)
    pace.cut(1.0, 0.5, trial=False, measured=False)

    assert pace.rate(6.0) == pytest.approx(4.0)


def test_refusals_of_calls_at_a_guessed_rate_teach_nothing_about_chance():
    assert paced(measured=False).sent(2.0) is Speed.FAST
    assert paced(measured=True).sent(2.0) is Speed.SLOW


@pytest.mark.parametrize(
    ("taken", "refused", "shown"),
    [
        (range(0, 60, 6), [], True),  # few calls, but steadily
        (range(0, 58, 2), [58, 59, 60], True),  # refused only now
        (range(20), [59], True),  # one may be chance
        (range(20), range(20, 60, 4), False),  # then it was out
        ([], [58, 59, 60], False),
    ],
)
def test_what_was_taken_shows_the_rate_unless_the_provider_was_out(taken, refused, shown):
    refusals = Refusals()
    for second, is_refused in sorted([(each, False) for each in taken] + [(each, True) for each in refused]):
        cohort = refusals.sent(float(second), Speed.FREE)
        if is_refused:
            refusals.refused(cohort, second + 0.05)

    assert refusals.show_the_rate(60.0) is shown


def test_a_rate_limit_right_after_an_outage_does_not_hold_back_for_long():
    limit, loop, sent, tick = Limit(LimitConfig()), LoopUsage(None), 0, 0
    for tick in range(1200):  # a call every 50 ms for 10 s, one a second in an outage of 50 s
        if (tick < 200 or tick % 20 == 0) and (permit := limit.enter(tick / 20, loop)) is not None:
            if tick < 200:
                limit.succeed(permit, tick / 20 + 0.04)
            else:
                limit.too_fast(permit, tick / 20 + 0.04, None)
    while (now := (tick := tick + 1) / 20) < 70.0:  # it is back
        while limit.hold(now) == 0.0 and (permit := limit.enter(now, loop)) is not None:
            limit.succeed(permit, now + 0.04)
            sent += 1
            if sent > 50:
                return

    assert sent > 50


def test_a_call_that_was_not_sent_after_all_takes_no_turn():
    limit, loop = Limit(LimitConfig()), LoopUsage(None)
    for tick in range(100):
        limit.succeed(limit.enter(tick / 10, loop), tick / 10 + 0.05)
    limit.too_fast(limit.enter(10.0, loop), 10.05, None)
    now = 10.05 + limit.hold(10.05)
    limit.give_back(limit.enter(now, loop), now)

    assert limit.hold(now) == 0.0


def test_a_wait_behind_others_is_estimated_as_if_the_guess_were_doubled_each_second():
    assert paced(measured=False).wait(0.0, 30) < 8.0
    assert paced(measured=True).wait(0.0, 30) > 30.0
