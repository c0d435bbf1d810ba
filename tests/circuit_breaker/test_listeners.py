"""What listeners hear, and what they may do."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from resilient_ai import CircuitOpenError, CircuitState, Registry
from resilient_ai.events import CallRejected, CircuitClosed, CircuitHalfOpened, CircuitModeSet, CircuitOpened
from tests.circuit_breaker.support import fail_once, handle


def test_listeners_hear_one_order_though_one_of_them_drives_the_circuit(registry):
    breaker, heard = handle(registry, failure_threshold=1), []
    breaker.on_transition(lambda event: breaker.force_closed() if isinstance(event, CircuitOpened) else None)
    breaker.on_transition(lambda event: heard.append((type(event), breaker.state)))
    fail_once(breaker, 0)

    assert heard == [(CircuitOpened, CircuitState.CLOSED), (CircuitClosed, CircuitState.CLOSED)]


def test_a_call_that_is_refused_while_another_thread_closes_the_circuit_hears_of_no_wait_below_zero():
    breaker = handle(Registry(listeners=()), failure_threshold=1, recovery_timeout=60)
    fail_once(breaker, 100)
    breaker.force_closed()  # after the caller has seen that it is shut

    assert breaker.refusal(101).retry_after == 0


def test_a_listener_may_wait_for_another_thread_that_uses_the_circuit(registry):
    breaker, waited = handle(registry), []

    def ask_elsewhere(event):
        thread = threading.Thread(target=breaker.stats, daemon=True)
        thread.start()
        thread.join(timeout=10)
        waited.append(thread.is_alive())

    breaker.on_transition(ask_elsewhere)
    breaker.trip()

    assert waited == [False]


def test_a_listener_that_undoes_what_it_hears_cannot_hold_a_call_for_ever(registry):
    breaker, heard = handle(registry, failure_threshold=1), []

    def fight(event):
        heard.append(event)
        if isinstance(event, CircuitOpened):
            breaker.force_closed()
        else:
            breaker.trip()

    breaker.on_transition(fight)
    fail_once(breaker, 0)

    assert len(heard) == 100


def test_an_event_shows_what_was_when_it_happened(registry):
    breaker, heard = handle(registry, failure_threshold=2, recovery_timeout=20), []
    breaker.on_transition(lambda event: (breaker.reset(), heard.append(event)))
    fail_once(breaker, 0)
    fail_once(breaker, 0)

    assert heard[0] == CircuitOpened("openai", 2, "failure count reached 2", 20.0)
    assert heard[1] == CircuitModeSet("openai", "reset")


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_listener_gives_the_probes_slot_back_and_silences_nobody(registry, clock, leaving):
    breaker, heard = handle(registry), []

    def leave(event):
        if isinstance(event, CircuitHalfOpened):
            raise leaving

    breaker.trip()
    breaker.on_transition(leave)
    breaker.on_transition(heard.append)
    clock.advance(60)
    with pytest.raises(leaving):
        breaker.admit(clock.now())
    assert breaker.stats().probes_in_flight == 0
    breaker.force_open()

    assert heard == [CircuitModeSet("openai", "forced_open")]


def test_a_listener_that_has_left_hears_nothing_more_and_takes_no_other_along(registry):
    breaker, heard = handle(registry), []
    hear = heard.append
    leave = breaker.on_transition(hear)
    breaker.on_transition(hear)
    leave()
    leave()
    breaker.trip()

    assert [type(event) for event in heard] == [CircuitOpened]


def test_a_refusal_tells_why_and_how_long(registry, clock, events):
    breaker = handle(registry, success_threshold=1)
    breaker.trip()
    clock.advance(20)
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())
    clock.advance(40)
    breaker.admit(clock.now())
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())
    breaker.force_open()
    with suppress(CircuitOpenError):
        breaker.admit(clock.now())

    assert [event for event in events if isinstance(event, CallRejected)] == [
        CallRejected("openai", "open", 40.0),
        CallRejected("openai", "half_open_full", 60.0),
        CallRejected("openai", "forced_open", None),
    ]
