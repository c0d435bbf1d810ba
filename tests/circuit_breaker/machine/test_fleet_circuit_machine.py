"""A circuit that follows a fleet, under all that callers, workers, time, an operator and a hostile store can do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from resilient_ai import CircuitState
from resilient_ai._circuit_breaker.by_fleet import DOUBTED, RAMP, RAMP_FAILING
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._circuit_breaker.state import Circuit
from resilient_ai._circuit_breaker.window import TICK
from resilient_ai._core.sharing import Ruling

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
LONGEST = 60.0  # seconds for which the fleet is believed
SECONDS = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.9, 2.0, 5.0, 59.0, 60.0])
ROLLS = st.sampled_from([0.0, 0.5, 0.999])


def opened(seconds, probes=0):
    return Ruling(opened=True, seconds=seconds, reason="the fleet", probes=probes, longest=LONGEST)


class FleetCircuitMachine(RuleBasedStateMachine):
    tickets = Bundle("tickets")

    @initialize(threshold=st.integers(1, 4), recovery=st.sampled_from([0.2, 5.0]), probes=st.integers(1, 2))
    def begin(self, threshold, recovery, probes):
        self.now = 1000.0
        config = CircuitConfig(failure_threshold=threshold, recovery_timeout=recovery, success_threshold=probes)
        self.circuit, self.recovery = Circuit(config), recovery
        self.probes = []  # tickets that were given out while the fleet held it open
        self.set_by_operator = None

    def ask(self, roll, workers):
        before, circuit = self.circuit.state, self.circuit
        ticket, changed = circuit.admit(self.now, roll=roll, workers=workers)

        assert (changed is not None) == (circuit.state is not before)
        if ticket is not None and circuit.by_fleet is not None and circuit.by_fleet.holds:
            self.probes = [each for each in self.probes if circuit.holds(each) or circuit.counts(each)] + [ticket]
        return ticket

    @rule(target=tickets, roll=ROLLS, workers=st.sampled_from([0, 1, 2, 50]))
    def call(self, roll, workers):
        return self.ask(roll, workers)

    @rule(ticket=consumes(tickets), good=st.booleans())
    def ends(self, ticket, good):
        circuit = self.circuit
        if ticket is None:
            return
        self.probes = [each for each in self.probes if each is not ticket]
        fleet, counts = circuit.by_fleet, circuit.counts(ticket)
        probing = counts and fleet is not None and fleet.holds
        trial, alone = probing and fleet.trial, fleet is not None and fleet.alone
        if good:
            circuit.succeed(ticket, self.now, 0.1)
        else:
            circuit.fail(ticket, self.now, 0.1)
            if counts and fleet is not None:
                assert fleet.next_trial == self.now + LONGEST  # its own failure is a reason to believe the fleet
        verdict = None if fleet is None else fleet.taken()
        if probing and not trial:
            assert verdict == ("answered" if good else "failed")
            assert circuit.state is (HALF_OPEN if good else OPEN)
        elif not alone:
            assert verdict in (None, "doubted")
        if verdict == "doubted":
            assert circuit.state is CLOSED

    @rule(ticket=consumes(tickets))
    def is_cancelled(self, ticket):
        if ticket is not None:
            self.circuit.release(ticket)
            self.probes = [each for each in self.probes if each is not ticket]

    @rule(seconds=SECONDS)
    def wait(self, seconds):
        self.now += seconds

    @rule(seconds=st.sampled_from([0.0, 0.5, 10.0, 1e12]), probes=st.integers(0, 30))
    def hears_open(self, seconds, probes):
        circuit, before = self.circuit, self.circuit.state
        doubted = circuit.by_fleet is not None and self.now < circuit.by_fleet.doubted_until
        changed = circuit.hear_open(self.now, opened(seconds, probes))

        if self.set_by_operator is not None or doubted:
            assert changed is None
            assert circuit.state is before
        elif before is CLOSED:
            assert changed is OPEN
            assert circuit.opened_by == "fleet"
        if circuit.state is OPEN:
            assert circuit.open_until - self.now <= max(LONGEST, self.recovery) + TICK

    @rule(roll=ROLLS)
    def hears_close(self, roll):
        before, by = self.circuit.state, self.circuit.opened_by
        changed = self.circuit.hear_close(self.now, roll=roll)

        if by != "fleet":  # "closed" ends what the fleet has opened, and nothing else
            assert changed is None
            assert self.circuit.state is before
        else:
            assert self.circuit.state is HALF_OPEN

    @rule(state=st.sampled_from([CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.METRICS_ONLY]))
    def operator_sets(self, state):
        self.circuit.force(state)
        self.set_by_operator = state

    @rule()
    def operator_closes(self):
        self.circuit.force(CLOSED)
        self.set_by_operator = None

    @precondition(lambda self: self.set_by_operator is None)
    @rule()
    def hostile_store_holds_it_open(self):
        """Somebody says "open" again and again: the worker's own two good calls set it free for ten minutes."""
        circuit, began, good = self.circuit, self.now, []
        circuit.force(CLOSED)
        if circuit.by_fleet is not None and self.now < circuit.by_fleet.doubted_until:
            return
        for _ in range(int(2.5 * LONGEST)):
            circuit.hear_open(self.now, opened(1e12))
            if (ticket := self.ask(0.999, 50)) is not None:
                self.now += 0.1
                circuit.hear_open(self.now, opened(1e12))
                circuit.succeed(ticket, self.now, 0.1)
                good.append(self.now)
            if circuit.state is CLOSED:
                break
            self.now += 1.0

        assert circuit.state is CLOSED
        assert len(good) == 2
        assert good[1] - good[0] >= LONGEST - 1
        assert circuit.by_fleet.taken() == "doubted"
        assert self.now - began <= 2 * LONGEST + 2
        assert circuit.hear_open(self.now, opened(1.0)) is None
        assert circuit.hear_open(self.now + DOUBTED - 1, opened(1.0)) is None

    @precondition(lambda self: self.set_by_operator is None)
    @rule()
    def calls_come_back_little_by_little(self):
        circuit = self.circuit
        circuit.force(CLOSED)
        if circuit.hear_open(self.now, opened(0.5)) is None:
            return
        circuit.hear_close(self.now)
        counts = []
        for _ in range(4):
            counts.append(sum(self.ask(0.0, 50) is not None for _ in range(50)))
            self.now += RAMP / 4

        assert counts == sorted(counts)
        assert counts[0] <= 6
        assert counts[-1] >= 3 * counts[0]
        assert circuit.admit(self.now)[1] is CLOSED

    @precondition(lambda self: self.set_by_operator is None)
    @rule(outcomes=st.lists(st.sampled_from(["good", "failed", "cancelled", "slow"]), max_size=4))
    def calls_are_all_back_after_a_bound_whatever_comes_of_them(self, outcomes):
        circuit = self.circuit
        circuit.force(CLOSED)
        if circuit.hear_open(self.now, opened(0.5)) is None:
            return
        circuit.hear_close(self.now)
        began = self.now
        while circuit.state is HALF_OPEN:
            assert self.now <= began + RAMP_FAILING + 0.1
            ticket = self.ask(0.0, 50)
            outcome = outcomes.pop() if outcomes and ticket is not None else "cancelled"
            if ticket is not None and outcome in ("good", "slow"):
                circuit.succeed(ticket, self.now, 0.01 if outcome == "good" else 9.0)
            elif ticket is not None:
                circuit.fail(ticket, self.now, 0.01) if outcome == "failed" else circuit.release(ticket)
            self.now += 0.05

        assert circuit.state in (CLOSED, OPEN)  # open by its own rule, where calls failed

    @invariant()
    def at_most_one_probe_of_the_fleet_is_under_way_here(self):
        fleet = self.circuit.by_fleet
        if fleet is not None and fleet.holds:
            assert self.circuit.probes_in_flight <= 1
            waiting = [each for each in self.probes if self.circuit.counts(each) and self.now < each.lease_end]
            assert len(waiting) <= 1

    @invariant()
    def nothing_holds_calls_up_for_longer_than_the_bound(self):
        """Whatever is said: after that time a call is let through, if one comes and none is under way."""
        fleet = self.circuit.by_fleet
        if fleet is None or not fleet.holds or self.circuit.probes_in_flight:
            return
        assert fleet.next_trial <= self.now + LONGEST
        assert self.circuit.refused_until <= fleet.next_trial

    @invariant()
    def an_operator_s_word_stands(self):
        if self.set_by_operator is not None:
            assert self.circuit.state is self.set_by_operator

    @invariant()
    def what_it_shows_fits_together(self):
        fleet, state = self.circuit.by_fleet, self.circuit.state
        if fleet is None:
            return
        assert not (fleet.holds and fleet.alone)
        assert not (fleet.ramp is not None and (fleet.holds or fleet.alone))
        if fleet.holds or fleet.alone or fleet.ramp is not None:
            assert state in (OPEN, HALF_OPEN)
            assert self.circuit.opened_by == "fleet"
        if state is CLOSED:
            assert self.circuit.open_ticket is not None
            assert self.circuit.opened_by is None


TestFleetCircuit = FleetCircuitMachine.TestCase
