"""Callers, a quota and a provider in virtual time, without tasks: a minute of a busy service in a second of a test."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass

from resilient_ai._core.event_loops import LoopUsage
from resilient_ai._rate_limit.config import RateLimitConfig
from resilient_ai._rate_limit.estimate import TokenEstimate
from resilient_ai._rate_limit.queue import Waiter
from resilient_ai._rate_limit.quota import Quota
from resilient_ai._rate_limit.told import Left, Told

WARM_UP = 25.0  # seconds that are not counted: the provider's buckets begin empty


@dataclass
class World:
    """
    What is simulated; rates are a second.

    Attributes:
        demand: Calls that come, as a share of what the provider takes.
        window: Seconds of its quota that the provider holds; it fills evenly.
        fixed: Whether it begins each window anew instead.
        foreign: Share of the quota that others use.
        headers: Whether it tells what is left.
        noise: Spread of the estimates, as of a lognormal distribution.
        estimate: What is estimated, as a share of the truth; None: the same for each call.
        patience: Seconds that a caller waits.
    """

    demand: float
    calls: float = 100.0
    tokens: float = 80_000.0
    window: float = 1.0
    fixed: bool = False
    foreign: float = 0.0
    headers: bool = True
    noise: float = 0.5
    estimate: float | None = 1.0
    patience: float = 5.0
    seconds: float = 60.0
    burst: float = 5.0
    seed: int = 1


class Provider:
    """Token buckets, or windows, of both numbers; a call is charged with what it takes in truth."""

    def __init__(self, world: World) -> None:
        self.world = world
        full = world.window if world.fixed else 0.0
        self.calls, self.tokens = world.calls * full, world.tokens * full  # what is left
        self.filled = 0.0
        self.taken_calls = self.taken_tokens = self.refused = 0.0

    def _fill(self, now: float) -> None:
        world, seconds = self.world, now - self.filled
        most = world.calls * world.window, world.tokens * world.window
        if world.fixed:
            if int(now / world.window) != int(self.filled / world.window):
                self.calls, self.tokens = most
        else:
            self.calls = min(self.calls + seconds * world.calls, most[0])
            self.tokens = min(self.tokens + seconds * world.tokens, most[1])
        self.calls = max(self.calls - seconds * world.foreign * world.calls, -1.0)
        self.tokens = max(self.tokens - seconds * world.foreign * world.tokens, -1.0)
        self.filled = now

    def ask(self, tokens: float, now: float, *, counted: bool) -> float | None:
        """None: it answers; else seconds that it asks to wait."""
        self._fill(now)
        world = self.world
        if self.calls < 1 or self.tokens < min(tokens, world.tokens * world.window * 0.99):
            self.refused += counted
            if world.fixed:
                return world.window - now % world.window
            return max(0.05, (1 - self.calls) / world.calls, (tokens - self.tokens) / world.tokens)
        self.calls -= 1
        self.tokens -= tokens
        self.taken_calls += counted
        self.taken_tokens += tokens * counted
        return None

    def told(self) -> Told:
        world = self.world
        return Told(
            (Left(max(0.0, self.calls), world.calls * world.window),),
            (Left(max(0.0, self.tokens), world.tokens * world.window),),
        )


class InVirtualTime:
    """Callers of a provider, one event after the other; what they do is said by those who derive from this."""

    def __init__(self, world: World) -> None:
        self.world, self.rng = world, random.Random(world.seed)
        self.provider = Provider(world)
        self.loop, self.events, self.numbers = LoopUsage(None), [], itertools.count()
        self.joined: dict[Waiter, tuple[float, tuple[float, float]]] = {}
        self.waits: list[float] = []
        self.turned_away = 0
        self.end, self.now = WARM_UP + world.seconds, 0.0

    def arrivals(self):
        """When callers come, by chance."""
        when = 0.0
        while (when := when + self.rng.expovariate(self.world.calls * self.world.demand)) < self.end:
            yield when

    def tokens_of_a_call(self) -> tuple[float, float]:
        """The truth, and what is guessed."""
        world, rng = self.world, self.rng
        truth = max(20.0, rng.lognormvariate(math.log(800) - 0.32, 0.8))
        return truth, 800.0 if world.estimate is None else truth * world.estimate * rng.lognormvariate(0, world.noise)

    def at(self, when, what, *arguments):
        heapq.heappush(self.events, (when, next(self.numbers), what, arguments))

    def run(self):
        while self.events and self.events[0][0] < self.end:
            self.now, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)
        return self

    @property
    def counted(self):
        return self.now >= WARM_UP

    @property
    def used(self) -> tuple[float, float]:
        """Share of both numbers that was used, of what others have left."""
        seconds = self.world.seconds * (1 - self.world.foreign)
        return (
            self.provider.taken_calls / (self.world.calls * seconds),
            self.provider.taken_tokens / (self.world.tokens * seconds),
        )

    @property
    def refused_share(self) -> float:
        """Share of the calls that the provider refused."""
        return self.provider.refused / max(1.0, self.provider.refused + self.provider.taken_calls)


class Simulation(InVirtualTime):
    """Callers come by chance, wait for the quota, and try again after a refusal."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.quota = Quota(RateLimitConfig(world.calls * 60, world.tokens * 60, burst=world.burst), 0.0)
        self.estimate = TokenEstimate(None)
        self.order: list[float] = []  # when those came who were served
        for when in self.arrivals():
            self.at(when, self.come, self.tokens_of_a_call())

    def come(self, call):
        tokens = call[1] * self.estimate.ratio
        if self.quota.enter(tokens, self.now):
            self.served(call, tokens, self.now)
        elif (patience := self.quota.patience(tokens, self.now, self.world.patience)) is None:
            self.turned_away += self.counted
        else:
            waiter = Waiter(tokens, self.now + patience, self.loop)
            self.quota.queue.join(waiter)
            self.joined[waiter] = self.now, call
            self.ask(waiter)

    def ask(self, waiter):
        if waiter not in self.joined:
            return
        seconds = self.quota.turn(waiter, self.now)
        if seconds is None:
            came, call = self.joined.pop(waiter)
            self.served(call, waiter.tokens, came)
            self.call_next()
        elif self.now >= waiter.ends:
            del self.joined[waiter]
            self.quota.queue.leave(waiter)
            self.turned_away += self.counted
            self.call_next()
        else:
            self.at(min(self.now + seconds, waiter.ends), self.ask, waiter)

    def call_next(self):
        if (waiter := self.quota.queue.first) is not None:
            self.at(self.now, self.ask, waiter)

    def served(self, call, tokens, came):
        if self.counted:
            self.waits.append(self.now - came)
        self.order.append(came)
        truth = call[0]
        wait = self.provider.ask(truth, self.now, counted=self.counted)
        if wait is not None:
            self.quota.too_fast(wait, self.now)
            if self.world.headers:
                self.quota.told(self.provider.told(), self.now, self.now)
            self.at(self.now + wait * (1 + self.rng.random()), self.come, call)
            return
        seconds = 0.1 + truth / 2000
        self.at(self.now + seconds, self.answered, call, tokens, seconds, self.provider.told())

    def answered(self, call, tokens, seconds, told):
        truth, guess = call
        self.quota.answer_time.add(seconds)
        self.quota.settle(tokens, truth, self.now)
        self.estimate.learn(guess, truth)
        if self.world.headers:
            self.quota.told(told, self.now - seconds, self.now)
        self.call_next()

    def wait(self, share: float) -> float:
        """Seconds that this share of the callers did not wait longer than."""
        return sorted(self.waits)[int(len(self.waits) * share)]
