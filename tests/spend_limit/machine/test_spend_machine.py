"""A spend limit against a plain list of everything that was ever spent."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_ai._spend_limit.config import SpendConfig
from resilient_ai._spend_limit.state import SpendState, Unknown, Warned

USD, TOKENS, WARN_AT = 5.0, 1_000, 0.8
LIMITS = {"usd": USD, "tokens": TOKENS}


class SpendMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state = SpendState(SpendConfig(USD, TOKENS, WARN_AT))
        self.spent: list[tuple[float, str, float]] = []
        self.above = {"usd": False, "tokens": False}  # the share at which it warns
        self.stopped = False
        self.unknown: set[Unknown] = set()
        self.numbers = [0, 0, 0]  # refused, without usage, without price

    def sum_of(self, unit: str, at: float | None = None) -> float:
        """By minutes: each leaves an hour after it began."""
        at = self.now if at is None else at
        return math.fsum(amount for when, each, amount in self.spent if each == unit and when // 60 * 60 + 3600 > at)

    def reached(self, at: float | None = None) -> set[str]:
        return {unit for unit, limit in LIMITS.items() if self.sum_of(unit, at) >= limit}

    @rule(seconds=st.sampled_from([0.0, 0.5, 59.5, 60.0, 61.0, 1_700.0, 3_539.5, 3_600.0, 7_300.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        # Halves, so that sums are exact in binary.
        cost=st.sampled_from([None, 0.0, 0.5, 2.5, 4.0, 8.0]),
        tokens=st.sampled_from([None, 0, 100, 799, 1_000]),
        model=st.sampled_from([None, "a", "b"]),
        whole=st.booleans(),
    )
    def answer(self, cost: float | None, tokens: int | None, model: str | None, whole: bool) -> None:
        cost = None if tokens is None else cost
        expected: list[object] = []
        missing = []
        if tokens is None or not whole:
            self.numbers[1] += 1
            missing.append(Unknown(model, "usage"))
        if tokens is not None and cost is None:
            self.numbers[2] += 1
            missing.append(Unknown(model, "price"))
        expected += [each for each in missing if each not in self.unknown]
        self.unknown |= {*missing}
        for unit, amount in (("usd", cost), ("tokens", tokens)):
            if amount:
                before = self.sum_of(unit) >= LIMITS[unit] * WARN_AT and self.above[unit]
                self.spent.append((self.now, unit, amount))
                self.above[unit] = self.sum_of(unit) >= LIMITS[unit] * WARN_AT
                if self.above[unit] and not before:
                    expected.append(Warned(unit, self.sum_of(unit), LIMITS[unit]))

        assert self.state.spend(tokens, cost, model, self.now, whole=whole) == expected

    @rule()
    def ask(self) -> None:
        reached, refusal = self.reached(), self.state.admit(self.now)
        if not reached:
            assert refusal is None
            self.stopped = False
            return
        self.numbers[0] += 1
        assert refusal is not None
        assert refusal.unit in reached
        assert (refusal.spent, refusal.limit) == (self.sum_of(refusal.unit), LIMITS[refusal.unit])
        assert refusal.first is not self.stopped
        self.stopped = True

    @precondition(lambda self: self.reached())
    @rule()
    def wait_as_long_as_it_says(self) -> None:
        """Not a moment too long, and not too short."""
        refusal = self.state.reached(self.now)
        assert refusal is not None
        just_before = self.now + refusal.retry_after - 0.25
        assert self.reached(max(self.now, just_before))
        self.now += refusal.retry_after

        assert self.state.admit(self.now) is None
        self.stopped = False

    @rule()
    def outage_of_the_purse_with_stragglers(self) -> None:
        """Many in flight when the limit is reached, which come home over the next minutes."""
        for minute in range(4):
            self.now += 45.0 * minute
            self.answer(cost=4.0, tokens=799, model="a", whole=True)
        self.ask()

    @rule()
    def reset(self) -> None:
        self.state.clear()
        self.spent, self.stopped, self.unknown, self.numbers = [], False, set(), [0, 0, 0]
        self.above = {"usd": False, "tokens": False}

    @invariant()
    def it_knows_what_was_spent(self) -> None:
        assert (self.state.spent("usd", self.now), self.state.spent("tokens", self.now)) == (
            *(self.sum_of("usd"), self.sum_of("tokens")),
        )
        assert [self.state.refused, self.state.without_usage, self.state.without_price] == self.numbers


TestSpendMachine = SpendMachine.TestCase
TestSpendMachine.settings = settings(stateful_step_count=40)
