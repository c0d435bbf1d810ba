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

from resilient_ai._adaptive_limit.permit import Place, Waiter
from resilient_ai._adaptive_limit.state import Limit, LimitConfig
from resilient_ai._core.event_loops import Era

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
        self.hosts: dict[Place, Place] = {}  # of places that are lent, whose they are
        self.loops = [Era(None), Era(None)]
        self.buried: set[Place] = set()
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
        self.answered_at = -math.inf
        self.asked_in_silence = -math.inf

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

    def down(self) -> bool:
        """Whether it has answered before, and not since it last said that it is overloaded."""
        return self.overloaded > -math.inf and not self.crowd and self.limit.normal.seen > 0

    @property
    def in_flight(self) -> int:
        return len(self.held) - len(self.hosts)

    @property
    def taken(self) -> int:
        return self.in_flight - sum(place.lost for place in self.held)

    def room(self) -> bool:
        return self.taken < self.limit.places or self.limit.silent(self.now)

    def gave_back(self, place: Place) -> None:
        """A place that was lent falls back to its host, one that outlives its host is passed on or counted."""
        self.held.remove(place)
        host = self.hosts.pop(place, None)
        for guest in [guest for guest, lender in self.hosts.items() if lender is place]:
            del self.hosts[guest]
            if host is not None:
                self.hosts[guest] = host

    def can_lend(self, host: Place | None) -> bool:
        return host is not None and host in self.held and host not in self.hosts.values() and not host.lost

    def took(self, place: Place, host: Place | None = None) -> Place:
        if self.limit.silent(self.now):
            assert self.now - self.answered_at >= 1.0  # it has not just answered
            assert self.now >= self.asked_in_silence + self.limit.normal.typical - 1e-9  # one more, and no crowd
            self.asked_in_silence = self.now
        elif host is None:
            assert self.taken < self.limit.places  # somebody stood up first
        if host is not None:
            assert host not in self.hosts.values()  # one at a time
            self.hosts[place] = host
        assert self.now >= self.pause_until  # not before the provider's own wait
        assert self.now >= self.not_before - 1e-9
        self.held.append(place)
        self.begun[place] = self.rounds
        self.crowds[place] = self.taken
        self.sends.append(self.now)
        self.let_in += 1
        rate = self.limit.pace.rate(self.now)
        self.not_before = self.now + 1 / rate if rate is not None else -math.inf
        return place

    # -- callers

    @rule(target=places, loop=st.integers(0, 1))
    def come(self, loop: int) -> object:
        place = self.limit.enter(self.now, self.loops[loop])
        if place is None:
            return multiple()
        assert not self.line  # nobody overtakes those in line
        return self.took(place)

    @rule(left=st.sampled_from([0.5, 4.0, 30.0, math.inf]), loop=st.integers(0, 1), spare=st.booleans())
    def stand_in_line(self, left: float, loop: int, spare: bool) -> None:
        self.ask_to_wait(left, loop, None, spare=spare)

    @rule(host=places, left=st.sampled_from([4.0, math.inf]), loop=st.integers(0, 1))
    def stand_in_line_while_holding_a_place(self, host: Place, left: float, loop: int) -> None:
        if host in self.held:
            self.ask_to_wait(left, loop, host)

    def ask_to_wait(self, left: float, loop: int, host: Place | None, *, spare: bool = False) -> None:
        patience = self.limit.patience(self.now, left, host, spare=spare)
        full = len(self.line) >= self.config.max_queue_size and not self.can_lend(host)
        if patience is None:
            assert full or self.limit.wait(self.now) > 0 or (spare and self.limit.silent(self.now))  # for a reason
            return
        assert not full
        assert not (spare and self.limit.silent(self.now))
        assert 0 <= patience <= (left if left < math.inf else 60.0)
        assert self.config.max_wait is None or patience <= self.config.max_wait
        waiter = Waiter(self.now + patience, self.now + left, self.loops[loop], host)
        self.limit.join(waiter, self.now)
        self.line.append((waiter, self.now + patience))

    @precondition(lambda self: self.line)
    @rule(target=places, index=st.integers(0, 3))
    def ask_for_a_turn(self, index: int) -> object:
        waiter, _ = self.line[index % len(self.line)]
        answer = self.limit.turn(waiter, self.now)
        if isinstance(answer, Place):
            host = waiter.host if self.can_lend(waiter.host) else None
            assert host is not None or waiter is self.line[0][0]  # first come, first served
            self.line = [each for each in self.line if each[0] is not waiter]
            return self.took(answer, host)
        if answer is None:
            assert waiter.deadline - self.now < self.limit.normal.typical  # too late for an answer
            self.line = [each for each in self.line if each[0] is not waiter]
            self.limit.leave(waiter)
            return multiple()
        assert answer > 0
        if self.can_lend(waiter.host) or (waiter is self.line[0][0] and self.room()):
            assert answer < math.inf  # who can have a place waits for time alone, and knows how long
        return multiple()

    @precondition(lambda self: self.line)
    @rule(index=st.integers(0, 3))
    def give_up_waiting(self, index: int) -> None:
        waiter, _ = self.line.pop(index % len(self.line))
        self.limit.leave(waiter)

    @rule(target=places, loops=st.lists(st.integers(0, 1), min_size=2, max_size=4))
    def calls_within_calls(self, loops: list[int]) -> object:
        """When every place is taken, one call goes on inside another."""
        made = []
        while (place := self.limit.enter(self.now, self.loops[loops[0]])) is not None:
            made.append(self.took(place))
        if not made:
            return multiple()
        for loop in loops[1:]:
            waiter = Waiter(math.inf, math.inf, self.loops[loop], made[-1])
            self.limit.join(waiter, self.now)
            place = self.limit.turn(waiter, self.now)
            if not isinstance(place, Place):
                self.limit.leave(waiter)
                break
            made.append(self.took(place, made[-1]))
        return multiple(*made)

    @rule(loop=st.integers(0, 1))
    def close_a_loop(self, loop: int) -> None:
        """Its calls and those of it in line are gone; what is collected later changes nothing."""
        era, self.loops[loop] = self.loops[loop], Era(None)
        self.limit.bury(era)
        self.line = [each for each in self.line if each[0].era is not era]
        lost = [each for each in self.held if each.era is era]
        self.buried |= set(lost)
        for place in lost:
            self.gave_back(place)

    # -- the provider

    @rule(
        place=consumes(places),
        outcome=st.sampled_from(["succeed", "overload", "time_out", "fail", "give_back", "release"]),
    )
    def end(self, place: Place, outcome: str) -> None:
        if place in self.buried:
            self.limit.release(place, self.now)  # collected with its task
            return
        before, news = self.limit.limit, self.news(place)
        self.gave_back(place)
        others = self.in_flight
        if outcome == "overload" and (self.too_soon() or self.down()):
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
        if outcome == "succeed":
            self.answered_at = self.now
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
        if place in self.buried:
            return
        self.gave_back(place)
        before = self.limit.limit
        if self.news(place) and (self.config.pace or not (self.too_soon() or self.down())):
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
            self.answered_at = self.now

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.9, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def a_dozen_normal_answers(self, seconds: float) -> None:
        for _ in range(12):
            place = self.limit.enter(self.now, self.loops[0])
            if place is None:
                return
            self.took(place)
            self.gave_back(place)
            self.now += seconds
            self.limit.succeed(place, self.now)
            self.answered_at = self.now
            if self.news(place):
                self.crowd = max(self.crowd, self.crowds[place])
            self.good += 1

    @rule()
    def a_rate_limit_with_stragglers(self) -> None:
        """Two calls of the same moment are refused: the second is no news, and cuts nothing further."""
        pair = []
        while len(pair) < 2 and (place := self.limit.enter(self.now, self.loops[0])) is not None:
            pair.append(self.took(place))
        after = []
        for place in pair:
            self.gave_back(place)
            if self.news(place) and (self.config.pace or not (self.too_soon() or self.down())):
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
        self.pause_until = self.not_before = self.asked_in_silence = -math.inf
        assert self.limit.limit == self.config.initial

    # -- what must hold after every step

    @invariant()
    def numbers_agree(self) -> None:
        assert self.limit.in_flight == self.in_flight == sum(each.in_flight for each in self.loops)
        assert [*self.limit.line] == [waiter for waiter, _ in self.line]
        assert (self.limit.total, self.limit.answered, self.limit.failed) == (self.let_in, self.good, self.bad)

    @invariant()
    def the_limit_stays_within_its_bounds(self) -> None:
        assert self.config.min_limit <= self.limit.places <= self.config.max_limit

    @invariant()
    def whoever_can_have_a_place_is_called(self) -> None:
        line = [waiter for waiter, _ in self.line]
        if not self.room():
            line = [waiter for waiter in line if self.can_lend(waiter.host)]
        assert self.limit.called(self.now) is (line[0] if line else None)

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
            place = self.limit.enter(self.now, self.loops[0])
            assert place is not None
            self.limit.succeed(place, self.now)
        assert self.limit.limit >= self.config.initial


TestLimitMachine = LimitMachine.TestCase
TestLimitMachine.settings = settings(stateful_step_count=40)
