"""What an operator does to the counts, and what the circuit shows of it."""

from __future__ import annotations

import signal

import pytest

from resilient_ai import CircuitState, Registry
from tests.circuit_breaker.support import FAULT, fail_once, handle


def test_closed_by_force_starts_the_counts_from_zero_even_when_closed_and_silently_then(registry, events):
    breaker = handle(registry, failure_threshold=2, failure_rate_threshold=0.5)
    straggler = breaker.admit(0)
    fail_once(breaker, 0)
    breaker.force_closed()
    assert (breaker.stats().current_failure_count, breaker.stats().window_calls) == (0, 0)
    breaker.failed(straggler, 0, 0, OSError(), FAULT)

    assert (breaker.state, breaker.stats().late, events) == (CircuitState.CLOSED, 1, [])


@pytest.mark.parametrize("operate", ["force_open", "disable", "metrics_only"])
def test_what_an_operator_set_cannot_be_tripped(registry, operate):
    breaker = handle(registry)
    getattr(breaker, operate)()
    before = breaker.state
    with pytest.raises(ValueError, match=r"cannot be tripped; call \.reset\(\) first"):
        breaker.trip()

    assert breaker.state is before


def test_tripping_twice_is_one_opening(registry, clock, events):
    breaker = handle(registry)
    breaker.trip()
    clock.advance(10)
    breaker.trip()

    assert len(events) == breaker.stats().opened_count == 1
    assert breaker.stats().retry_after == 50


def test_the_repr_and_the_row_say_when_a_probe_may_run(registry, clock):
    breaker = handle(registry)
    assert repr(breaker) == "<CircuitBreaker 'openai' closed: 0 calls, 0 failed>"
    breaker.trip()
    assert breaker.row().state == "open, probe in 60.0 s"
    clock.advance(60)
    assert breaker.row().state == "open, probe due"
    breaker.force_open()

    assert breaker.row().state == "forced-open"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_signal_handler_may_read_the_circuit_at_any_moment():
    """A lock that the interrupted thread holds itself would hang it here for ever."""
    breaker, seen = handle(Registry(listeners=()), failure_threshold=10**9), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(breaker.stats()))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    try:
        while len(seen) < 50:
            fail_once(breaker, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert breaker.stats().total_failures >= seen[-1].total_failures >= seen[0].total_failures
