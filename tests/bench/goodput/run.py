"""
Goodput through outages: callers who got an answer within 15 s, from the fault's begin to the end, in percent.

    python -m tests.bench.goodput.run [--seeds 3] [--plot]
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from .contenders import ALL, Ask, Make, installed
from .world import Endpoint, Fault, Request, VirtualLoop, now, virtual_clocks

RATE = 10.0  # calls a second, over all clients
PATIENCE = 15.0  # seconds until a caller hangs up
END = 160.0
SHOWN = ("naive", "tenacity + pybreaker", "resilient_ai", "oracle")
PLOT = Path(__file__).parent.parent / "goodput.png"


@dataclass(frozen=True)
class Scenario:
    title: str
    begin: float
    endpoints: Callable[[int], list[Endpoint]]
    clients: int = 4  # processes that share nothing
    surge: float = 1.0  # times as many callers from the begin on, for 60 s
    patience: float = PATIENCE
    end: float = END
    longest: float = 60.0  # seconds that nobody stays beyond, if the patience is shorter
    load: Callable[[float], float] | None = None

    def rate(self, when: float) -> float:
        """Callers a second."""
        if self.load is not None:
            return self.load(when)
        return RATE * (self.surge if self.begin <= when < self.begin + 60 else 1.0)


def _one(*faults: Fault, slots: int = 40, queue: int = 80) -> Callable[[int], list[Endpoint]]:
    return lambda seed: [Endpoint("east", faults, slots, queue, seed)]


def _three(*faults: Fault, small: int = 40) -> Callable[[int], list[Endpoint]]:
    return lambda seed: [
        Endpoint("east", faults, seed=seed),
        Endpoint("west", (), small, 2 * small, seed),
        Endpoint("other", (), small, 2 * small, seed),
    ]


FLAPS = tuple(Fault("down", begin, begin + 5) for begin in range(30, 100, 10))
BREAKS = tuple(Fault("down", begin, begin + 10) for begin in range(30, 150, 30))
SCENARIOS = {
    "hang": Scenario("the only endpoint hangs for 60 s", 30, _one(Fault("hang", 30, 90))),
    "errors": Scenario("3 of 10 calls fail for 60 s", 30, _one(Fault("errors", 30, 90, 0.3))),
    "rate": Scenario("half the rate for 60 s, then 429", 30, _one(Fault("rate", 30, 90, RATE / 2))),
    "overload": Scenario("5x slower for 20 s at 87 % load", 30, _one(Fault("slow", 30, 50, 0.2), slots=28, queue=4000)),
    "region": Scenario("one of three regions down for 60 s", 30, _three(Fault("down", 30, 90), small=18)),
    "brownout": Scenario("one of three regions 10x slower", 30, _three(Fault("slow", 30, 90, 0.1))),
    "flapping": Scenario("one of three regions 5 s down, 5 s up", 30, _three(*FLAPS)),
    "breaks": Scenario("the only endpoint down 10 s of 30", 30, _one(*BREAKS)),
    "busy": Scenario("half of the calls refused by chance for 60 s", 30, _one(Fault("busy", 30, 90, 0.5))),
    "stuck": Scenario("100x slower for 60 s, its queue full", 30, _one(Fault("slow", 30, 90, 0.01))),
    "slower": Scenario("2x slower for good, with room for all", 30, _one(Fault("slow", 30, END, 0.5), slots=100)),
    "fleet": Scenario(
        "5x slower for 20 s at 87 % load, 20 clients",
        30,
        _one(Fault("slow", 30, 50, 0.2), slots=28, queue=4000),
        clients=20,
    ),
    "return": Scenario("down for 30 s, then back slowly over a minute", 30, _one(Fault("slow_start", 30, 120, RATE))),
    "surge": Scenario("2.5 times the callers for 60 s", 30, _one(), surge=2.5),
}


@dataclass(frozen=True)
class Outcome:
    arrival: float
    good: bool
    seconds: float
    why: str = ""  # what a caller without an answer met at last


def simulate(
    make: Make, scenario: Scenario, seed: int, *, kept: list[Endpoint] | None = None
) -> tuple[list[Outcome], int]:
    """One run; the outcome of every call, and how many calls the endpoints got; these go into `kept`."""
    outcomes: list[Outcome] = []
    endpoints = scenario.endpoints(seed)
    if kept is not None:
        kept.extend(endpoints)
    random.seed(seed)  # tenacity's backoff draws from the module

    async def user(ask: Ask, request: Request) -> None:
        good, why, answered = False, "", 0.0
        try:
            answer = await asyncio.wait_for(ask(request), max(scenario.longest, 2 * scenario.patience))
            answered = getattr(answer, "begun", now())
            good = answered <= request.deadline
        except Exception as error:
            cause = error.__cause__ if error.__cause__ is not None else error
            why = f"{type(cause).__name__} {getattr(cause, 'status_code', '')}".rstrip()
        outcomes.append(Outcome(request.arrival, good, (answered if good else now()) - request.arrival, why))

    async def main() -> None:
        clients = [make(endpoints, scenario.patience) for _ in range(scenario.clients)]
        arrivals = random.Random(seed)
        when, number = 0.0, 0
        async with asyncio.TaskGroup() as users:
            while (when := when + arrivals.expovariate(scenario.rate(when))) < scenario.end:
                await asyncio.sleep(when - now())
                number += 1
                request = Request(number, when, when + scenario.patience)
                users.create_task(user(clients[number % scenario.clients], request))

    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner, virtual_clocks(loop):
        runner.run(main())
    return outcomes, sum(len(endpoint.sent) for endpoint in endpoints)


def goodput(outcomes: list[Outcome], begin: float) -> float:
    after = [each.good for each in outcomes if each.arrival >= begin]
    return 100 * sum(after) / len(after)


def shown() -> list[str]:
    """Those of the tables and pictures whose packages are here."""
    return [name for name in installed() if name in SHOWN]


def _one_run(of: tuple[str, str, int]) -> tuple[float, float]:
    """Percent answered in time, and calls for each caller."""
    name, key, seed = of
    outcomes, sent = simulate(ALL[name], SCENARIOS[key], seed)
    return goodput(outcomes, SCENARIOS[key].begin), sent / len(outcomes)


def table(names: Sequence[str], seeds: int) -> str:
    """Every contender in every scenario, on all cores."""
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    every: dict[str, list[float]] = {name: [] for name in names}
    runs = [(name, key, seed) for key in SCENARIOS for name in names for seed in range(1, seeds + 1)]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(runs, pool.map(_one_run, runs), strict=True))
    for key, scenario in SCENARIOS.items():
        cells = []
        for name in names:
            shares, calls = zip(*(found[name, key, seed] for seed in range(1, seeds + 1)), strict=True)
            every[name].append(mean(shares))
            cells.append(f"{mean(shares):.1f} ({mean(calls):.2f})")
        lines.append(f"| {scenario.title} | " + " | ".join(cells) + " |")
    lines.append("| **mean** | " + " | ".join(f"**{mean(every[name]):.1f}**" for name in names) + " |")
    return "\n".join(lines)


def plot(names: Sequence[str], path: Path = PLOT, seeds: int = 3) -> None:
    """Goodput over time through two outages, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"naive": "0.65", "tenacity + pybreaker": "tab:orange", "resilient_ai": "tab:blue", "oracle": "0.2"}
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True)
    for panel, key in zip(panels, ("overload", "region"), strict=True):
        scenario = SCENARIOS[key]
        for name in names:
            came: Counter[int] = Counter()
            good: Counter[int] = Counter()
            for seed in range(1, seeds + 1):
                for each in simulate(ALL[name], scenario, seed)[0]:
                    came[int(each.arrival // 4)] += 1
                    good[int(each.arrival // 4)] += each.good
            style = "--" if name == "oracle" else "-"
            width = 2.2 if name == "resilient_ai" else 1.3
            panel.plot([4 * step for step in sorted(came)], [100 * good[step] / came[step] for step in sorted(came)],
                       style, label=name, color=colours[name], linewidth=width)  # fmt: skip
        fault = scenario.endpoints(1)[0].faults[0]
        panel.axvspan(fault.begin, fault.end, color="tab:red", alpha=0.08, linewidth=0)
        panel.set(title=scenario.title, xlabel="seconds", xlim=(0, 140), ylim=(-3, 103))
    panels[0].set_ylabel("answered within 15 s, %")
    panels[0].legend(frameon=False, loc="lower right", fontsize=8)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plot", action="store_true", help=f"write {PLOT.name} as well (needs the bench extra)")
    options = parser.parse_args()
    print(table(shown(), options.seeds))
    if options.plot:
        plot(shown())


if __name__ == "__main__":
    main()
