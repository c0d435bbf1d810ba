"""How calls come back through a circuit that a fleet has closed again: by good answers, and by time."""

from __future__ import annotations

import pytest

from resilient_ai import CircuitState
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._circuit_breaker.state import Circuit
from resilient_ai._core.sharing import Ruling

EVERY = 0.1  # seconds between two calls


class ComingBack:
    """A circuit that the fleet has just closed, and a caller every tenth of a second."""

    def __init__(self):
        self.now = self.began = 1000.0
        self.circuit = Circuit(CircuitConfig(failure_threshold=50))
        self.circuit.hear_open(self.now, Ruling(True, 0.5, "the fleet", 0, 60.0))
        self.circuit.hear_close(self.now)

    def call(self):
        """The ticket of the next caller; None where it was refused."""
        self.now += EVERY
        return self.circuit.admit(self.now)[0]

    def succeed(self, ticket, seconds=0.02):
        self.circuit.succeed(ticket, self.now + seconds, seconds)

    def seconds_until_all_are_back(self, outcome):
        """What comes of a call is up to `outcome`."""
        while self.circuit.state is not CircuitState.CLOSED:
            if (ticket := self.call()) is not None:
                outcome(ticket)
        return self.now - self.began

    def let_through(self, calls):
        return sum(self.call() is not None for _ in range(calls))


@pytest.fixture
def back():
    return ComingBack()


def nothing_comes_of_it(_ticket):
    """It is still under way."""


def test_without_answers_all_calls_are_back_after_two_seconds(back):
    assert back.seconds_until_all_are_back(nothing_comes_of_it) == pytest.approx(2.0, abs=EVERY)


def test_good_answers_bring_them_back_sooner(back):
    assert back.seconds_until_all_are_back(back.succeed) < 1.5


def test_many_good_answers_at_once_raise_the_share_once(back):
    for _ in range(3):
        back.call()
    ticket = next(each for each in iter(back.call, 0) if each is not None)
    for _ in range(20):
        back.succeed(ticket)

    assert back.let_through(5) <= 2


def test_after_a_failure_a_tenth_is_let_through(back):
    ticket = next(each for each in iter(back.call, 0) if each is not None)
    back.circuit.fail(ticket, back.now, 0.05)

    assert back.let_through(19) == 1


def test_one_failure_among_many_good_answers_holds_nobody_up(back):
    ticket = next(each for each in iter(back.call, 0) if each is not None)
    for _ in range(15):
        back.succeed(ticket)
    back.circuit.fail(ticket, back.now, 0.05)

    assert back.seconds_until_all_are_back(back.succeed) < 2.0


def test_good_answers_of_calls_from_before_a_failure_raise_nothing(back):
    early = next(each for each in iter(back.call, 0) if each is not None)
    began = back.now
    back.now += 0.2
    back.circuit.fail(early, back.now, 0.05)
    back.now += 0.2
    back.circuit.succeed(early, back.now, back.now - began)

    assert back.let_through(15) == 1


def test_good_answers_after_a_failure_bring_all_back(back):
    ticket = next(each for each in iter(back.call, 0) if each is not None)
    back.circuit.fail(ticket, back.now, 0.05)
    back.circuit.succeed(ticket, back.now + 0.2, 0.02)
    more = back.let_through(10)

    assert more > 1
    assert back.seconds_until_all_are_back(back.succeed) < 3.0


def test_calls_that_fail_hold_the_others_up_for_three_seconds_at_most(back):
    took = back.seconds_until_all_are_back(lambda ticket: back.circuit.fail(ticket, back.now + 0.05, 0.05))

    assert took == pytest.approx(3.0, abs=EVERY)
