"""
Random outages: worlds with endpoints, load, patience and troubles of their own, and what a contender makes of one.

Numbers 0 to 199 are there to work on; the others are for checking.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from .contenders import ALL, STREAMS
from .run import Scenario, simulate
from .world import Endpoint, Fault, StreamEndpoint

BEGIN, END = 30.0, 160.0
KINDS = "down", "hang", "slow", "errors", "busy", "rate", "slow_start", "flapping"
FIRST_PATIENCE = 0.4  # share of their patience with a whole answer that callers have with its first part


@dataclass(frozen=True)
class Weather:
    """What is drawn for one world."""

    number: int
    rate: float  # callers a second
    patience: float
    typical: float  # seconds of an answer
    clients: int
    load: str
    endpoints: tuple[Endpoint, ...]
    longest: float

    def scenario(self, seed: int = 0) -> Scenario:
        """The world as it can be run, with other luck for each seed."""
        return Scenario(
            f"world {self.number}",
            BEGIN,
            lambda _seed: [each.fresh(1000 * seed) for each in self.endpoints],
            clients=self.clients,
            patience=self.patience,
            load=self._callers,
            end=END,
            longest=self.longest,
        )

    def _callers(self, when: float) -> float:
        if self.load == "bursts":
            return self.rate * (3.0 if when % 20 < 3 else 0.65)
        if self.load == "tide":
            return self.rate * (1 + 0.5 * math.sin(when / END * 2 * math.pi))
        return self.rate

    @property
    def told(self) -> str:
        troubles = "; ".join(
            f"{each.name}: " + ", ".join(f"{f.kind} {f.amount:.2g} {f.begin:.0f}-{f.end:.0f}" for f in each.faults)
            for each in self.endpoints
            if each.faults
        )
        slots = "/".join(str(each.slots) for each in self.endpoints)
        return (
            f"{self.rate:.1f} callers/s ({self.load}), {self.clients} clients, patience {self.patience:.0f} s,"
            f" answers of {self.typical:.1f} s, places {slots}: {troubles or 'no trouble'}"
        )


def weather(number: int, *, streams: bool = False) -> Weather:
    """The world of that number; with streams, callers wait for the first part of an answer, which may be cut later."""
    chance = random.Random(f"{'streams' if streams else 'weather'}/{number}")
    count = chance.choices([1, 2, 3], [3, 4, 3])[0]
    typical = _between(chance, 0.3, 6)
    rate = min(_between(chance, 2, 20), 60 / typical)  # no more than some hundred calls at a time
    patience = max(_between(chance, 2, 60), 3 * typical)
    if streams:
        patience *= FIRST_PATIENCE
    places = rate * typical * 1.2 * chance.uniform(1.2, 4)  # so many in all; a mean answer takes 1.16 typical ones
    endpoints, kinds = [], (*KINDS, "cut") if streams else KINDS
    for index in range(count):
        slots = max(2, round(places / count))
        queue = chance.choice([slots, 2 * slots, 4000])
        faults = tuple(_trouble(chance, rate / count, kinds) for _ in range(_how_many(chance, first=index == 0)))
        kind = StreamEndpoint if streams else Endpoint
        endpoints.append(kind(f"e{index}", faults, slots, queue, number, typical))
    load = chance.choice(["even", "bursts", "tide"])
    clients, longest = chance.choice([1, 4, 20]), 300.0 if streams else 60.0
    return Weather(number, rate, patience, typical, clients, load, tuple(endpoints), longest)


def _how_many(chance: random.Random, *, first: bool) -> int:
    return chance.choices([0, 1, 2, 3], [0 if first else 4, 4, 2, 1])[0]


def _trouble(chance: random.Random, share: float, kinds: Sequence[str]) -> Fault:
    """Long troubles are rare, most are short; two in a row may overlap."""
    begin = chance.uniform(BEGIN, 110)
    end = min(begin + chance.lognormvariate(math.log(20), 0.8), 145)
    kind = chance.choice(kinds)
    amount = {
        "slow": _between(chance, 0.03, 0.6),
        "errors": _between(chance, 0.05, 0.7),
        "busy": _between(chance, 0.02, 0.6),
        **({"cut": _between(chance, 0.02, 0.6)} if "cut" in kinds else {}),
        "rate": share * chance.uniform(0.2, 0.9),
        "slow_start": max(share, 1.0),
    }.get(kind, 1.0)
    return Fault(kind, begin, end, amount)


def _between(chance: random.Random, least: float, most: float) -> float:
    """Evenly by ratio."""
    return math.exp(chance.uniform(math.log(least), math.log(most)))


@dataclass(frozen=True)
class Result:
    """
    What one contender made of one world, in percent and in calls a minute.

    Attributes:
        answered: In time.
        soon: Within half the patience.
        wasted: Calls a minute to endpoints that could not answer, in the outages of more than 20 s; None without one.
        lost_after: Callers lost of those who came 2 to 8 s after the last trouble's end.
        came_then: How many these were.
        why: What those without an answer met at last, counted.
    """

    answered: float
    soon: float
    wasted: float | None
    lost_after: int
    came_then: int
    why: dict[str, int]


def run_one(number: int, name: str, seed: int = 0, *, streams: bool = False) -> Result:
    world = weather(number, streams=streams)
    first = min(fault.begin for each in world.endpoints for fault in each.faults)
    last = max(fault.end for each in world.endpoints for fault in each.faults)
    endpoints: list[Endpoint] = []
    outcomes, _ = simulate(
        (STREAMS if streams else ALL)[name], world.scenario(seed), number + 1000 * seed, kept=endpoints
    )
    after = [each for each in outcomes if each.arrival >= first]
    then = [each for each in after if last + 2 <= each.arrival < last + 8]
    return Result(
        100 * mean(each.good for each in after),
        100 * mean(each.good and each.seconds <= world.patience / 2 for each in after),
        _wasted(endpoints),
        sum(not each.good for each in then),
        len(then),
        dict(Counter(each.why or "too late" for each in after if not each.good)),
    )


def _wasted(endpoints: Sequence[Endpoint]) -> float | None:
    dead = [
        (each, begin, end)
        for each in endpoints
        for fault in each.faults
        if (end := fault.answers_again) - (begin := fault.begin) > 20
    ]
    minutes = sum(end - begin for _, begin, end in dead) / 60
    calls = sum(begin <= when < end for each, begin, end in dead for when in each.sent)
    return calls / minutes if minutes else None
