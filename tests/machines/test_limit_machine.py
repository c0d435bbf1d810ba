"""
The limit under everything that callers, providers and time can do, beside a model that keeps plain histories.

The model knows nothing of incremental counts: it remembers who came, who was let in and what became of them.
"""

from __future__ import annotations

import math

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

from resilient_ai._limit import Limit, LimitConfig, Place, Waiter

OUTCOMES = st.sampled_from(["succeed", "overload", "time_out", "fail", "give_back", "release"])
CONFIGS = st.builds(
    LimitConfig,
    initial=st.integers(2, 6),
    min_limit=st.integers(1, 2),
    max_limit=st.integers(6, 12),
    pace=st.booleans(),
    max_wait=st.sampled_from([None, 0.0, 5.0]),
    max_queue_size=st.sampled_from([0, 2, 100]),
)


class LimitMachine(RuleBasedStateMachine):
    places = Bundle("places")

    @initialize(config=CONFIGS)
    def begin(self, config: LimitConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.limit = Limit(config)
        self.held: list[Place] = []
        self.line: list[tuple[Waiter, float]] = []  # with the moment when its patience ends
        self.sends: list[float] = []
        self.pause_until = -math.inf
        self.not_before = -math.inf  # earliest send that the pace allows, by the rate after the last send
        self.let_in = self.good = self.bad = 0
        self.rounds = 0  # setbacks so far
        self.begun: dict[Place, int] = {}  # how many there had been when a call began
        self.overloaded = -math.inf  # when an overload was the setback
        self.crowd = 0  # most calls under way since then of which one was answered
        self.crowds: dict[Place, int] = {}  # how many were under way when a call began

    def news(self, place: Place) -> bool:
        """Whether a call began since the last setback; an older one says nothing about what is sent now."""
        return self.begun[place] == self.rounds

    def too_soon(self) -> bool:
        """Whether an overload is followed by another before an answer could have come."""
        return self.now < self.overloaded + 2 * self.limit.normal.typical

    def set_back(self, *, overload: bool) -> None:
        self.rounds += 1
        if overload:
            self.overloaded, self.crowd = self.now, 0

    def took(self, place: Place) -> Place:
        assert len(self.held) < self.limit.places  # somebody stood up first
        assert self.now >= self.pause_until  # not before the provider's own wait
        assert self.now >= self.not_before - 1e-9
        self.held.append(place)
        self.begun[place] = self.rounds
        self.crowds[place] = len(self.held)
        self.sends.append(self.now)
        self.let_in += 1
        rate = self.limit.pace.rate(self.now)
        self.not_before = self.now + 1 / rate if rate is not None else -math.inf
        return place

    # -- callers

    @rule(target=places)
    def come(self) -> object:
        place = self.limit.enter(self.now)
        if place is None:
            return multiple()
        assert not self.line  # nobody overtakes those in line
        return self.took(place)

    @rule(left=st.sampled_from([0.5, 4.0, 30.0, math.inf]))
    def stand_in_line(self, left: float) -> None:
        patience = self.limit.patience(self.now, left)
        full = len(self.line) >= self.config.max_queue_size
        if patience is None:
            assert full or self.limit.wait(self.now) > 0  # turned away for a reason
            return
        assert not full
        assert 0 <= patience <= (left if left < math.inf else 60.0)
        assert self.config.max_wait is None or patience <= self.config.max_wait
        waiter = Waiter(self.now + patience, self.now + left)
        self.limit.join(waiter)
        self.line.append((waiter, self.now + patience))

    @precondition(lambda self: self.line)
    @rule(target=places, index=st.integers(0, 3))
    def ask_for_a_turn(self, index: int) -> object:
        waiter, _ = self.line[index % len(self.line)]
        answer = self.limit.turn(waiter, self.now)
        if isinstance(answer, Place):
            assert waiter is self.line[0][0]  # first come, first served
            self.line.pop(0)
            return self.took(answer)
        if answer is None:
            assert waiter.deadline - self.now < self.limit.normal.typical  # too late for an answer
            self.line.pop(0)
            self.limit.leave(waiter)
            return multiple()
        assert answer > 0
        if waiter is self.line[0][0] and len(self.held) < self.limit.places:
            assert answer < math.inf  # the first in line with a place free waits for time alone, and knows how long
        return multiple()

    @precondition(lambda self: self.line)
    @rule(index=st.integers(0, 3))
    def give_up_waiting(self, index: int) -> None:
        waiter, _ = self.line.pop(index % len(self.line))
        self.limit.leave(waiter)

    # -- the provider

    @rule(
        place=consumes(places),
        outcome=st.sampled_from(["succeed", "overload", "time_out", "fail", "give_back", "release"]),
    )
    def end(self, place: Place, outcome: str) -> None:
        before, others, news = self.limit.limit, len(self.held) - 1, self.news(place)
        self.held.remove(place)
        if outcome == "overload" and self.too_soon():
            news = False
        expected = max(self.config.min_limit, min(before, max(0.9 * others, before / 2, self.crowd)))
        if outcome == "succeed" and news:
            self.crowd = max(self.crowd, self.crowds[place])
        if news and outcome in ("overload", "time_out"):
            self.set_back(overload=outcome == "overload")
        if outcome in ("succeed", "overload", "time_out", "release"):
            getattr(self.limit, outcome)(place, self.now)
        else:
            getattr(self.limit, outcome)(place)
        self.good += outcome == "succeed"
        self.let_in -= outcome == "give_back"
        self.bad += outcome in ("overload", "time_out", "fail")
        if outcome in ("fail", "give_back"):
            assert self.limit.limit == before
        if outcome == "overload":
            assert self.limit.limit == (expected if news else before)
        if outcome == "time_out":
            assert self.limit.limit <= before

    @rule(place=consumes(places), retry_after=st.sampled_from([None, 0.0, 3.0, 40.0]))
    def hit_the_rate_limit(self, place: Place, retry_after: float | None) -> None:
        self.held.remove(place)
        before = self.limit.limit
        if self.news(place) and (self.config.pace or not self.too_soon()):
            self.set_back(overload=not self.config.pace)
        self.limit.too_fast(place, self.now, retry_after)
        self.bad += 1
        if self.config.pace:
            self.pause_until = max(self.pause_until, self.now + (retry_after or 0.0))
            assert self.limit.limit == before
            assert self.limit.wait(self.now) >= (retry_after or 0.0) - 1e-9
            assert self.limit.pace.rate(self.now) is not None

    @rule(place=places)
    def first_item(self, place: Place) -> None:
        if place in self.held:
            self.limit.answer(place, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.9, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def a_dozen_normal_answers(self, seconds: float) -> None:
        for _ in range(12):
            place = self.limit.enter(self.now)
            if place is None:
                return
            self.took(place)
            self.held.remove(place)
            self.now += seconds
            self.limit.succeed(place, self.now)
            self.crowd = max(self.crowd, self.crowds[place])
            self.good += 1

    @rule()
    def a_rate_limit_with_stragglers(self) -> None:
        """Two calls of the same moment are refused: the second is no news, and cuts nothing further."""
        pair = []
        while len(pair) < 2 and (place := self.limit.enter(self.now)) is not None:
            pair.append(self.took(place))
        after = []
        for place in pair:
            self.held.remove(place)
            if self.news(place) and (self.config.pace or not self.too_soon()):
                self.set_back(overload=not self.config.pace)
            self.limit.too_fast(place, self.now, None)
            self.bad += 1
            after.append((self.limit.pace.rate(self.now), self.limit.limit))
        assert len(set(after)) <= 1

    @rule()
    def reset(self) -> None:
        self.limit.clear()
        self.rounds += 1
        self.overloaded, self.crowd = -math.inf, 0
        self.let_in = self.good = self.bad = 0
        self.pause_until = self.not_before = -math.inf
        assert self.limit.limit == self.config.initial

    # -- what must hold after every step

    @invariant()
    def numbers_agree(self) -> None:
        assert self.limit.in_flight == len(self.held)
        assert self.limit.waiting == len(self.line)
        assert (self.limit.total, self.limit.answered, self.limit.failed) == (self.let_in, self.good, self.bad)

    @invariant()
    def the_limit_stays_within_its_bounds(self) -> None:
        assert self.config.min_limit <= self.limit.places <= self.config.max_limit

    @invariant()
    def whoever_is_first_is_called_when_there_is_a_place(self) -> None:
        free = len(self.held) < self.limit.places
        assert self.limit.called() is (self.line[0][0] if self.line and free else None)

    @invariant()
    def waits_are_finite_and_not_negative(self) -> None:
        assert 0 <= self.limit.wait(self.now) < math.inf

    def teardown(self) -> None:
        """Whatever happened: the line empties, and good answers bring the limit back to where it began."""
        if not hasattr(self, "limit"):
            return
        for place in self.held:
            self.limit.release(place, self.now)
        self.held.clear()
        while self.line:
            waiter, _ = self.line[0]
            answer = self.limit.turn(waiter, self.now)
            if isinstance(answer, Place):
                self.line.pop(0)
                self.limit.succeed(answer, self.now)
            elif answer is None:
                self.line.pop(0)
                self.limit.leave(waiter)
            else:
                assert answer < math.inf
                self.now += answer
        self.now += 100.0
        for _ in range(400):
            place = self.limit.enter(self.now)
            assert place is not None
            self.limit.succeed(place, self.now)
        assert self.limit.limit >= self.config.initial


TestLimitMachine = LimitMachine.TestCase
TestLimitMachine.settings = settings(stateful_step_count=40)
