"""The pace under every sequence of refusals, stated waits and answers, beside what a caller may rely on."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_ai._adaptive_limit.config import LimitConfig
from resilient_ai._adaptive_limit.permit import Permit
from resilient_ai._adaptive_limit.state import Limit
from resilient_ai._core.event_loops import LoopUsage

SLOWEST = 0.1  # calls a second
STATED = st.sampled_from([None, 0.5, 3.0, 40.0, 3600.0])


class PaceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.limit = Limit(LimitConfig(initial=1000, min_limit=1000, max_limit=1000))
        self.loop = LoopUsage(None)
        self.under_way: list[Permit] = []
        self.held_since, self.held_until = math.inf, -math.inf  # the last wait that was obeyed
        self.sent_while_held = 0
        self.taken_ever = False

    def paced(self) -> bool:
        return self.limit.pace.rate(self.now) is not None

    @rule(count=st.integers(1, 30))
    def callers_come(self, count: int) -> None:
        for _ in range(count):
            permit = self.limit.enter(self.now, self.loop)
            if permit is None:
                assert self.limit.hold(self.now) > 0 or len(self.under_way) >= 1000  # nothing but the pace refuses
                self.limit.patience(self.now, math.inf)
            else:
                self.sent_while_held += self.now < self.held_until
                self.under_way.append(permit)

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 50))
    def one_is_answered(self, index: int) -> None:
        paced = self.paced()
        self.limit.succeed(self.under_way.pop(index % len(self.under_way)), self.now)
        self.taken_ever = True
        assert paced or not self.paced()  # an answer never slows anything down
        if self.limit.hold(self.now) == 0:
            self.held_until = -math.inf

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 50), stated=STATED)
    def one_is_refused(self, index: int, stated: float | None) -> None:
        permit = self.under_way.pop(index % len(self.under_way))
        self.limit.lowered = ""
        self.limit.too_fast(permit, self.now, stated)
        assert not self.limit.lowered or self.paced()
        if stated is not None and self.limit.hold(self.now) > 0 and self.limit.lowered and not self.taken_ever:
            self.held_since, self.held_until, self.sent_while_held = self.now, self.now + stated, 0

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 7.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_steady_provider_refuses_one_in_ten(self) -> None:
        """However it was before, that is no reason to slow down again and again."""
        for number in range(200):
            self.now += max(0.5, self.limit.hold(self.now))
            permit = self.limit.enter(self.now, self.loop)
            if permit is None:
                continue
            self.taken_ever = True
            self.sent_while_held = 0
            if number % 10 == 5:
                self.limit.too_fast(permit, self.now + 0.05, 1.0)
            else:
                self.limit.succeed(permit, self.now + 0.1)
        self.held_until = -math.inf
        rate = self.limit.pace.rate(self.now + 16.0)
        assert rate is None

    @rule()
    def it_is_forgotten_when_nothing_is_refused(self) -> None:
        stated = 3600.0 if self.held_until > self.now else 0.0
        self.now += stated + 3700.0

        assert not self.paced()
        assert self.limit.hold(self.now) == 0

    @invariant()
    def the_pace_has_a_floor(self) -> None:
        rate = self.limit.pace.rate(self.now)
        assert rate is None or rate >= SLOWEST - 1e-9

    @invariant()
    def waits_are_finite(self) -> None:
        assert 0 <= self.limit.hold(self.now) <= 3600.0

    @invariant()
    def a_stated_wait_is_probed_and_not_ignored(self) -> None:
        if self.now < self.held_until:
            assert self.sent_while_held <= 2 + math.log2(1 + self.now - self.held_since)

    @invariant()
    def whoever_waits_as_long_as_told_gets_through(self) -> None:
        later, limit = self.now, self.limit
        for _ in range(4):
            later += limit.pace.wait(later)
        assert limit.pace.wait(later) < 1e-6


TestPaceMachine = PaceMachine.TestCase
TestPaceMachine.settings = settings(stateful_step_count=30)
