"""Workers that share a quota, its server and a provider in virtual time, without tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resilient_ai._rate_limit.config import RateLimitConfig
from resilient_ai._rate_limit.estimate import TokenEstimate
from resilient_ai._rate_limit.lease import Lease
from resilient_ai._rate_limit.queue import Waiter
from resilient_ai._rate_limit.quota import Quota
from tests.rate_limit.quota_server import QuotaServer
from tests.rate_limit.simulation import InVirtualTime, World

SHIFT, TRIP, LOOK = 8.0, 0.0005, 0.5  # seconds until others are busy; of a question; between looks at the stock


@dataclass
class Fleet:
    """
    What is simulated besides the world.

    Attributes:
        workers: That share the quota.
        away: When the server does not answer.
        skew: How unequal they are: demand by rank to the power of this.
        die: When some workers end without a word, and how many; their callers come to the others.
        mode: "leased"; "divided": each keeps an equal part, without a server; "unshared": each keeps the whole.
    """

    workers: int = 50
    away: tuple[float, float] = (math.inf, math.inf)
    skew: float = 1.0
    die: tuple[float, int] = (math.inf, 0)
    mode: str = "leased"


class Worker:
    """One process, and what became of its callers."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        parts = fleet.workers if fleet.mode == "divided" else 1
        config = RateLimitConfig(world.calls * 60 / parts, world.tokens * 60 / parts, burst=world.burst)
        self.quota = Quota(config, 0.0)
        self.lease = self.quota.lease = Lease(self.quota, fleet.workers, 0.0) if fleet.mode == "leased" else None
        self.estimate = TokenEstimate(None)
        self.asked = self.served = 0
        self.alive = True


class FleetSimulation(InVirtualTime):
    """Callers come by chance to workers that are unequally busy, wait for the quota, and try again after a refusal."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        super().__init__(world)
        self.fleet, self.server = fleet, QuotaServer()
        self.workers = [Worker(world, fleet) for _ in range(fleet.workers)]
        self.sent: list[tuple[float, float]] = []  # when, and how many tokens
        self.commands = 0
        weights = [1 / (index + 1) ** fleet.skew for index in range(fleet.workers)]
        for when in self.arrivals():
            turn = self.rng.choices(range(fleet.workers), weights)[0]
            alive = fleet.workers - (fleet.die[1] if when >= fleet.die[0] else 0)
            worker = self.workers[(turn + int(when / SHIFT) * 7) % fleet.workers % alive]
            self.at(when, self.come, worker, self.tokens_of_a_call(), True)
        for index, worker in enumerate(self.workers):
            self.at(LOOK * index / fleet.workers, self.look, worker)
        for worker in self.workers[fleet.workers - fleet.die[1] :]:
            self.at(fleet.die[0], self.die, worker)

    def die(self, worker):
        """It takes with it what it has in stock, what it was promised, and who waits there."""
        worker.alive = False
        for waiter in list(worker.quota.queue):
            worker.quota.queue.leave(waiter)
            del self.joined[waiter]

    # -- the server

    def look(self, worker):
        if not worker.alive:
            return
        self.ask(worker)
        self.at(self.now + LOOK, self.look, worker)

    def ask(self, worker):
        worker.quota.pass_time(self.now)
        if worker.lease is None:
            return
        if self.now >= self.fleet.away[1]:
            worker.lease.reached(self.fleet.workers)
        if (ask := worker.lease.ask(self.now)) is None:
            return
        self.commands += self.counted
        if self.fleet.away[0] <= self.now < self.fleet.away[1]:
            self.at(self.now + 1.0, self.lose, worker)
        else:
            self.at(self.now + TRIP, self.answer, worker, self.server.take(ask, self.now))

    def answer(self, worker, grant):
        if not worker.alive:
            return
        worker.quota.pass_time(self.now)
        worker.lease.answered(grant, self.now)
        self.serve(worker)

    def lose(self, worker):
        worker.quota.pass_time(self.now)
        worker.lease.lost(self.now)
        self.serve(worker)

    # -- callers

    def come(self, worker, call, first):
        if not worker.alive:
            return
        worker.asked += first and self.counted
        tokens = call[1] * worker.estimate.ratio
        if worker.quota.enter(tokens, self.now):
            self.send(worker, call, tokens, self.now)
            if worker.lease is not None and worker.lease.is_low():
                self.ask(worker)
        elif (patience := worker.quota.patience(tokens, self.now, self.world.patience)) is None:
            self.turned_away += self.counted
        else:
            waiter = Waiter(tokens, self.now + patience, self.loop)
            worker.quota.queue.join(waiter)
            self.joined[waiter] = self.now, call
            self.serve(worker)

    def serve(self, worker):
        while (waiter := worker.quota.queue.first) is not None:
            seconds = worker.quota.turn(waiter, self.now)
            if seconds is None:
                came, call = self.joined.pop(waiter)
                self.send(worker, call, waiter.tokens, came)
            elif self.now >= waiter.ends:
                del self.joined[waiter]
                worker.quota.queue.leave(waiter)
                self.turned_away += self.counted
            else:
                if worker.lease is not None and worker.lease.wants(self.now):
                    self.ask(worker)
                self.at(min(self.now + seconds, waiter.ends), self.serve_if_first, worker, waiter)
                return

    def serve_if_first(self, worker, waiter):
        if worker.quota.queue.first is waiter:
            self.serve(worker)

    def send(self, worker, call, tokens, came):
        if self.counted:
            self.waits.append(self.now - came)
        truth = call[0]
        self.sent.append((self.now, truth))
        wait = self.provider.ask(truth, self.now, counted=self.counted)
        told = self.provider.told()
        if wait is not None:
            worker.quota.too_fast(wait, self.now)
            if self.world.headers:
                worker.quota.told(told, self.now, self.now)
            self.ask(worker)
            if worker.alive:
                self.at(self.now + wait * (1 + self.rng.random()), self.come, worker, call, False)
            return
        worker.served += self.counted
        seconds = 0.1 + truth / 2000
        self.at(self.now + seconds, self.answered, worker, call, tokens, seconds, told)

    def answered(self, worker, call, tokens, seconds, told):
        if not worker.alive:
            return
        truth, guess = call
        worker.quota.answer_time.add(seconds)
        worker.quota.settle(tokens, truth, self.now)
        worker.estimate.learn(guess, truth)
        if self.world.headers:
            worker.quota.told(told, self.now - seconds, self.now)
        self.serve(worker)

    # -- what came out

    @property
    def served(self) -> tuple[float, float]:
        """Share of the callers that were served, at the worst and the best worker."""
        shares = [each.served / each.asked for each in self.workers if each.asked >= 20]
        return min(shares, default=1.0), max(shares, default=1.0)

    def wait(self, share: float) -> float:
        """Seconds that this share of the callers did not wait longer than."""
        return sorted(self.waits)[int(len(self.waits) * share)]
