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

from resilient_ai._adaptive_limit.config import LimitConfig
from resilient_ai._adaptive_limit.permit import Permit
from resilient_ai._adaptive_limit.queue import Waiter
from resilient_ai._adaptive_limit.state import Limit
from resilient_ai._core.event_loops import LoopUsage

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
    permits = Bundle("permits")

    @initialize(config=CONFIGS)
    def begin(self, config: LimitConfig) -> None:
        self.now = 1000.0
        self.config = config
        self.limit = Limit(config)
        self.held: list[Permit] = []
        self.outers: dict[Permit, Permit] = {}  # of permits that are lent, whose they are
        self.loops = [LoopUsage(None), LoopUsage(None)]
        self.dropped: set[Permit] = set()
        self.queue: list[tuple[Waiter, float]] = []  # with the moment when its patience ends
        self.good = self.bad = 0
        self.begun: dict[Permit, int] = {}  # in which epoch a call began
        self.overloaded = -math.inf  # when an overload was the setback
        self.together = 0  # most calls under way since then of which one was answered
        self.starts: dict[Permit, int] = {}  # how many were under way when a call began
        self.answered_at = -math.inf
        self.asked_in_stall = -math.inf

    def news(self, permit: Permit) -> bool:
        """Whether a call began since the last setback; an older one says nothing about what is sent now."""
        return self.begun[permit] == self.limit.concurrency.epoch

    def too_soon(self) -> bool:
        """Whether an overload is followed by another before an answer could have come."""
        return self.now < self.overloaded + 2 * self.limit.latency.typical

    def lowered(self) -> str:
        """Why the limit or the pace was lowered since the last look."""
        why, self.limit.lowered = self.limit.lowered, ""
        if why == "overloaded":
            self.overloaded, self.together = self.now, 0
        return why

    def down(self) -> bool:
        """Whether it has answered before, and not since it last said that it is overloaded."""
        return self.overloaded > -math.inf and not self.together and self.limit.latency.seen > 0

    @property
    def in_flight(self) -> int:
        return len(self.held) - len(self.outers)

    @property
    def occupied(self) -> int:
        return self.in_flight - sum(permit in self.limit.in_flight.lost for permit in self.held)

    def room(self) -> bool:
        return self.occupied < self.limit.most or self.limit.stalled(self.now)

    def gave_back(self, permit: Permit) -> None:
        """A permit that was lent falls back to its outer, one that outlives its outer is passed on or counted."""
        self.held.remove(permit)
        outer = self.outers.pop(permit, None)
        for nested in [nested for nested, lender in self.outers.items() if lender is permit]:
            del self.outers[nested]
            if outer is not None:
                self.outers[nested] = outer

    def can_lend(self, outer: Permit | None) -> bool:
        lent, lost = self.outers.values(), self.limit.in_flight.lost
        return outer is not None and outer in self.held and outer not in lent and outer not in lost

    def took(self, permit: Permit, outer: Permit | None = None) -> Permit:
        if self.limit.stalled(self.now):
            assert self.now - self.answered_at >= 1.0  # it has not just answered
            assert self.now >= self.asked_in_stall + self.limit.latency.typical - 1e-9  # one more, and no crowd
            self.asked_in_stall = self.now
        elif outer is None:
            assert self.occupied < self.limit.most  # somebody stood up first
        if outer is not None:
            assert outer not in self.outers.values()  # one at a time
            self.outers[permit] = outer
        self.held.append(permit)
        self.begun[permit] = self.limit.concurrency.epoch
        self.starts[permit] = self.occupied
        return permit

    # -- callers

    @rule(target=permits, loop=st.integers(0, 1))
    def come(self, loop: int) -> object:
        permit = self.limit.enter(self.now, self.loops[loop])
        if permit is None:
            return multiple()
        assert not self.queue  # nobody overtakes those in line
        return self.took(permit)

    @rule(left=st.sampled_from([0.5, 4.0, 30.0, math.inf]), loop=st.integers(0, 1), alternative=st.booleans())
    def wait_in_queue(self, left: float, loop: int, alternative: bool) -> None:
        self.ask_to_wait(left, loop, None, alternative=alternative)

    @rule(outer=permits, left=st.sampled_from([4.0, math.inf]), loop=st.integers(0, 1))
    def wait_in_queue_while_holding_a_permit(self, outer: Permit, left: float, loop: int) -> None:
        if outer in self.held:
            self.ask_to_wait(left, loop, outer)

    def ask_to_wait(self, left: float, loop: int, outer: Permit | None, *, alternative: bool = False) -> None:
        patience = self.limit.patience(self.now, left, outer, alternative=alternative)
        full = len(self.queue) >= self.config.max_queue_size and not self.can_lend(outer)
        if patience is None:
            # For a reason.
            assert full or self.limit.wait(self.now) > 0 or (alternative and self.limit.stalled(self.now))
            return
        assert not full
        assert not (alternative and self.limit.stalled(self.now))
        assert 0 <= patience <= (left if left < math.inf else 60.0)
        assert self.config.max_wait is None or patience <= self.config.max_wait
        waiter = Waiter(self.now + patience, self.now + left, self.loops[loop], outer)
        self.limit.queue.join(waiter, self.now)
        self.queue.append((waiter, self.now + patience))
        self.queue.sort(key=lambda each: each[0].deadline)  # stable: who came first among equal deadlines

    @precondition(lambda self: self.queue)
    @rule(target=permits, index=st.integers(0, 3))
    def ask_for_a_turn(self, index: int) -> object:
        waiter, _ = self.queue[index % len(self.queue)]
        answer = self.limit.turn(waiter, self.now)
        if isinstance(answer, Permit):
            outer = waiter.outer if self.can_lend(waiter.outer) else None
            assert outer is not None or waiter is self.queue[0][0]  # the earliest deadline
            self.queue = [each for each in self.queue if each[0] is not waiter]
            return self.took(answer, outer)
        if answer is None:
            assert waiter.deadline - self.now < self.limit.latency.typical  # too late for an answer
            self.queue = [each for each in self.queue if each[0] is not waiter]
            self.limit.queue.leave(waiter)
            return multiple()
        assert answer > 0
        if self.can_lend(waiter.outer) or (waiter is self.queue[0][0] and self.room()):
            assert answer < math.inf  # who can have a permit waits for time alone, and knows how long
        return multiple()

    @precondition(lambda self: self.queue)
    @rule(index=st.integers(0, 3))
    def give_up_waiting(self, index: int) -> None:
        waiter, _ = self.queue.pop(index % len(self.queue))
        self.limit.queue.leave(waiter)

    @rule(target=permits, loops=st.lists(st.integers(0, 1), min_size=2, max_size=4))
    def calls_within_calls(self, loops: list[int]) -> object:
        """When every permit is taken, one call goes on inside another."""
        made = []
        while (permit := self.limit.enter(self.now, self.loops[loops[0]])) is not None:
            made.append(self.took(permit))
        if not made:
            return multiple()
        for loop in loops[1:]:
            waiter = Waiter(math.inf, math.inf, self.loops[loop], made[-1])
            self.limit.queue.join(waiter, self.now)
            permit = self.limit.turn(waiter, self.now)
            if not isinstance(permit, Permit):
                self.limit.queue.leave(waiter)
                break
            made.append(self.took(permit, made[-1]))
        return multiple(*made)

    @rule(loop=st.integers(0, 1))
    def close_a_loop(self, loop: int) -> None:
        """Its calls and those of it in line are gone; what is collected later changes nothing."""
        usage, self.loops[loop] = self.loops[loop], LoopUsage(None)
        self.limit.drop_closed_loop(usage)
        self.queue = [each for each in self.queue if each[0].usage is not usage]
        lost = [each for each in self.held if each.usage is usage]
        self.dropped |= set(lost)
        for permit in lost:
            self.gave_back(permit)

    # -- the provider

    @rule(
        permit=consumes(permits),
        outcome=st.sampled_from(["succeed", "overload", "time_out", "fail", "give_back", "release"]),
    )
    def end(self, permit: Permit, outcome: str) -> None:
        if permit in self.dropped:
            self.limit.release(permit, self.now)  # collected with its task
            return
        before, news = self.limit.concurrency.value, self.news(permit)
        self.gave_back(permit)
        others = self.in_flight
        if self.too_soon() or self.down():
            news = False
        expected = max(self.config.min_limit, min(before, max(0.9 * others, before / 2, self.together)))
        if outcome == "succeed" and news:
            self.together = max(self.together, self.starts[permit])
        self.lowered()
        if outcome in ("succeed", "overload", "time_out", "release", "give_back"):
            getattr(self.limit, outcome)(permit, self.now)
        else:
            getattr(self.limit, outcome)(permit)
        if outcome == "succeed":
            self.answered_at = self.now
        self.good += outcome == "succeed"
        self.bad += outcome in ("overload", "time_out", "fail")
        if outcome in ("fail", "give_back"):
            assert self.limit.concurrency.value == before
        if outcome == "overload":
            lowered = self.lowered()
            assert news or not lowered  # a refusal of a call from before the last setback says nothing
            assert self.limit.concurrency.value == (expected if lowered else before)
        if outcome == "time_out":
            assert self.limit.concurrency.value <= before

    @rule(permit=consumes(permits), retry_after=st.sampled_from([None, 0.0, 3.0, 40.0]))
    def hit_the_rate_limit(self, permit: Permit, retry_after: float | None) -> None:
        if permit in self.dropped:
            return
        self.gave_back(permit)
        before, known = self.limit.concurrency.value, self.good > 0
        self.lowered()
        self.limit.too_fast(permit, self.now, retry_after)
        self.bad += 1
        lowered = self.lowered()
        if self.config.pace:
            assert self.limit.concurrency.value == before
            assert lowered in ("", "rate limit")
            assert not lowered or self.limit.pace.rate(self.now) is not None
            if lowered and not known and not self.held:  # nothing was taken, or may be yet
                assert self.limit.wait(self.now) >= (retry_after or 0.0) - 1e-9

    @rule(permit=permits)
    def first_item(self, permit: Permit) -> None:
        if permit in self.held:
            self.limit.answer(permit, self.now)
            self.answered_at = self.now

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.9, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def a_dozen_normal_answers(self, seconds: float) -> None:
        for _ in range(12):
            permit = self.limit.enter(self.now, self.loops[0])
            if permit is None:
                return
            self.took(permit)
            self.gave_back(permit)
            self.now += seconds
            self.limit.succeed(permit, self.now)
            self.answered_at = self.now
            if self.news(permit):
                self.together = max(self.together, self.starts[permit])
            self.good += 1

    @rule()
    def a_rate_limit_with_stragglers(self) -> None:
        """Two calls of the same moment are refused: the second is no news, and cuts nothing further."""
        pair = []
        while len(pair) < 2 and (permit := self.limit.enter(self.now, self.loops[0])) is not None:
            pair.append(self.took(permit))
        after = []
        self.lowered()
        for permit in pair:
            self.gave_back(permit)
            self.limit.too_fast(permit, self.now, None)
            self.bad += 1
            after.append(self.lowered())
        assert [bool(why) for why in after].count(True) <= 1

    @rule()
    def reset(self) -> None:
        self.limit.clear()
        self.overloaded, self.together = -math.inf, 0
        self.good = self.bad = 0
        self.asked_in_stall = -math.inf
        assert self.limit.concurrency.value == self.config.initial

    # -- what must hold after every step

    @invariant()
    def numbers_agree(self) -> None:
        assert self.limit.in_flight.count == self.in_flight
        for loop in self.loops:
            there = [each for each in self.held if each.usage is loop and each not in self.outers]
            assert self.limit.in_flight.count_in([loop]) == len(there)
        assert [*self.limit.queue] == [waiter for waiter, _ in self.queue]
        assert (self.limit.succeeded, self.limit.failed) == (self.good, self.bad)

    @invariant()
    def the_limit_stays_within_its_bounds(self) -> None:
        assert self.config.min_limit <= self.limit.most <= self.config.max_limit

    @invariant()
    def whoever_can_have_a_permit_is_called(self) -> None:
        line = [waiter for waiter, _ in self.queue]
        if not self.room():
            line = [waiter for waiter in line if self.can_lend(waiter.outer)]
        assert self.limit.next_called(self.now) is (line[0] if line else None)

    @invariant()
    def waits_are_finite_and_not_negative(self) -> None:
        assert 0 <= self.limit.wait(self.now) < math.inf

    def teardown(self) -> None:
        """Whatever happened: the line empties, and good answers bring the limit back to where it began."""
        if not hasattr(self, "limit"):
            return
        for permit in self.held:
            self.limit.release(permit, self.now)
        self.held.clear()
        while self.queue:
            waiter, _ = self.queue[0]
            answer = self.limit.turn(waiter, self.now)
            if isinstance(answer, Permit):
                self.queue.pop(0)
                self.limit.succeed(answer, self.now)
            elif answer is None:
                self.queue.pop(0)
                self.limit.queue.leave(waiter)
            else:
                assert answer < math.inf
                self.now += answer
        self.now += 100.0
        for _ in range(400):
            permit = self.limit.enter(self.now, self.loops[0])
            assert permit is not None
            self.limit.succeed(permit, self.now)
        assert self.limit.concurrency.value >= self.config.initial


TestLimitMachine = LimitMachine.TestCase
TestLimitMachine.settings = settings(stateful_step_count=40)
