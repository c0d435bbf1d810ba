"""The circuit under everything that callers, time and an operator can do, beside its model."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from resilient_ai import CircuitState
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._circuit_breaker.state import Circuit
from resilient_ai._circuit_breaker.tickets import DEAD, Ticket
from tests.circuit_breaker.machine.circuit_model import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    METRICS_ONLY,
    OPEN,
    Call,
    Model,
)

CONFIGS = st.one_of(
    st.builds(
        CircuitConfig,
        failure_threshold=st.integers(1, 4),
        recovery_timeout=st.sampled_from([0.0, 5.0]),
        success_threshold=st.integers(1, 3),
        half_open_max_calls=st.sampled_from([None, 1, 2]),
        timeout_seconds=st.sampled_from([None, 7.0]),
        max_recovery_timeout=st.sampled_from([None, 12.0, 12.0]),
        recovery_jitter=st.sampled_from([0.0, 0.5]),
    ),
    st.builds(
        CircuitConfig,
        failure_threshold=st.sampled_from([None, None, 3]),
        recovery_timeout=st.just(5.0),
        success_threshold=st.integers(1, 2),
        failure_rate_threshold=st.sampled_from([None, 0.1, 0.5, 1.0]),
        window_calls=st.sampled_from([None, 3, 10]),
        window_seconds=st.sampled_from([5.0, 10.0]),
        minimum_calls=st.integers(1, 6),
        slow_call_seconds=st.just(2.0),
        slow_call_rate_threshold=st.sampled_from([0.5, 1.0]),
    ),
)
SECONDS = st.sampled_from(
    [0.0, 0.1, 1.0, 4.9, 5.0, 7.0, 10.0, 31.0, 299.0, 300.0]
)  # just before, exactly at, well past
WAITS = st.sampled_from([None, 1.0, 8.0, 11.0, 12.0, 40.0, math.inf])
ROLLS = st.sampled_from([0.0, 0.5, 0.999])


class CircuitMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize(config=CONFIGS)
    def begin(self, config: CircuitConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.circuit = Circuit(config)
        self.model = Model(config)

    def ask(self) -> tuple[Ticket, Call] | None:
        ticket, change = self.circuit.admit(self.now)
        call, expected = self.model.ask(self.now)

        assert change is expected
        assert (ticket is None) == (call is None)
        if ticket is None or call is None:
            assert self.circuit.refusal() == {
                OPEN: "open",
                HALF_OPEN: "half_open_full",
                FORCED_OPEN: "forced_open",
            }.get(self.model.state)
            return None
        return ticket, call

    def finish(
        self,
        admitted: tuple[Ticket, Call],
        outcome: str,
        seconds: float = 0.0,
        wait: float | None = None,
        at_once: bool = False,
        roll: float = 0.0,
    ) -> None:
        ticket, call = admitted
        expected = self.model.end(call, outcome, self.now, seconds, wait, at_once, roll)
        change: CircuitState | None = None
        if outcome == "ok" and ticket is self.circuit.fast_ticket:
            # What the decorator does then, without a lock and without asking further.
            self.circuit.record.answer_times.append(self.now)
            self.circuit.record.answer_times.append(self.now - seconds)
        elif outcome == "ok":
            change = self.circuit.succeed(ticket, self.now, seconds, roll=roll)
        elif outcome == "fail":
            change = self.circuit.fail(ticket, self.now, seconds, retry_after=wait, at_once=at_once, roll=roll)
        else:
            self.circuit.release(ticket)

        assert change is expected

    # -- callers

    @rule(target=calls)
    def start(self) -> tuple[Ticket, Call] | None:
        return self.ask()

    @rule(
        call=consumes(calls),
        outcome=st.sampled_from(["ok", "fail", "neutral"]),
        seconds=st.sampled_from([0.0, 1.5, 2.0, 2.5]),
        wait=WAITS,
        at_once=st.sampled_from([False, False, True]),
        roll=ROLLS,
    )
    def end(
        self,
        call: tuple[Ticket, Call] | None,
        outcome: str,
        seconds: float,
        wait: float | None,
        at_once: bool,
        roll: float,
    ) -> None:
        if call is not None:
            self.finish(call, outcome, seconds, wait, at_once, roll)

    @rule(
        outcomes=st.lists(st.sampled_from(["ok", "fail", "neutral"]), min_size=1, max_size=8),
        seconds=st.sampled_from([0.0, 2.5]),
    )
    def call_one_after_the_other(self, outcomes: list[str], seconds: float) -> None:
        for outcome in outcomes:
            call = self.ask()
            if call is not None:
                self.finish(call, outcome, seconds)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model.state is OPEN)
    @rule(earlier=st.sampled_from([0.0, 0.01]))
    def wait_for_the_deadline(self, earlier: float) -> None:
        self.now = max(self.now, self.model.until - earlier)

    @precondition(lambda self: self.model.state is HALF_OPEN and self.model.probes)
    @rule(earlier=st.sampled_from([0.0, 0.01]))
    def wait_for_the_end_of_a_lease(self, earlier: float) -> None:
        self.now = max(self.now, min(probe.lease_end for probe in self.model.probes) - earlier)

    @precondition(lambda self: self.model.state is CLOSED)
    @rule(target=calls, wait=WAITS, roll=ROLLS)
    def outage_with_a_straggler(self, wait: float | None, roll: float) -> tuple[Ticket, Call] | None:
        """A call from before the outage is still running when the probing begins."""
        straggler = self.ask()
        for _ in range(10):
            if self.model.state is not CLOSED:
                break
            call = self.ask()
            if call is not None:
                self.finish(call, "fail", 2.5, wait, roll=roll)
        if self.model.state is OPEN:
            self.now = max(self.now, self.model.until)
        return straggler

    @precondition(lambda self: self.model.state is OPEN)
    @rule(wait=WAITS, roll=ROLLS, at_once=st.booleans())
    def the_outage_goes_on(self, wait: float | None, roll: float, at_once: bool) -> None:
        self.now = max(self.now, self.model.until)
        probe = self.ask()
        assert probe is not None
        self.finish(probe, "fail", 0.1, wait, at_once, roll)

    @precondition(lambda self: self.model.state is OPEN)
    @rule(target=calls, answered=st.booleans())
    def a_long_outage(self, answered: bool) -> tuple[Ticket, Call] | None:
        """As many failures in a row as show that nothing is answered, but for a late answer, perhaps."""
        late = None
        for number in range(DEAD):
            self.the_outage_goes_on(None, 0.0, False)
            if answered and number == 0:
                self.now = max(self.now, self.model.until)
                late = self.ask()
                assert late is not None
                self.now = late[1].lease_end
        if late is not None:
            self.finish(late, "ok", seconds=0.1)
        self.now = max(self.now, self.model.until)
        return self.ask()

    @precondition(lambda self: self.model.state is METRICS_ONLY)
    @rule(at_once=st.lists(st.booleans(), min_size=1, max_size=4))
    def an_outage_is_only_watched(self, at_once: list[bool]) -> None:
        for each in at_once:
            call = self.ask()
            assert call is not None
            self.finish(call, "fail", 0.1, at_once=each)

    @precondition(lambda self: self.model.may_trip() and self.config.success_threshold > 1)
    @rule(target=calls, outcome=st.sampled_from(["ok", "ok", "neutral", "fail"]))
    def a_probe_hangs_and_answers_beside_its_successor(self, outcome: str) -> tuple[Ticket, Call] | None:
        """Its slot is lost by then; its answer is not, and it takes nobody else's slot along."""
        self.trip(0.0)
        self.now = max(self.now, self.model.until)
        overdue = self.ask()
        assert overdue is not None
        self.now = overdue[1].lease_end
        successor = self.ask()
        assert successor is not None
        self.finish(overdue, outcome)
        return successor

    @precondition(lambda self: self.model.state is CLOSED and len(self.model.all) < 50)
    @rule(count=st.integers(90, 210))
    def many_good_answers(self, count: int) -> None:
        for _ in range(count):
            call = self.ask()
            assert call is not None
            self.finish(call, "ok", seconds=0.5)

    # -- the operator

    @rule(state=st.sampled_from([FORCED_OPEN, CLOSED, DISABLED, METRICS_ONLY]))
    def force(self, state: CircuitState) -> None:
        assert self.circuit.force(state) is self.model.force(state)

    @rule(roll=ROLLS)
    def trip(self, roll: float) -> None:
        if self.model.may_trip():
            assert self.circuit.trip(self.now, roll=roll) is self.model.trip(self.now, roll)
        else:
            with pytest.raises(ValueError, match="cannot be tripped"):
                self.circuit.trip(self.now)

    @rule()
    def reset(self) -> None:
        self.circuit.clear()
        self.model.reset()

    # -- what must hold after every step

    @invariant()
    def both_agree(self) -> None:
        circuit, record, model = self.circuit, self.circuit.record, self.model
        failed = sum(not good for _, good, _ in model.all)

        assert circuit.state is model.state
        assert (record.late, record.rejected) == (model.late, model.rejected)
        assert (record.neutral, record.slow, record.failures) == (model.neutral, model.slow, failed)
        assert record.calls == len(model.all) + model.neutral
        assert record.opened_count == model.opened
        assert circuit.probes_in_flight == len(model.probes)
        assert record.recent(self.now) == model.recent(self.now)
        assert record.p95() == pytest.approx(model.p95())
        assert circuit.retry_after(self.now) == pytest.approx(model.retry_after(self.now), abs=2e-6)
        if model.state in (CLOSED, METRICS_ONLY):
            window = model.window(self.now)
            counts = (len(window), sum(each == "fail" for _, each, _ in window), sum(slow for _, _, slow in window))
            assert circuit.failures == model.level()
            assert circuit.window(self.now) == counts
        if model.state is HALF_OPEN:
            assert circuit.probing.successes == sum(each == "ok" for _, each, _ in model.history)

    @invariant()
    def never_more_probes_than_allowed(self) -> None:
        held = [probe for probe in self.model.probes if probe.lease_end > self.now]
        assert len(held) <= self.config.probes_at_once
        assert self.circuit.probes_in_flight <= self.config.probes_at_once

    @invariant()
    def counts_are_never_negative(self) -> None:
        circuit, record = self.circuit, self.circuit.record
        assert min(circuit.failures, record.neutral, record.slow, *circuit.window(self.now)) >= 0

    @invariant()
    def only_a_refusing_circuit_names_a_wait(self) -> None:
        wait = self.circuit.retry_after(self.now)
        assert wait is None or wait >= 0
        if self.circuit.state in (CLOSED, DISABLED, METRICS_ONLY):
            assert wait == 0


TestCircuit = CircuitMachine.TestCase
