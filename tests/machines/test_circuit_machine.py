"""
The circuit under everything that callers, time and an operator can do, beside a model that keeps plain histories.

The model knows no eras and no incremental counts: it remembers every outcome since the last change of state and
works the answer out from the whole list each time.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from resilient_ai import CircuitState
from resilient_ai._circuit import Circuit
from resilient_ai._circuit_config import CircuitConfig

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.METRICS_ONLY


class Call:
    """One admission as the model sees it."""

    def __init__(self, ticket: object, period: object, lease_end: float, *, recorded: bool) -> None:
        self.ticket = ticket
        self.period = period  # the stretch between two changes of state in which it began
        self.lease_end = lease_end
        self.recorded = recorded


class Model:
    def __init__(self, config: CircuitConfig) -> None:
        self.config = config
        self.changes = 0
        self.late = self.rejected = self.opened = self.calls = self.failed = 0
        self.openings = 0  # since the last time it closed
        self.enter(CLOSED)

    def enter(self, state: CircuitState) -> None:
        self.changes += 1
        self.state = state
        self.period = object()
        self.history: list[tuple[float, str, bool]] = []  # (when, outcome, slow) of this period
        self.probes: list[Call] = []
        if state not in (OPEN, HALF_OPEN):
            self.openings = 0

    def admits(self, now: float) -> bool:
        if self.state is OPEN and now >= self.until:
            self.enter(HALF_OPEN)
        if self.state is HALF_OPEN:
            free = self.config.probes_at_once - sum(probe.lease_end > now for probe in self.probes)
            return free > 0
        return self.state in (CLOSED, DISABLED, METRICS_ONLY)

    def end(self, call: Call, outcome: str, now: float, seconds: float, wait: float | None, at_once: bool) -> None:
        if not call.recorded:
            return
        if call.period is not self.period:
            self.late += 1
            return
        self.calls += 1
        if call in self.probes:
            self.probes.remove(call)
        if outcome == "neutral":
            return
        limit = self.config.slow_call_seconds
        slow = limit is not None and seconds > limit
        self.history.append((now, outcome, slow))
        self.failed += outcome == "fail"
        if self.state is HALF_OPEN:
            if outcome == "fail":
                self.open(now, wait)
            elif sum(each == "ok" for _, each, _ in self.history) >= self.config.success_threshold:
                self.enter(CLOSED)
        elif self.state is CLOSED and (
            (outcome == "fail" and at_once) or ((outcome == "fail" or slow) and self.breached(now))
        ):
            self.open(now, wait if outcome == "fail" else None)  # an answer names no wait

    def level(self) -> int:
        level = 0
        for _, outcome, _ in self.history:
            level = level + 1 if outcome == "fail" else max(0, level - 1)
        return level

    def breached(self, now: float) -> bool:
        config = self.config
        if config.failure_threshold is not None and self.level() >= config.failure_threshold:
            return True
        if config.window_calls is not None:
            window = self.history[-config.window_calls :]
        else:
            window = [each for each in self.history if now - each[0] < config.window_seconds]
        if len(window) < min(config.minimum_calls, config.window_calls or 10**9):
            return False
        failures = sum(outcome == "fail" for _, outcome, _ in window)
        slow = sum(each for _, _, each in window)
        rate, slow_rate = config.failure_rate_threshold, config.slow_call_rate_threshold
        return (rate is not None and failures / len(window) >= rate) or (
            config.slow_call_seconds is not None and slow / len(window) >= slow_rate
        )

    def open(self, now: float, wait: float | None) -> None:
        period = self.config.recovery_timeout
        most = self.config.max_recovery_timeout
        if most is not None:
            period = min(period * 2**self.openings, most)
        period = max(period, wait or 0.0)
        self.until = now + (period if most is None else min(period, most))
        openings = self.openings + 1 if self.state is HALF_OPEN or self.openings else 1
        self.enter(OPEN)
        self.openings = openings
        self.opened += 1


CONFIGS = st.one_of(
    st.builds(
        CircuitConfig,
        failure_threshold=st.integers(1, 4),
        recovery_timeout=st.sampled_from([0.0, 5.0]),
        success_threshold=st.integers(1, 3),
        half_open_max_calls=st.sampled_from([None, 1, 2]),
        timeout_seconds=st.sampled_from([None, 7.0]),
        max_recovery_timeout=st.sampled_from([None, 12.0]),
    ),
    st.builds(
        CircuitConfig,
        failure_threshold=st.just(None),
        recovery_timeout=st.just(5.0),
        success_threshold=st.integers(1, 2),
        failure_rate_threshold=st.sampled_from([0.1, 0.5, 1.0]),
        window_calls=st.sampled_from([None, 3, 10]),
        window_seconds=st.sampled_from([5.0, 10.0]),
        minimum_calls=st.integers(1, 6),
        slow_call_seconds=st.sampled_from([None, 2.0]),
        slow_call_rate_threshold=st.sampled_from([0.5, 1.0]),
    ),
)
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 4.9, 5.0, 7.0, 10.0, 31.0])  # just before, exactly at, well past


class CircuitMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize(config=CONFIGS)
    def begin(self, config: CircuitConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.circuit = Circuit(config)
        self.model = Model(config)
        self.changes = self.model.changes  # those that the circuit has told us of

    def heard(self, change: CircuitState | None) -> None:
        """The circuit tells of a change exactly when the model has one."""
        changed = self.model.changes - self.changes
        self.changes = self.model.changes
        if self.model.state is METRICS_ONLY and change is METRICS_ONLY and not changed:
            return
        assert (change is not None) == bool(changed)
        if change is not None:
            assert change is self.model.state

    def ask(self) -> Call | None:
        ticket, change = self.circuit.admit(self.now)
        allowed = self.model.admits(self.now)
        if change is not None or self.model.changes != self.changes:
            assert change is HALF_OPEN
            self.changes += 1
        assert (ticket is not None) == allowed
        if ticket is None:
            self.model.rejected += 1
            return None
        call = Call(
            ticket,
            self.model.period,
            self.now + (max(self.config.recovery_timeout, self.config.timeout_seconds or 0.0) or 30.0),
            recorded=self.model.state is not DISABLED,
        )
        if self.model.state is HALF_OPEN:
            self.model.probes.append(call)
        return call

    def finish(
        self, call: Call, outcome: str, seconds: float = 0.0, wait: float | None = None, at_once: bool = False
    ) -> None:
        self.model.end(call, outcome, self.now, seconds, wait, at_once)
        if outcome == "ok":
            change = self.circuit.succeed(call.ticket, self.now, seconds)  # type: ignore[arg-type]
        elif outcome == "fail":
            change = self.circuit.fail(call.ticket, self.now, seconds, retry_after=wait, at_once=at_once)  # type: ignore[arg-type]
        else:
            change = self.circuit.release(call.ticket)  # type: ignore[arg-type,func-returns-value]
        self.heard(change)

    # -- callers

    @rule(target=calls)
    def start(self) -> Call | None:
        return self.ask()

    @rule(
        call=consumes(calls),
        outcome=st.sampled_from(["ok", "fail", "neutral"]),
        seconds=st.sampled_from([0.0, 2.0, 2.5]),
        wait=st.sampled_from([None, 1.0, 8.0, 40.0]),
        at_once=st.booleans(),
    )
    def end(self, call: Call | None, outcome: str, seconds: float, wait: float | None, at_once: bool) -> None:
        if call is not None:
            self.finish(call, outcome, seconds, wait, at_once)

    @rule(outcomes=st.lists(st.sampled_from(["ok", "fail", "neutral"]), min_size=1, max_size=8))
    def call_one_after_the_other(self, outcomes: list[str]) -> None:
        for outcome in outcomes:
            call = self.ask()
            if call is not None:
                self.finish(call, outcome)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model.state is OPEN)
    @rule(earlier=st.sampled_from([0.0, 0.01]))
    def wait_for_the_deadline(self, earlier: float) -> None:
        self.now = max(self.now, self.model.until - earlier)

    @precondition(lambda self: self.model.state is CLOSED and self.config.failure_threshold is not None)
    @rule(target=calls)
    def outage_with_a_straggler(self) -> Call | None:
        """A call from before the outage is still running when the probing begins."""
        straggler = self.ask()
        for _ in range(self.config.failure_threshold or 0):
            call = self.ask()
            if call is not None:
                self.finish(call, "fail")
        self.now = max(self.now, self.model.until)
        return straggler

    # -- the operator

    @rule(state=st.sampled_from([FORCED_OPEN, CLOSED, DISABLED, METRICS_ONLY]))
    def force(self, state: CircuitState) -> None:
        silent = state is self.model.state
        if not silent or state is CLOSED:
            self.model.enter(state)
        if silent:  # closed by force starts from zero, and nobody has to hear of it
            self.changes = self.model.changes
        self.heard(self.circuit.force(state))

    @rule()
    def trip(self) -> None:
        if self.model.state in (FORCED_OPEN, DISABLED, METRICS_ONLY):
            with pytest.raises(ValueError, match="cannot be tripped"):
                self.circuit.trip(self.now)
            return
        if self.model.state is not OPEN or self.now >= self.model.until:
            self.model.openings = max(0, self.model.openings - 1)  # an operator's opening does not lengthen the period
            self.model.open(self.now, None)
        self.heard(self.circuit.trip(self.now))

    @rule()
    def reset(self) -> None:
        self.circuit.clear()
        self.model = Model(self.config)
        self.changes = self.model.changes

    # -- what must hold after every step

    @invariant()
    def both_agree(self) -> None:
        assert self.circuit.state is self.model.state
        assert (self.circuit.late, self.circuit.rejected) == (self.model.late, self.model.rejected)
        assert (self.circuit.total_calls, self.circuit.total_failures) == (self.model.calls, self.model.failed)
        assert self.circuit.opened_count == self.model.opened
        if self.model.state in (CLOSED, METRICS_ONLY):
            assert self.circuit.failures == self.model.level()
        if self.model.state is OPEN:
            assert self.circuit.open_until == self.model.until

    @invariant()
    def never_more_probes_than_allowed(self) -> None:
        held = [probe for probe in self.model.probes if probe.lease_end > self.now]
        assert len(held) <= self.config.probes_at_once
        assert self.circuit.probes_in_flight <= self.config.probes_at_once

    @invariant()
    def counts_are_never_negative(self) -> None:
        circuit = self.circuit
        assert min(circuit.failures, circuit.successes, circuit.neutral, circuit.slow, *circuit.window(self.now)) >= 0

    @invariant()
    def the_wait_is_never_negative(self) -> None:
        wait = self.circuit.retry_after(self.now)
        assert wait is None or wait >= 0


CircuitMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestCircuit = CircuitMachine.TestCase
