"""
An endpoint's health under everything that callers, providers, operators and time can do, beside a model.

The model keeps chapters: a new one begins with every rest, every comeback and every word of the operator. It knows
which calls began in which chapter, and recounts them whenever it needs a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from resilient_ai import ErrorType
from resilient_ai._failover.health import (
    DENIED,
    LEAST_REST,
    LONG_REST,
    LONGEST_REST,
    TRIAL_LEASE,
    EndpointHealth,
    Ticket,
)
from resilient_ai.types import EndpointState

UP, RESTING, RETURNING, DOWN = (
    EndpointState.UP,
    EndpointState.RESTING,
    EndpointState.RETURNING,
    EndpointState.MARKED_DOWN,
)


@dataclass(eq=False)
class Call:
    """One call in flight: its ticket, when and in which chapter it began, and whether it was forced on the endpoint."""

    ticket: Ticket
    at: float
    chapter: Chapter
    forced: bool


@dataclass(eq=False)
class Chapter:
    """A time during which the endpoint's state does not change."""

    state: EndpointState
    began: float
    due: float = 0.0
    calls: list[Call] = field(default_factory=list)
    good: int = 0
    room: int = 0


class EndpointMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize(interval=st.sampled_from([5.0, 30.0]))
    def begin(self, interval: float) -> None:
        self.now = 1000.0
        self.interval = interval
        self.health = EndpointHealth()
        self.health.clear(self.now)
        self.chapter = Chapter(UP, self.now)
        self.flying: list[Call] = []
        self.uncounted: list[Call] = []  # of those, what was under way when a loop was closed
        self.good = self.bad = self.run = 0
        self.durations: list[float] = []

    # -- what the model expects

    def in_the_way(self) -> list[Call]:
        """Calls of this chapter that hold one of its few places."""
        return [call for call in self.chapter.calls if not call.forced and call not in self.uncounted]

    def expects_room(self) -> bool:
        held = self.in_the_way()
        if self.chapter.state is RESTING:
            hung = bool(held) and self.now >= held[-1].at + TRIAL_LEASE
            return self.now >= self.chapter.due and (not held or hung)
        if self.chapter.state is RETURNING:
            return len(held) < self.chapter.room
        return self.chapter.state is UP

    def took(self, ticket: Ticket, *, forced: bool) -> Call:
        if self.chapter.state is RESTING and not forced and self.in_the_way():
            self.chapter.calls.clear()  # a trial that hung longer than its lease has no say any more
        call = Call(ticket, self.now, self.chapter, forced)
        self.chapter.calls.append(call)
        self.flying.append(call)
        return call

    def ends(self, call: Call) -> bool:
        """Take the call back; whether it has a say in this chapter."""
        self.flying.remove(call)
        told = call.chapter is self.chapter and call in self.chapter.calls
        if told:
            self.chapter.calls.remove(call)
        return told

    # -- callers

    @rule(target=calls)
    def ask(self) -> Call:
        expected = self.expects_room()
        assert self.health.available(self.now) is expected
        ticket = self.health.admit(self.now)
        assert (ticket is not None) is expected
        return self.took(ticket, forced=False) if ticket is not None else multiple()

    @rule(target=calls)
    def ask_because_there_is_no_other(self) -> Call:
        expected = self.expects_room()
        ticket = self.health.admit(self.now, forced=True)
        assert (ticket is None) is (self.chapter.state is DOWN)
        return self.took(ticket, forced=not expected) if ticket is not None else multiple()

    @rule(call=consumes(calls), seconds=st.sampled_from([0.0, 0.5, 8.0]))
    def answer(self, call: Call, seconds: float) -> None:
        if call not in self.flying:
            return
        told, before = self.ends(call), self.chapter
        came_back = self.health.succeed(call.ticket, self.now, seconds)
        self.good += 1
        self.run += 1
        self.durations.append(seconds)
        if told and before.state is RESTING:
            self.chapter = Chapter(RETURNING, self.now, room=2)
        elif told and before.state is RETURNING:
            before.room += 1
            # When it counts as up again is the machine's own business, but not before, and surely then.
            assert self.health.state is RETURNING or before.room >= 8
            assert self.health.state is UP or before.room < 64
            if self.health.state is UP:
                self.chapter = Chapter(UP, before.began)
        assert came_back is (told and before.state is RESTING)

    @rule(
        call=consumes(calls),
        error_type=st.sampled_from([ErrorType.NETWORK_ERROR, ErrorType.RATE_LIMIT, ErrorType.AUTHENTICATION]),
        hint=st.sampled_from([None, 0.0, 3.0, 900.0]),
        roll=st.sampled_from([0.0, 0.5, 0.99]),
        forgiving=st.booleans(),
    )
    def fail(self, call: Call, error_type: ErrorType, hint: float | None, roll: float, forgiving: bool = False) -> None:
        if call not in self.flying:
            return
        run, self.run = self.run, 0
        told, before, rest_before = self.ends(call), self.chapter, self.health.rest
        rest = self.health.fail(
            call.ticket, self.now, error_type, interval=self.interval, hint=hint, roll=roll, forgiving=forgiving
        )
        self.bad += 1
        forced = call.forced and before.state is RESTING
        if not told or forced:
            assert rest is None
            if before.state is RESTING and (hint is not None or told):
                before.due = max(before.due, self.now + (rest_before if hint is None else hint))
            return
        if forgiving and before.state is UP and run >= 20 and hint is None and error_type is ErrorType.NETWORK_ERROR:
            assert rest is None  # it happens
            return
        least = self.interval if hint is None else hint
        if error_type in DENIED:
            least = max(least, LONG_REST)
        assert rest is not None
        assert max(least, LEAST_REST) <= rest <= max(least, LONGEST_REST)
        assert not self.health.available(self.now)
        self.chapter = Chapter(RESTING, self.now, due=self.now + rest)

    @rule(call=consumes(calls), wait=st.sampled_from([None, 4.0]))
    def refused_by_a_circuit(self, call: Call, wait: float | None) -> None:
        if call not in self.flying:
            return
        told, before = self.ends(call), self.chapter
        self.health.refuse(call.ticket, self.now, wait)
        if told and wait is not None:
            if before.state is RESTING:
                before.due = max(before.due, self.now + wait)
            else:
                self.chapter = Chapter(RESTING, self.now, due=self.now + wait)

    @rule(call=consumes(calls))
    def cancel(self, call: Call) -> None:
        if call in self.flying:
            self.ends(call)
            self.health.release(call.ticket)

    @rule(call=consumes(calls), head_start=st.sampled_from([0.0, 0.5]))
    def lose_to_a_hedge(self, call: Call, head_start: float) -> None:
        if call in self.flying:
            self.ends(call)
            seconds, known = self.now - call.at, self.health.latency()
            self.health.lose(call.ticket, self.now, seconds, seconds + head_start)
            if head_start and known is None:
                assert self.health.latency() is None
            else:
                self.durations.append(seconds)

    # -- checks, operators, time

    @rule(passed=st.booleans())
    def health_check(self, passed: bool) -> None:
        if self.chapter.state is RESTING and self.now < self.chapter.due:
            return  # it waits for the end of the rest
        if not passed:
            self.health.check_failed(self.now, self.interval)
            if self.chapter.state is RESTING:
                self.chapter.due = self.health.due
                assert self.chapter.due > self.now
            return
        assert self.health.checked(self.now) is (self.chapter.state is RESTING)
        if self.chapter.state is RESTING:
            self.chapter = Chapter(RETURNING, self.now, room=1)

    @rule(word=st.sampled_from(["down", "down", "up", "reset"]))
    def operator(self, word: str) -> None:
        state = self.chapter.state
        if word == "down":
            assert self.health.mark_down() is (state is not DOWN)
            self.chapter = self.chapter if state is DOWN else Chapter(DOWN, self.now)
        elif word == "up":
            assert self.health.mark_up(self.now) is (state is not UP)
            self.chapter = self.chapter if state is UP else Chapter(UP, self.now)
        else:
            self.health.clear(self.now)
            self.chapter = Chapter(UP, self.now)
            self.good = self.bad = self.run = 0
            self.durations = []

    @rule(seconds=st.sampled_from([0.1, 4.9, 5.0, 30.0, 61.0, 700.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.chapter.state is RESTING)
    @rule()
    def wait_for_the_end_of_the_rest(self) -> None:
        self.now = max(self.now, self.chapter.due)

    # -- the interesting corners

    @precondition(lambda self: self.chapter.state is UP)
    @rule(target=calls)
    def outage_with_a_straggler(self) -> Call:
        """A call of better times is still under way when the trial call of the first rest is sent."""
        straggler = self.took(self.health.admit(self.now), forced=False)
        unlucky = self.took(self.health.admit(self.now), forced=False)
        self.fail(unlucky, ErrorType.NETWORK_ERROR, None, 0.0)
        self.now = self.chapter.due
        self.took(self.health.admit(self.now), forced=False)
        return straggler

    @precondition(lambda self: self.chapter.state is RESTING)
    @rule(good=st.booleans(), hint=st.sampled_from([None, 0.0, 3.0]))
    def crowd_on_a_resting_endpoint(self, good: bool, hint: float | None) -> None:
        """Several calls are forced on it, the trial call among them perhaps; the second decides, others are late."""
        first, second, third = (self.ask_because_there_is_no_other() for _ in range(3))
        if good:
            self.answer(second, 0.1)
        else:
            self.fail(second, ErrorType.NETWORK_ERROR, hint, 0.0)
        self.state_and_numbers_agree()
        self.fail(third, ErrorType.NETWORK_ERROR, hint, 0.0)
        self.state_and_numbers_agree()
        self.answer(first, 0.1)

    @precondition(lambda self: self.chapter.state is RETURNING)
    @rule(target=calls)
    def as_many_as_may_return(self) -> Call:
        crowd = [self.took(ticket, forced=False) for _ in range(9) if (ticket := self.health.admit(self.now))]

        assert len(self.in_the_way()) <= self.chapter.room
        return multiple(*crowd)

    @precondition(lambda self: self.chapter.state is RESTING and not self.chapter.calls)
    @rule(target=calls, good=st.booleans())
    def trial_that_hangs(self, good: bool) -> Call:
        self.now = max(self.now, self.chapter.due)
        hung = self.ask()
        self.now += TRIAL_LEASE
        second = self.ask()
        if good:
            self.answer(hung, 0.1)
        else:
            self.fail(hung, ErrorType.NETWORK_ERROR, None, 0.0)
        return second

    @precondition(lambda self: self.chapter.state is not DOWN)
    @rule()
    def marked_down_under_way(self) -> None:
        call = self.ask_because_there_is_no_other()
        self.operator("down")
        self.fail(call, ErrorType.NETWORK_ERROR, None, 0.0)

    @precondition(lambda self: self.chapter.state is UP)
    @rule()
    def many_good_answers(self) -> None:
        for _ in range(19 + len(self.flying) % 2):
            self.answer(self.took(self.health.admit(self.now), forced=False), 0.1)

    @rule()
    def all_is_well_at_last(self) -> None:
        """Whatever was: when every call has ended and answers are good, a while later it is up."""
        for call in list(self.flying):
            self.cancel(call)
        if self.chapter.state is DOWN:
            self.operator("up")
        if self.chapter.state is RESTING:
            self.now = max(self.now, self.chapter.due)
        for _ in range(10):
            self.answer(self.took(self.health.admit(self.now), forced=False), 0.1)

        assert self.health.state is UP

    @rule()
    def a_loop_is_closed(self) -> None:
        """Nobody knows how many of the calls were in it; those that come back all the same are heard."""
        self.health.forget_calls()
        self.uncounted = list(self.flying)

    # -- what always holds

    @invariant()
    def state_and_numbers_agree(self) -> None:
        health = self.health
        assert health.state is self.chapter.state
        assert health.in_flight == len([call for call in self.flying if call not in self.uncounted])
        assert (health.ok, health.failures) == (self.good, self.bad)
        assert (health.open_ticket is not None) is (self.chapter.state is UP)
        if self.chapter.state is RESTING:
            assert abs(health.resting_for(self.now) - max(0.0, self.chapter.due - self.now)) < 1e-6

    @invariant()
    def what_is_marked_down_is_never_asked(self) -> None:
        if self.chapter.state is DOWN:
            assert not self.health.available(self.now)
            assert self.health.admit(self.now, forced=True) is None

    @invariant()
    def the_latency_is_one_that_was_seen(self) -> None:
        average = self.health.latency()
        if average is not None:
            assert min(self.durations) - 1e-9 <= average <= max(self.durations) + 1e-9


EndpointMachine.TestCase.settings = settings(stateful_step_count=40)
TestEndpointHealth = EndpointMachine.TestCase
