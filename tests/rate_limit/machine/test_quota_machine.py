"""
The quota under everything that callers, the provider and time can do, beside a model that keeps plain histories.

The model knows no levels: it remembers what was sent and given back, and adds it up over every stretch of time.
"""

from __future__ import annotations

import math
from threading import RLock

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

from resilient_ai._core.event_loops import LoopUsage
from resilient_ai._rate_limit.config import RateLimitConfig
from resilient_ai._rate_limit.queue import Waiter
from resilient_ai._rate_limit.quota import Quota
from resilient_ai._rate_limit.told import Left, Told

CONFIGS = st.one_of(
    st.builds(
        RateLimitConfig,
        requests_per_minute=st.sampled_from([6.0, 60.0, 600.0]),
        tokens_per_minute=st.sampled_from([None, None, 600.0, 6000.0]),
        max_wait=st.sampled_from([None, 0.0, 8.0]),
        burst=st.sampled_from([1.0, 5.0]),
        max_queue_size=st.sampled_from([0, 3, 100]),
    ),
    st.builds(RateLimitConfig, tokens_per_minute=st.sampled_from([600.0, 6000.0])),
)
TOKENS = st.sampled_from([0.0, 1.0, 20.0, 45.0, 300.0, 600.0, 700.0])


class QuotaMachine(RuleBasedStateMachine):
    sent = Bundle("sent")

    @initialize(config=CONFIGS)
    def begin(self, config: RateLimitConfig) -> None:
        self.now = 1000.0
        self.config, self.lock = config, RLock()
        self.quota = Quota(config, self.now)
        self.loop = LoopUsage(None)
        self.queue: list[Waiter] = []
        self.paused_until = -math.inf
        self.history: dict[str, list[tuple[float, float]]] = {"requests": [], "tokens": []}
        self.bad = 0

    # -- the model

    def number(self, what: str) -> float | None:
        return self.config.requests_per_minute if what == "requests" else self.config.tokens_per_minute

    def note(self, requests: float, tokens: float) -> None:
        self.history["requests"].append((self.now, requests))
        self.history["tokens"].append((self.now, tokens))

    def took(self, tokens: float) -> float:
        """A call was let through: in no stretch of time was more sent than the quota has for it."""
        assert self.now >= self.paused_until
        assert self.quota.fits(tokens)
        self.note(1.0, tokens)
        for what, need in (("requests", 1.0), ("tokens", tokens)):
            if (number := self.number(what)) is None:
                continue
            most = max(1.0, number / 60 * self.config.burst)
            together = 0.0
            for when, amount in reversed(self.history[what]):
                together += amount
                allowed = most + number / 60 * (self.now - when) + max(0.0, need - most)
                assert together <= allowed * (1 + 1e-9) + 1e-6 * most
        return tokens

    # -- callers

    @rule(target=sent, tokens=TOKENS)
    def come(self, tokens: float) -> object:
        if not self.quota.enter(tokens, self.now):
            return multiple()
        assert not self.queue  # nobody overtakes the queue
        return self.took(tokens)

    @rule(target=sent, calls=st.sampled_from([1, 3, 50]))
    def come_quickly(self, calls: int) -> object:
        """As often as one look at the bucket tells that there is room."""
        through = []
        while len(through) < calls and self.quota.enter_quickly(self.now, self.lock):
            assert not self.queue
            through.append(self.took(0.0))
        return multiple(*through)

    @rule(tokens=TOKENS, left=st.sampled_from([0.5, 4.0, 30.0, math.inf]))
    def join(self, tokens: float, left: float) -> None:
        if not self.quota.fits(tokens):
            assert tokens > (self.config.tokens_per_minute or math.inf)
            return
        patience = self.quota.patience(tokens, self.now, left)
        wait = self.quota.wait(tokens, self.now)
        if patience is None:
            longest = min(left if left < math.inf else 60.0, self.config.max_wait or math.inf)
            reserved = self.quota.answer_time.slow > 0
            full = len(self.queue) >= self.config.max_queue_size
            assert full or reserved or self.config.max_wait == 0 or wait > longest  # for a reason
            return
        assert len(self.queue) < self.config.max_queue_size
        assert wait <= patience <= (left if left < math.inf else 60.0)
        assert self.config.max_wait is None or patience <= self.config.max_wait
        waiter = Waiter(tokens, self.now + patience, self.loop)
        self.quota.queue.join(waiter)
        self.queue.append(waiter)

    @precondition(lambda self: self.queue)
    @rule(target=sent, index=st.integers(0, 3))
    def ask_for_a_turn(self, index: int) -> object:
        waiter = self.queue[index % len(self.queue)]
        seconds = self.quota.turn(waiter, self.now)
        if seconds is not None:
            assert seconds > 0
            return multiple()
        assert self.queue[0] is waiter  # first come, first served
        self.queue.remove(waiter)
        return self.took(waiter.tokens)

    @precondition(lambda self: self.queue)
    @rule(target=sent)
    def wait_as_long_as_told(self) -> object:
        """Nothing else happens: then the first waiter is served when it was told to ask again."""
        waiter = self.queue[0]
        while (seconds := self.quota.turn(waiter, self.now)) is not None:
            asked = self.now
            self.now += seconds
            waited = self.quota.turn(waiter, self.now)
            assert waited is None or waited < seconds  # and no later for having waited
            if waited is None:
                break
            assert self.now > asked
        self.queue.remove(waiter)
        return self.took(waiter.tokens)

    @precondition(lambda self: self.queue)
    @rule(index=st.integers(0, 3))
    def leave_the_queue(self, index: int) -> None:
        waiter = self.queue.pop(index % len(self.queue))
        self.quota.queue.leave(waiter)
        self.quota.queue.leave(waiter)  # twice changes nothing

    # -- calls

    @rule(tokens=consumes(sent), used=TOKENS)
    def settle(self, tokens: float, used: float) -> None:
        self.quota.settle(tokens, used, self.now)
        self.note(0.0, used - tokens)

    @rule(tokens=consumes(sent))
    def give_back(self, tokens: float) -> None:
        self.quota.give_back(tokens, self.now)
        self.note(-1.0, -tokens)

    @rule(tokens=consumes(sent), wait=st.sampled_from([0.0, 0.3, 5.0]))
    def too_fast(self, tokens: float, wait: float) -> None:
        self.quota.wait(0.0, self.now)  # by now it may have grown back
        factor = self.quota.factor
        lowered = self.quota.too_fast(wait, self.now)
        assert self.quota.factor < factor if lowered else self.quota.factor >= factor
        self.paused_until = max(self.paused_until, self.now + wait)
        self.bad += 1

    @rule(
        left=st.sampled_from([0.0, 1.0, 30.0, 5000.0]), limit=st.sampled_from([None, 60.0]), age=st.sampled_from([0, 3])
    )
    def told(self, left: float, limit: float | None, age: float) -> None:
        self.quota.wait(0.0, self.now)
        before = [bucket.level for bucket in (self.quota.requests, self.quota.tokens) if bucket is not None]
        self.quota.told(Told((Left(left, limit),), (Left(left, limit),)), self.now - age, self.now)
        after = [bucket.level for bucket in (self.quota.requests, self.quota.tokens) if bucket is not None]
        assert all(later <= earlier for earlier, later in zip(before, after, strict=True))  # it only ever holds back

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 7.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=sent, tokens=st.sampled_from([20.0, 300.0]))
    def rush_after_quiet(self, tokens: float) -> object:
        """Buckets full to the brim, and then as many calls as get through at one moment."""
        self.now += 100.0
        calls = []
        while not self.queue and len(calls) < 200 and self.quota.enter(tokens, self.now):
            calls.append(self.took(tokens))
        return multiple(*calls)

    @rule(target=sent, quick=st.sampled_from([1, 3, 50]))
    def rush_in_both_ways(self, quick: int) -> object:
        """A full bucket, from which calls are taken without a look at the time, just before it is looked at."""
        self.now += 100.0
        calls = []
        if not self.queue and self.quota.enter(0.0, self.now):
            calls.append(self.took(0.0))
        self.now += 0.045 * self.config.burst
        while len(calls) < quick and self.quota.enter_quickly(self.now, self.lock):
            calls.append(self.took(0.0))
        while not self.queue and len(calls) < 200 and self.quota.enter(0.0, self.now):
            calls.append(self.took(0.0))
        return multiple(*calls)

    # -- at every moment

    @invariant()
    def the_line_is_as_remembered(self) -> None:
        if hasattr(self, "quota"):
            assert list(self.quota.queue) == self.queue
            assert math.isclose(self.quota.queue.tokens, sum(each.tokens for each in self.queue), abs_tol=1e-6)
            assert self.quota.queue.first is (self.queue[0] if self.queue else None)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "quota"):
            assert self.quota.failed == self.bad
            assert 0.1 <= self.quota.factor <= 1.0
            for bucket in (self.quota.requests, self.quota.tokens):
                assert bucket is None or bucket.level <= bucket.most


TestQuotaMachine = QuotaMachine.TestCase
TestQuotaMachine.settings = settings(stateful_step_count=40)
