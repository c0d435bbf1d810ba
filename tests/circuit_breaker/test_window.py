"""What a sliding window counts, beside a list that remembers everything."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai._circuit_breaker.window import CallsWindow, SecondsWindow

OUTCOMES = st.lists(
    st.tuples(st.integers(0, 60), st.booleans(), st.booleans()),  # (tenths of a second since the last, failed, slow)
    max_size=60,
)


@given(calls=st.integers(1, 12), outcomes=OUTCOMES)
def test_a_window_of_calls_counts_exactly_the_last_ones(calls, outcomes):
    window = CallsWindow(calls)
    for number, (_, failed, slow) in enumerate(outcomes, start=1):
        window.add(0.0, failed, slow)
        inside = outcomes[max(0, number - calls) : number]

        assert window.calls == len(inside)
        assert window.failures == sum(failed for _, failed, _ in inside)
        assert window.slow == sum(slow for _, _, slow in inside)


@given(outcomes=OUTCOMES, later=st.integers(0, 120))
def test_a_window_of_seconds_counts_exactly_the_younger_ones(outcomes, later):
    window, now, seen = SecondsWindow(10.0), 0, []
    for tenths, failed, slow in outcomes:
        now += tenths
        seen.append((now, failed, slow))
        window.add(now * 0.1, failed, slow)
    now += later
    window.forget(now * 0.1)
    inside = [each for each in seen if now - each[0] < 100]

    assert window.calls == len(inside)
    assert window.failures == sum(failed for _, failed, _ in inside)
    assert window.slow == sum(slow for _, _, slow in inside)


@pytest.mark.parametrize("start", [0.3, 1e6 + 0.7])
def test_an_outcome_exactly_as_old_as_the_window_is_out_however_the_time_was_added_up(start):
    window, now = SecondsWindow(1.0), start
    window.add(now, True, False)
    for _ in range(9):
        now += 0.1
        window.forget(now)
    assert window.calls == 1
    window.forget(now + 0.1)

    assert (window.calls, window.failures) == (0, 0)


def test_a_busy_window_of_seconds_forgets_no_call_inside_it_and_needs_no_more_memory():
    window, size = SecondsWindow(60.0), []
    tracemalloc.start()
    for minute in range(2):
        for call in range(60_000):
            window.add(minute * 60 + call / 1000, call % 4 == 0, call % 5 == 0)
        size.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    # One call each millisecond, and moments of 6 ms: of the oldest moment all calls have left together.
    assert 60_000 - 6 <= window.calls <= 60_000
    assert window.failures == pytest.approx(15_000, abs=2)
    assert window.slow == pytest.approx(12_000, abs=2)
    assert size[1] < 1.1 * size[0] < 2_500_000


def test_clearing_a_window_empties_it():
    for window in (CallsWindow(3), SecondsWindow(10.0)):
        for _ in range(5):
            window.add(1.0, True, True)
        window.clear()
        assert (window.calls, window.failures, window.slow) == (0, 0, 0)
        window.add(1.0, True, False)

        assert (window.calls, window.failures, window.slow) == (1, 1, 0)
