"""The cases of `tests.bench.fleet` in real time with a real server: all workers in one process, or in several."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import anyio

from resilient_ai import Registry, circuit_breaker, classify
from resilient_ai.redis import RedisStore
from tests.bench.fleet import OUTAGE_FIGURES, QUIET_FIGURES, Case, ProviderError, Run, Seen, table
from tests.fleet.support import Server, server

PROCESSES = 10  # at most; each has some of the workers
SUMS = ("asked", "wasted", "refused", "refused_good", "good_asked", "served", "overloads", "probes", "reopened")


def play(case: Case, running: Server) -> Seen:
    """All workers in this process."""
    run = Run(case)
    run.flush = partial(running.ask, "FLUSHALL")
    return _play(run, running.url, f"bench{random.getrandbits(32)}")


def _play(run: Run, url: str, namespace: str, ready: Any = None) -> Seen:
    classify(ProviderError("a process looks at its first error for 0.3 s, and here fifty workers are one process"))
    return anyio.run(partial(run.play, ready=ready), lambda _worker: RedisStore(url, namespace=namespace))


def play_in_processes(case: Case, running: Server) -> Seen:
    """As many workers in each of some processes, which begin at one moment; those that are cut off kill themselves."""
    context = multiprocessing.get_context("spawn")
    each = -(-case.workers // PROCESSES)
    parts = [range(first, min(first + each, case.workers)) for first in range(0, case.workers, each)]
    everybody, results, namespace = context.Barrier(len(parts)), context.Queue(), f"bench{random.getrandbits(32)}"
    processes = [
        context.Process(target=_part, args=(asdict(case), running.url, namespace, part, everybody, results))
        for part in parts
    ]
    for process in processes:
        process.start()
    seen = [results.get(timeout=120) for part in parts if part.stop > case.gone]
    for process in processes:
        process.join()
    return merged(seen, case.workers)


def _part(settings: dict[str, Any], url: str, namespace: str, part: range, everybody: Any, results: Any) -> None:
    async def ready() -> None:
        await anyio.to_thread.run_sync(everybody.wait, 60)

    run = Run(Case(**settings), workers=part)
    run.die = lambda: os.kill(os.getpid(), signal.SIGKILL)
    results.put(_play(run, url, namespace, ready))


def merged(parts: list[Seen], workers: int) -> Seen:
    """What all processes have seen together; their clock is one."""
    whole = Seen(**{name: sum(getattr(each, name) for each in parts) for name in SUMS})
    whole.fleet_openings, whole.questions = (
        sum(each.fleet_openings for each in parts),
        sum(each.questions for each in parts),
    )
    whole.first_open = min((each.first_open for each in parts if each.first_open is not None), default=None)
    whole.last_open = max(each.last_open for each in parts)
    whole.dead_at = min(each.dead_at for each in parts)
    whole.wanted = sum(each.wanted for each in parts)
    whole.commands = sum(each.commands for each in parts) / len(parts)
    held_up: dict[int, int] = {}
    for when, part, count in sorted((when, part, n) for part, each in enumerate(parts) for when, n in each.held_up):
        held_up[part] = count
        if whole.recovery is None and len(held_up) == len(parts) and sum(held_up.values()) < 0.1 * workers:
            whole.recovery = when
    return whole


def tables(dying: dict[str, tuple[dict[str, Any], int]], still: dict[str, tuple[dict[str, Any], int]]) -> None:
    """Print the main cases; of 50 × 10/s and of errors, with the same workers in processes of their own as well."""
    both = ("50 workers × 10/s", "50 × 10/s, 30 cut off just before", "errors 40 %", "errors 45 %")

    def left_out(name: str, title: str) -> bool:
        if dying.get(name, ({}, 0))[0].get("gone") and title == "fleet":
            return True  # who is cut off is a process
        return title == "naive" or (title != "fleet" and name not in both)

    with server() as running:
        how, also = partial(play, running=running), {"fleet in processes": partial(play_in_processes, running=running)}
        table(how, {each: dying[each] for each in dying if "200" not in each}, OUTAGE_FIGURES, also, left_out)
        print()
        table(how, {each: (still[each][0], 1) for each in still}, QUIET_FIGURES, also, left_out)


def pairs(shares: tuple[float, ...] = (0.4, 0.45), seeds: int = 3) -> None:
    """
    Print what is refused near the threshold, alone and in a fleet, with the same luck of each call.

    Alone is played twice: circuits near the threshold differ by what real time does to them, and by how much that is.
    """
    print(
        "| | seed | alone, % | alone again | fleet | questions | opened by the fleet |\n|---|---|---|---|---|---|---|"
    )
    with server() as running:
        for share in shares:
            for seed in range(seeds):
                modes = ("alone", "alone", "fleet")
                runs = [play(Case(mode, errors=share, seed=seed, seconds=10.0), running) for mode in modes]
                refused = " | ".join(f"{100 * each.refused / each.asked:.1f}" for each in runs)
                last = runs[-1]
                print(f"| {share:.0%} | {seed} | {refused} | {last.questions} | {last.fleet_openings} |", flush=True)


def good_path() -> None:
    """Print what joining costs."""
    with server() as running:
        print(f"joined / not joined: {anyio.run(_good_path, running.url):.3f}")


async def _good_path(url: str, rounds: int = 400) -> float:
    """What a good call costs in a joined registry, by what it costs in one that has not joined; the fastest rounds."""
    registries = Registry(listeners=()), Registry(listeners=())

    async def openai() -> str:
        return "pong"

    functions = [circuit_breaker("openai", registry=each)(openai) for each in registries]
    fastest = [math.inf, math.inf]
    async with registries[0].join(RedisStore(url, namespace="good-path")):
        while not registries[0].fleet.connected:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                ask = functions[which]
                await anyio.lowlevel.checkpoint()
                began = time.perf_counter()
                for _ in range(300):
                    await ask()
                fastest[which] = min(fastest[which], time.perf_counter() - began)
    return fastest[0] / fastest[1]
