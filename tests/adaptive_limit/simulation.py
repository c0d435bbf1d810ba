"""Callers, a limit and a provider in virtual time, without tasks: thousands of calls in a second of a test."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass

from resilient_ai._adaptive_limit.config import LimitConfig
from resilient_ai._adaptive_limit.permit import Permit
from resilient_ai._adaptive_limit.queue import Waiter
from resilient_ai._adaptive_limit.state import Limit
from resilient_ai._core.event_loops import LoopUsage

REFUSAL_SECONDS = 0.05


@dataclass
class Chance:
    """Refuses a share of all calls, however few there are."""

    share: float
    rng: random.Random

    def refuses(self, now):
        return self.rng.random() < self.share


@dataclass
class Bucket:
    """Takes so many calls a second, and counts a refused one as a quarter of a call."""

    rate: float
    tokens: float = 1.0
    filled: float = 0.0

    def refuses(self, now):
        self.tokens = min(max(1.0, self.rate), self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        refused = self.tokens < 1.0
        self.tokens -= 0.25 if refused else 1.0
        return refused


class Simulation:
    """
    Callers arrive by chance, wait in the limit's queue, and try again a second after a refusal.

    Attributes:
        answered: Callers that were answered within their deadline.
        came: All callers.
        sent: Calls that the provider got.
        refused: Calls that it refused.
    """

    def __init__(self, provider, *, rate, deadline, seconds, stated=1.0, overload=False, limited=True, seed=1):
        self.provider, self.deadline, self.stated, self.overload = provider, deadline, stated, overload
        self.limit = Limit(LimitConfig(initial=20 if limited else 1000))
        self.limited = limited
        self.rng = random.Random(seed)
        self.loop, self.events, self.numbers = LoopUsage(None), [], itertools.count()
        self.waiting: dict[Waiter, float] = {}
        self.came = self.answered = self.sent = self.refused = 0
        self.most_waited = 0.0
        when = 0.0
        while (when := when + self.rng.expovariate(rate)) < seconds:
            self.came += 1
            self.at(when, self.arrive, when + deadline)

    def at(self, when, what, *arguments):
        heapq.heappush(self.events, (when, next(self.numbers), what, arguments))

    def run(self):
        while self.events:
            self.now, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)
        return self

    @property
    def share(self):
        return self.answered / self.came

    def arrive(self, deadline):
        if not self.limited:
            self.send(None, deadline)
        elif (permit := self.limit.enter(self.now, self.loop)) is not None:
            self.send(permit, deadline)
        elif (patience := self.limit.patience(self.now, deadline - self.now)) is not None:
            waiter = Waiter(self.now + patience, deadline, self.loop)
            self.limit.queue.join(waiter, self.now)
            self.waiting[waiter] = self.now
            self.at(self.now + patience, self.give_up, waiter)
            self.ask(waiter)
            self.call_next()
        else:
            self.again(deadline)

    def ask(self, waiter):
        if waiter not in self.waiting:
            return
        answer = self.limit.turn(waiter, self.now)
        if isinstance(answer, Permit):
            self.most_waited = max(self.most_waited, self.now - self.waiting.pop(waiter))
            self.send(answer, waiter.deadline)
            self.call_next()
        elif answer is None:
            self.give_up(waiter)
        elif self.limit.queue.first is waiter:
            self.at(self.now + max(answer, 1e-3), self.ask, waiter)

    def give_up(self, waiter):
        if self.waiting.pop(waiter, None) is not None:
            self.limit.queue.leave(waiter)
            self.call_next()
            self.again(waiter.deadline)

    def call_next(self):
        if (waiter := self.limit.next_called(self.now)) is not None:
            self.at(self.now, self.ask, waiter)

    def send(self, permit, deadline):
        self.sent += 1
        if self.provider.refuses(self.now):
            self.refused += 1
            self.at(self.now + REFUSAL_SECONDS, self.end, permit, deadline, False)
        else:
            self.at(self.now + 0.25 + 0.5 * self.rng.random(), self.end, permit, deadline, True)

    def end(self, permit, deadline, good):
        if good:
            self.answered += self.now <= deadline
        if permit is not None and good:
            self.limit.succeed(permit, self.now)
        elif permit is not None and self.overload:
            self.limit.overload(permit, self.now)
        elif permit is not None:
            self.limit.too_fast(permit, self.now, self.stated)
        if not good:
            self.again(deadline, self.stated or 0.0)
        self.call_next()

    def again(self, deadline, wait=0.0):
        when = self.now + max(wait, self.rng.uniform(0.1, 1.0))
        if when < deadline < math.inf:
            self.at(when, self.arrive, deadline)
