"""
Goodput in random outages: hundreds of worlds, each with its own endpoints, load, patience and troubles.

    python -m tests.bench.goodput.weather [--worlds 20] [--first 0] [--only resilient_ai,oracle]

Numbers 0 to 199 are there to work on; the others are for checking.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import mean

from .contenders import ALL, installed
from .run import Scenario, simulate
from .world import Endpoint, Fault

BEGIN, END = 30.0, 160.0
SICK = ("down", "hang", "slow_start")  # kinds of trouble in which an endpoint answers nobody, or hardly anybody


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

    def scenario(self) -> Scenario:
        return Scenario(
            f"world {self.number}",
            BEGIN,
            lambda _seed: [each.fresh() for each in self.endpoints],
            clients=self.clients,
            patience=self.patience,
            load=self._callers,
            end=END,
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


def weather(number: int) -> Weather:
    """The world of that number."""
    chance = random.Random(f"weather/{number}")
    count = chance.choices([1, 2, 3], [3, 4, 3])[0]
    typical = _between(chance, 0.3, 6)
    rate = min(_between(chance, 2, 20), 60 / typical)  # no more than some hundred calls at a time
    patience = max(_between(chance, 2, 60), 3 * typical)
    places = rate * typical * 1.2 * chance.uniform(1.2, 4)  # so many in all; a mean answer takes 1.16 typical ones
    endpoints = []
    for index in range(count):
        slots = max(2, round(places / count))
        queue = chance.choice([slots, 2 * slots, 4000])
        faults = tuple(_trouble(chance, rate / count) for _ in range(_how_many(chance, first=index == 0)))
        endpoints.append(Endpoint(f"e{index}", faults, slots, queue, number, typical))
    load = chance.choice(["even", "bursts", "tide"])
    return Weather(number, rate, patience, typical, chance.choice([1, 4, 20]), load, tuple(endpoints))


def _how_many(chance: random.Random, *, first: bool) -> int:
    return chance.choices([0, 1, 2, 3], [0 if first else 4, 4, 2, 1])[0]


def _trouble(chance: random.Random, share: float) -> Fault:
    """Long troubles are rare, most are short; two in a row may overlap."""
    begin = chance.uniform(BEGIN, 110)
    end = min(begin + chance.lognormvariate(math.log(20), 0.8), 145)
    kind = chance.choice(["down", "hang", "slow", "errors", "busy", "rate", "slow_start", "flapping"])
    amount = {
        "slow": _between(chance, 0.03, 0.6),
        "errors": _between(chance, 0.05, 0.7),
        "busy": _between(chance, 0.02, 0.6),
        "rate": share * chance.uniform(0.2, 0.9),
        "slow_start": max(share, 1.0),
    }.get(kind, 1.0)
    return Fault(kind, begin, end, amount)


def _between(chance: random.Random, least: float, most: float) -> float:
    """Evenly by ratio."""
    return math.exp(chance.uniform(math.log(least), math.log(most)))


@dataclass(frozen=True)
class Result:
    """What one contender made of one world, in percent and in calls a minute."""

    answered: float  # in time
    soon: float  # within half the patience
    wasted: float  # calls a minute to endpoints that could not answer


def run_one(number: int, name: str) -> Result:
    world = weather(number)
    first = min(fault.begin for each in world.endpoints for fault in each.faults)
    endpoints: list[Endpoint] = []
    outcomes, _ = simulate(ALL[name], world.scenario(), number, kept=endpoints)
    after = [each for each in outcomes if each.arrival >= first]
    sick = [(each, fault) for each in endpoints for fault in each.faults if fault.kind in SICK]
    minutes = sum(fault.end - fault.begin for _, fault in sick) / 60
    calls = sum(1 for each, fault in sick for when in each.sent if fault.on(when))
    return Result(
        100 * mean(each.good for each in after),
        100 * mean(each.good and each.seconds <= world.patience / 2 for each in after),
        calls / minutes if minutes else 0.0,
    )


def run(names: Sequence[str], numbers: Sequence[int]) -> dict[str, list[Result]]:
    """Every contender in every world, on all cores."""
    with ProcessPoolExecutor() as pool:
        return {name: list(pool.map(partial(run_one, name=name), numbers, chunksize=4)) for name in names}


def report(results: dict[str, list[Result]], numbers: Sequence[int]) -> str:
    oracle = [each.answered for each in results["oracle"]]
    columns = (
        "answered in time",
        "of the oracle's",
        "worst tenth",
        "worst",
        "within half the patience",
        "wasted a minute",
    )
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for name, every in results.items():
        shares = [100 * each.answered / best if best else 100.0 for each, best in zip(every, oracle, strict=True)]
        tenth = sorted(shares)[: max(1, len(shares) // 10)]
        answered, soon = mean(each.answered for each in every), mean(each.soon for each in every)
        wasted = mean(each.wasted for each in every)
        cells = [f"{value:.1f}" for value in (answered, mean(shares), mean(tenth), min(shares), soon)]
        lines.append(f"| {' | '.join([name, *cells, f'{wasted:.0f}'])} |")
    if "resilient_ai" in results:
        ours = results["resilient_ai"]
        order = sorted(range(len(numbers)), key=lambda i: ours[i].answered / max(oracle[i], 1e-9))
        lines.append("\nWhere `resilient_ai` is furthest from the oracle:\n")
        for i in order[: max(3, len(order) // 10)]:
            others = ", ".join(f"{name} {every[i].answered:.1f}" for name, every in results.items())
            lines.append(f"- {numbers[i]}: {others}. {weather(numbers[i]).told}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", help="names of contenders, with commas; the oracle always runs")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else installed()
    numbers = range(options.first, options.first + options.worlds)
    print(report(run([*(name for name in names if name != "oracle"), "oracle"], numbers), numbers))


if __name__ == "__main__":
    main()
