"""
A fleet that shares a quota, under everything that callers, the provider, the server and the network can do.

The model adds up what came into being (by time on the server; by time in workers that were alone; by debts that were
lost with their worker or the server's data). What was sent, what is in stock and what is left can never be more.
"""

from __future__ import annotations

import math
from threading import RLock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from resilient_ai._core.event_loops import LoopUsage
from resilient_ai._core.leasing import Ask, Units
from resilient_ai._rate_limit.config import RateLimitConfig
from resilient_ai._rate_limit.lease import Lease
from resilient_ai._rate_limit.queue import Waiter
from resilient_ai._rate_limit.quota import Quota
from resilient_ai._rate_limit.told import Left, Told
from tests.rate_limit.quota_server import QuotaServer

CONFIGS = st.sampled_from(
    [
        RateLimitConfig(requests_per_minute=6000.0, tokens_per_minute=60_000.0, burst=1.0),
        RateLimitConfig(requests_per_minute=6000.0, burst=5.0),
        RateLimitConfig(tokens_per_minute=6000.0, burst=1.0),
        RateLimitConfig(requests_per_minute=12.0, tokens_per_minute=6000.0),
    ]
)
TOKENS = st.sampled_from([0.0, 1.0, 20.0, 300.0, 2500.0])
WORKERS = st.integers(0, 2)
SIZE = 3


class Worker:
    """One process: its quota and its lease."""

    def __init__(self, config: RateLimitConfig, now: float) -> None:
        self.quota = Quota(config, now)
        self.lease = self.quota.lease = Lease(self.quota, SIZE, now)
        self.asked: Ask | None = None
        self.reached = True

    def levels(self) -> list[float]:
        """Requests and tokens in stock and promised."""
        found = []
        for bucket in (self.quota.requests, self.quota.tokens):
            level = 0.0
            if bucket is not None:
                level = bucket.level + (0.0 if bucket.supply is None else bucket.supply._promised)
            found.append(level)
        return found


class LeaseMachine(RuleBasedStateMachine):
    sent = Bundle("sent")

    @initialize(config=CONFIGS)
    def begin(self, config: RateLimitConfig) -> None:
        self.now, self.config, self.lock = 1000.0, config, RLock()
        self.server, self.loop = QuotaServer(), LoopUsage(None)
        self.workers = [Worker(config, self.now) for _ in range(SIZE)]
        self.used, self.created = [0.0, 0.0], [0.0, 0.0]

    def spend(self, requests: float, tokens: float) -> None:
        self.used[0] += requests
        self.used[1] += tokens

    def forget(self, worker: Worker, levels: list[float] | Units) -> None:
        """What is lost; a debt that is lost is as good as a gain."""
        for which, each in enumerate(levels):
            self.created[which] += max(0.0, -each)

    def serve(self, worker: Worker) -> list[tuple[Worker, float]]:
        served = []
        while (first := worker.quota.queue.first) is not None:
            seconds = worker.quota.turn(first, self.now)
            if seconds is not None:
                assert seconds > 0
                break
            self.spend(1, first.tokens)
            served.append((worker, first.tokens))
        return served

    # -- callers

    @rule(target=sent, index=WORKERS, tokens=TOKENS, calls=st.sampled_from([1, 1, 1, 5, 30]))
    def come(self, index: int, tokens: float, calls: int) -> object:
        worker, through = self.workers[index], []
        for _ in range(calls):
            if (tokens == 0 and worker.quota.enter_quickly(self.now, self.lock)) or worker.quota.enter(
                tokens, self.now
            ):
                self.spend(1, tokens)
                through.append((worker, tokens))
            elif (patience := worker.quota.patience(tokens, self.now, 8.0)) is not None:
                worker.quota.queue.join(Waiter(tokens, self.now + patience, self.loop))
        worker.lease.wants(self.now)
        return multiple(*through)

    @rule(index=WORKERS)
    def lose_patience(self, index: int) -> None:
        queue = self.workers[index].quota.queue
        for waiter in [each for each in queue if each.ends <= self.now]:
            queue.leave(waiter)

    @rule(target=sent, seconds=st.sampled_from([0.01, 0.05, 0.3, 0.5, 0.5, 3.0, 20.0]))
    def wait(self, seconds: float) -> object:
        self.now += seconds
        through = []
        for worker in self.workers:
            worker.quota.pass_time(self.now)
            if (part := worker.lease.part) is not None:
                assert 0 < part <= 1
                for which, bucket in enumerate((worker.quota.requests, worker.quota.tokens)):
                    if bucket is not None:
                        self.created[which] += seconds * bucket.per_minute / 60 * part
            through += self.serve(worker)
        return multiple(*through)

    # -- calls

    @rule(call=consumes(sent), used=TOKENS)
    def settle(self, call: tuple[Worker, float], used: float) -> None:
        worker, tokens = call
        if worker in self.workers:
            worker.quota.settle(tokens, used, self.now)
            self.spend(0, used - tokens)

    @rule(call=consumes(sent))
    def give_back(self, call: tuple[Worker, float]) -> None:
        worker, tokens = call
        if worker in self.workers:
            worker.quota.give_back(tokens, self.now)
            self.spend(-1, -tokens)

    @rule(call=consumes(sent), wait=st.sampled_from([0.0, 2.0, 5.0]))
    def too_fast(self, call: tuple[Worker, float], wait: float) -> None:
        worker, _ = call
        if worker in self.workers:
            worker.quota.too_fast(wait, self.now)
            assert not worker.quota.enter(0.0, self.now) or wait == 0

    @rule(index=WORKERS, left=st.sampled_from([0.0, 3.0, 500.0]))
    def told(self, index: int, left: float) -> None:
        self.workers[index].quota.told(Told((Left(left, 1000.0),), (Left(left, None),)), self.now, self.now)

    # -- questions

    @rule(
        target=sent,
        index=WORKERS,
        fate=st.sampled_from(["answered"] * 6 + ["question lost", "answer lost", "refused", "damaged"]),
        takes=st.sampled_from([0.0, 0.001, 0.4]),
    )
    def ask(self, index: int, fate: str, takes: float) -> object:
        worker = self.workers[index]
        worker.quota.pass_time(self.now)
        ask = worker.lease.ask(self.now)
        if ask is None:
            return multiple()
        assert worker.lease.ask(self.now) is None  # one question at a time
        assert min(*ask.queued, *ask.first, *ask.ahead, *ask.alone, ask.back.requests) >= 0
        assert all(first <= queued for first, queued in zip(ask.first, ask.queued, strict=True))
        assert 0 <= ask.patience <= 60
        grant = None
        if fate != "question lost" and fate != "refused":
            grant = self.server.take(ask, self.now)
            for units, queued, ahead in zip(grant.units, ask.queued, ask.ahead, strict=True):
                assert 0 <= units <= queued + ahead
        else:
            self.forget(worker, ask.back)
        self.on_the_way = grant.units if grant is not None else Units()
        through = self.wait(takes) if takes else multiple()
        if fate == "answered":
            worker.lease.answered(grant, self.now)
            assert worker.lease.part is None
        elif fate in ("refused", "damaged"):
            worker.lease.answered(None, self.now)
            assert worker.lease.part is not None
        else:
            worker.lease.lost(self.now)
            worker.reached = False
            assert worker.lease.ask(self.now) is None
        return multiple(*getattr(through, "values", ()), *self.serve(worker))

    @rule(index=WORKERS)
    def come_back(self, index: int) -> None:
        self.workers[index].lease.reached(SIZE)

    @rule()
    def server_loses_its_data(self) -> None:
        self.server.lose_data()

    # -- workers

    @rule(index=WORKERS)
    def die(self, index: int) -> None:
        self.forget(self.workers[index], self.workers[index].levels())
        self.workers[index] = Worker(self.config, self.now)

    @rule(index=WORKERS)
    def leave(self, index: int) -> None:
        worker = self.workers[index]
        if (ask := worker.lease.give_back()) is not None:
            self.server.take(ask, self.now)
        self.die(index)

    @rule(index=WORKERS)
    def be_quiet(self, index: int) -> None:
        """Nobody calls for a while: what is in stock goes back."""
        worker = self.workers[index]
        for waiter in list(worker.quota.queue):
            worker.quota.queue.leave(waiter)
        worker.lease.reached(SIZE)
        # A refused question is repeated after 10 s, and the stock goes back 2 s after the last call.
        for _ in range(26):
            self.now += 0.5
            for each in self.workers:
                each.quota.pass_time(self.now)
                if each.lease.part is not None:
                    for which, bucket in enumerate((each.quota.requests, each.quota.tokens)):
                        if bucket is not None:
                            self.created[which] += 0.5 * bucket.per_minute / 60 * each.lease.part
            if (ask := worker.lease.ask(self.now)) is not None:
                worker.lease.answered(self.server.take(ask, self.now), self.now)
        if worker.lease.part is None:
            assert all(abs(level) < 1 for level in worker.levels())

    # -- at every moment

    @invariant()
    def nothing_is_sent_that_was_not_there(self) -> None:
        if not hasattr(self, "workers"):
            return
        for which, whole in enumerate((self.config.requests_per_minute, self.config.tokens_per_minute)):
            if whole is None:
                continue
            stock = sum(worker.levels()[which] for worker in self.workers)
            there = self.server.created[which] + self.created[which]
            assert self.used[which] + stock + self.server.levels[which] <= there + 1e-6 * (1 + there)

    @invariant()
    def nobody_promises_more_than_the_line_can_wait_for(self) -> None:
        if hasattr(self, "workers"):
            for which, whole in enumerate((self.config.requests_per_minute, self.config.tokens_per_minute)):
                assert whole is None or self.server.levels[which] >= -whole

    @invariant()
    def a_worker_alone_takes_part_of_the_quota(self) -> None:
        for worker in getattr(self, "workers", ()):
            part = worker.lease.part
            assert part is None or 0 < part <= 1
            assert not math.isnan(sum(worker.levels()))


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(stateful_step_count=40)
