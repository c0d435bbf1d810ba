"""
One quota for many workers on a real server, in real time: leased, divided equally, counted by the minute, not shared.

`python -m tests.bench.fleet_quota`: about 20 minutes; `--only "leased, demand 1.5, 8 workers"` for one row of it.

All workers are registries of one process, with one provider that holds a second of its quota and begins empty. The busy
workers change every 8 s; callers wait 5 s at most and try again after a refusal.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio

from resilient_ai import LimitReachedError, Registry, rate_limit
from resilient_ai.redis import RedisStore
from tests.fleet.support import Server, server
from tests.rate_limit.simulation import Provider, World
from tests.rate_limit.support import TooFastError, used

SHIFT, PATIENCE, ATTEMPTS = 8.0, 5.0, 4
WARM_UP = 25.0


@dataclass
class Row:
    """
    What is measured.

    Attributes:
        mode: "leased", "divided" (equal parts, no server), "counted" (minute counters on the server), "unshared".
        demand: Calls that come, as a share of the quota.
        workers: That share it.
        world: Of the simulated provider.
        burst: Of the rate limit.
        freeze: Whether the server is frozen in the second third.
        die: Workers that end with what they have in stock.
    """

    mode: str
    demand: float
    workers: int = 50
    world: dict[str, Any] = field(default_factory=dict)
    burst: float = 5.0
    freeze: bool = False
    die: int = 0
    seconds: float = 30.0


class Counters:
    """The usual minute counters on a server: asked before a call, the tokens added after it; windows of 10 s here."""

    WINDOW = 10.0

    def __init__(self, client: Any, world: World) -> None:
        self.client, self.world, self.commands = client, world, 0

    async def enter(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            window = int(time.time() / self.WINDOW)
            self.commands += 2
            calls = await self.client.incr(f"r:{window}")
            tokens = int(await self.client.get(f"t:{window}") or 0)
            if calls <= self.world.calls * self.WINDOW and tokens < self.world.tokens * self.WINDOW:
                return
            wait = self.WINDOW - time.time() % self.WINDOW + 0.05 * random.random()
            if time.monotonic() + wait > end:
                raise LimitReachedError("counted", retry_after=wait)
            await anyio.sleep(wait)

    async def settle(self, tokens: float) -> None:
        self.commands += 1
        await self.client.incrby(f"t:{int(time.time() / self.WINDOW)}", int(tokens))


class Run:
    """One row."""

    def __init__(self, row: Row, running: Server, seed: int = 1) -> None:
        self.row, self.server = row, running
        self.rng = random.Random(seed)
        self.world = World(row.demand, seed=seed, **row.world)
        self.provider = Provider(self.world)
        self.began = time.monotonic()
        self.waits: list[float] = []
        self.late: list[float] = []
        self.asked = [0] * row.workers
        self.served = [0] * row.workers
        self.turned_away = self.at_once = self.calls = 0
        self.counting = False
        self.counters: Counters | None = None

    def now(self) -> float:
        return time.monotonic() - self.began

    # -- workers

    def function(self, registry: Registry) -> Any:
        """What a worker calls: with its guess, the truth, and when it came."""
        world, part = self.world, self.row.workers if self.row.mode == "divided" else 1

        async def ask(guess: float, truth: float, waited: list[float]) -> Any:
            waited.append(time.monotonic())
            wait = self.provider.ask(truth, self.now(), counted=self.counting)
            told = self.provider.told()
            left = zip(("requests", "tokens"), (told.requests[0], told.tokens[0]), strict=True)
            headers = {}
            for what, each in left if world.headers else ():
                headers[f"x-ratelimit-remaining-{what}"] = f"{each.amount:.0f}"
                headers[f"x-ratelimit-limit-{what}"] = f"{each.limit:.0f}"
            if wait is not None:
                raise TooFastError(wait, headers)
            await anyio.sleep(0.1 + truth / 2000)
            answer = used(int(truth))
            answer.headers = headers
            return answer

        if self.row.mode == "counted":
            return ask
        return rate_limit(
            "quota",
            requests_per_minute=world.calls * 60 / part,
            tokens_per_minute=world.tokens * 60 / part,
            cost=lambda guess, truth, waited: guess,
            max_wait=PATIENCE,
            burst=self.row.burst,
            registry=registry,
        )(ask)

    async def one(self, worker: int, ask: Any) -> None:
        truth = max(20.0, self.rng.lognormvariate(math.log(800) - 0.32, 0.8))
        guess = truth * self.rng.lognormvariate(0, self.world.noise)
        counting = self.counting
        self.asked[worker] += counting
        for _ in range(ATTEMPTS):
            came, waited = time.monotonic(), []
            try:
                if self.counters is not None:
                    await self.counters.enter()
                await ask(guess, truth, waited)
            except LimitReachedError:
                self.turned_away += counting
                return
            except TooFastError as error:
                await anyio.sleep(error.retry_after * (1 + self.rng.random()))
                continue
            finally:
                if waited and counting:
                    self.waits.append(waited[0] - came)
                    self.at_once += waited[0] - came < 0.0005
            if self.counters is not None:
                await self.counters.settle(truth)
            self.served[worker] += counting
            return

    async def load(self, worker: int, ask: Any, tasks: Any) -> None:
        weights = [1 / (index + 1) for index in range(self.row.workers)]
        due = time.monotonic()  # however late the loop is, as many callers come
        while True:
            turn = (worker + int(self.now() / SHIFT) * 7) % self.row.workers
            rate = self.world.calls * self.row.demand * weights[turn] / sum(weights)
            pause = self.rng.expovariate(rate)
            due += min(pause, 2.0)
            await anyio.sleep(max(0.0, due - time.monotonic()))
            if pause <= 2.0:
                tasks.start_soon(self.one, worker, ask)

    # -- the whole

    async def run(self) -> dict[str, float]:
        row = self.row
        registries = [Registry(rng=random.Random(index), listeners=()) for index in range(row.workers)]
        store = RedisStore(self.server.url, namespace="bench")
        async with AsyncExitStack() as stack:
            if row.mode == "counted":
                from coredis import Redis

                client = await stack.enter_async_context(Redis.from_url(self.server.url, decode_responses=True))
                self.counters = Counters(client, self.world)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            joined = []
            for registry in registries if row.mode == "leased" else ():
                scope = anyio.CancelScope()
                tasks.start_soon(self.stay, registry, store, scope)
                joined.append(scope)
            self.began = time.monotonic()
            loads = []
            for index, registry in enumerate(registries):
                loads.append(anyio.CancelScope())
                tasks.start_soon(self.load_in, loads[-1], index, self.function(registry), tasks)
            tasks.start_soon(self.look_at_the_machine)
            await anyio.sleep(WARM_UP)
            result = await self.measure(registries, loads, joined)
            tasks.cancel_scope.cancel()
        return result

    async def look_at_the_machine(self) -> None:
        """How late the loop is: what a caller waits for it is no wait for the quota."""
        while True:
            began = time.monotonic()
            await anyio.sleep(0.01)
            if self.counting:
                self.late.append(time.monotonic() - began - 0.01)

    async def stay(self, registry: Registry, store: RedisStore, scope: anyio.CancelScope) -> None:
        with scope:
            async with registry.join(store):
                await anyio.sleep_forever()

    async def load_in(self, scope: anyio.CancelScope, *arguments: Any) -> None:
        with scope:
            await self.load(*arguments)

    async def measure(self, registries: list[Registry], loads: list[Any], joined: list[Any]) -> dict[str, float]:
        row, provider = self.row, self.provider
        self.counting = True
        commands = sum(each.fleet.commands for each in registries) + (self.counters.commands if self.counters else 0)
        began, cpu = time.monotonic(), time.process_time()
        for third in range(3):
            if row.freeze and third == 1:
                os.kill(self.server.process.pid, signal.SIGSTOP)
            calls, tokens, refused = provider.taken_calls, provider.taken_tokens, provider.refused
            at = time.monotonic()
            for _ in range(4):
                await anyio.sleep(row.seconds / 12)
                if row.die:
                    for index in range(row.die // 12 + 1):
                        number = third * 4 + index
                        if number < row.die:
                            loads[number].cancel()
            seconds = time.monotonic() - at
            if row.freeze and third:
                world = self.world
                ended, rejected = provider.taken_calls - calls, provider.refused - refused
                print(
                    f"    {'frozen' if third == 1 else 'back'}: requests {ended / world.calls / seconds:.2f}, tokens "
                    f"{(provider.taken_tokens - tokens) / world.tokens / seconds:.2f}, 429s "
                    f"{rejected / max(1, rejected + ended):.2%}",
                    flush=True,
                )
            if row.freeze and third == 1:
                os.kill(self.server.process.pid, signal.SIGCONT)
        seconds = time.monotonic() - began
        sent = sum(each.fleet.commands for each in registries) + (self.counters.commands if self.counters else 0)
        self.world.seconds = seconds
        waits = sorted(self.waits) or [0.0]
        shares = [served / asked for served, asked in zip(self.served, self.asked, strict=True) if asked >= 20]
        requests = provider.taken_calls / (self.world.calls * seconds * (1 - self.world.foreign))
        tokens = provider.taken_tokens / (self.world.tokens * seconds * (1 - self.world.foreign))
        return {
            "requests": requests,
            "tokens": tokens,
            "refused": provider.refused / max(1.0, provider.refused + provider.taken_calls),
            "at once": self.at_once / len(waits),
            "p50": waits[len(waits) // 2],
            "p99": waits[int(len(waits) * 0.99)],
            "turned away": self.turned_away / max(1, sum(self.asked)),
            "commands per call": (sent - commands) / max(1.0, provider.taken_calls),
            "commands per worker and second": (sent - commands) / seconds / self.row.workers,
            "least served": min(shares, default=1.0),
            "most served": max(shares, default=1.0),
            "late": sorted(self.late)[int(len(self.late) * 0.99)],
            "cpu": (time.process_time() - cpu) / seconds,
        }


ROWS: dict[str, Row] = {
    f"{mode}, demand {demand}": Row(mode, demand)
    for demand, mode in itertools.product((0.6, 0.9, 1.5), ("leased", "divided", "counted", "unshared"))
} | {
    "leased, demand 0.9, 8 workers": Row("leased", 0.9, 8),
    "leased, demand 1.5, 8 workers": Row("leased", 1.5, 8),
    "leased, demand 1.5, others use 30 %": Row("leased", 1.5, world={"foreign": 0.3}),
    "leased, demand 1.5, others use 30 %, untold": Row("leased", 1.5, world={"foreign": 0.3, "headers": False}),
    "leased, demand 1.5, it counts by 60 s": Row("leased", 1.5, world={"window": 60.0}),
    "leased, demand 1.5, 8 of 50 workers die": Row("leased", 1.5, die=8),
    "leased, 120 requests a minute, demand 0.6": Row(
        "leased", 0.6, world={"calls": 2.0, "tokens": 1600.0, "window": 60.0}
    ),
    "leased, 120 requests a minute, demand 1.5": Row(
        "leased", 1.5, world={"calls": 2.0, "tokens": 1600.0, "window": 60.0}
    ),
    "leased, demand 1.5, server frozen": Row("leased", 1.5, freeze=True, seconds=45.0),
    "leased, demand 0.8, server frozen": Row("leased", 0.8, freeze=True, seconds=45.0),
}
TITLES = "requests | tokens | 429s | at once | p50 | p99 | turned away | commands per call | per worker and s | served"


def line(name: str, found: dict[str, float]) -> str:
    """A row of the table."""
    return (
        f"| {name} | {found['requests']:.3f} | {found['tokens']:.3f} | {found['refused']:.2%} | "
        f"{found['at once']:.0%} | {found['p50'] * 1000:,.1f} ms | {found['p99'] * 1000:,.1f} ms | "
        f"{found['turned away']:.0%} | {found['commands per call']:.2f} | "
        f"{found['commands per worker and second']:.2f} | "
        f"{found['least served']:.0%}–{found['most served']:.0%} |"
    )


def main() -> None:
    """Measure, a row at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--burst", type=float, default=None)
    given = parser.parse_args()
    print(f"| | {TITLES} |\n|{'---|' * 11}", flush=True)
    for name, row in ROWS.items():
        if given.only not in name:
            continue
        if given.burst is not None:
            row.burst = given.burst
        with server() as running:
            found = anyio.run(Run(row, running, given.seed).run)
        print(line(name, found), f"cpu {found['cpu']:.2f}, loop late {found['late'] * 1000:.1f} ms (p99)", flush=True)


if __name__ == "__main__":
    main()
