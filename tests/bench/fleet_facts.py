"""
How many calls meet a wait that a provider dictates, of fifty workers that tell each other.

`python -m tests.bench.fleet_facts`: in virtual time, alone and in a fleet; `--real`: the fleet on a real server. After
2 s the provider answers 429 with `Retry-After` for 10 s, 50 ms after it was asked; calls take another endpoint then.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio
import trio.testing

from resilient_ai import Endpoint, Registry, classify, failover
from resilient_ai.redis import RedisStore
from tests.bench.fleet import SimulatedClock
from tests.bench.fleet_server import SimulatedServer, SimulatedStore
from tests.fleet.support import server
from tests.rate_limit.support import TooFastError

WORKERS, SECONDS = 50, 10.0


class Run:
    """One run; `met` are the calls that were refused, `late` those of them that began after the first was."""

    def __init__(self, rate: float, seed: int, clock: object = None) -> None:
        self.rate, self.seed, self.met = rate, seed, 0
        self.late = 0
        self.until: float | None = None
        self.known = math.inf  # when the first was refused
        self.registries = [
            Registry(clock=clock, rng=random.Random(f"{seed} {each}"), listeners=()) for each in range(WORKERS)
        ]

    def _function(self, registry: Registry):
        @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
        async def ask(endpoint):
            if endpoint.name == "us" and self.until is not None and (left := self.until - anyio.current_time()) > 0:
                self.met += 1
                self.late += anyio.current_time() > self.known
                await anyio.sleep(0.05)
                self.known = min(self.known, anyio.current_time())
                raise TooFastError(left, {})
            return "pong"

        return ask

    async def _load(self, worker: int, ask, tasks) -> None:
        rng, due = random.Random(f"{self.seed} load {worker}"), anyio.current_time()
        while True:
            due += rng.expovariate(self.rate)
            await anyio.sleep(max(0.0, due - anyio.current_time()))
            tasks.start_soon(ask)

    async def play(self, store: Callable[[], object] | None) -> tuple[int, int]:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            if store is not None:
                for each in self.registries:
                    await stack.enter_async_context(each.join(store()))
                while min(each.fleet.workers for each in self.registries) < WORKERS:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.1)
            for worker, registry in enumerate(self.registries):
                tasks.start_soon(self._load, worker, self._function(registry), tasks)
            await anyio.sleep(2)
            self.until = anyio.current_time() + SECONDS
            await anyio.sleep(SECONDS)
            tasks.cancel_scope.cancel()
        return self.met, self.late


def simulate(rate: float, seed: int, *, joined: bool) -> tuple[int, int]:
    """In virtual time."""

    async def main() -> tuple[int, int]:
        simulated = SimulatedServer(random.Random(seed))
        run = Run(rate, seed, SimulatedClock())
        async with anyio.create_task_group() as tasks:
            simulated.tasks = tasks
            met = await run.play((lambda: SimulatedStore(simulated, lambda: False)) if joined else None)
            tasks.cancel_scope.cancel()
        return met

    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(main, backend="trio", backend_options={"clock": clock})


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--real", action="store_true")
    real = options.parse_args().real
    classify(TooFastError(1.0, {}))  # a process looks at its first error for 0.3 s
    titles = "calls a second of each of 50 workers | | calls that met it, and began after the first had, three seeds"
    print(f"| {titles} |\n|---|---|---|")
    for rate in (2.0, 10.0):
        if real:
            with server() as running:
                stores = [f"facts{seed}" for seed in range(3)]
                met = [
                    anyio.run(Run(rate, seed).play, lambda name=name: RedisStore(running.url, namespace=name))
                    for seed, name in enumerate(stores)
                ]
            print(f"| {rate:g} | fleet, a real server | {met} |", flush=True)
            continue
        for joined in (False, True):
            met = [simulate(rate, seed, joined=joined) for seed in range(3)]
            print(f"| {rate:g} | {'fleet' if joined else 'alone'} | {met} |", flush=True)


if __name__ == "__main__":
    main()
