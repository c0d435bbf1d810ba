"""
What a fleet costs while its server or the network is in trouble, and how soon its workers are alone and back.

`python -m tests.bench.fleet_drills [--only NAME] [--backend trio]`: ten workers in one process, each with some forty
calls a second, a provider that is dead and a circuit that all hold open; 3 s of calm, 5 s of trouble, 7 s after it.
About four minutes for a backend. Processor time is what the kernel says of the process (`getrusage`), the callers'
included: `no fleet` shows that alone. `idle`: nobody calls; the provider is well.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio

from resilient_ai.events import FleetJoined, FleetLost
from resilient_ai.testing import capture_events
from tests.fleet.proxy import Proxy
from tests.fleet.support import Server, server, until
from tests.fleet.voting import Workers, store

WORKERS, CALM, TROUBLE, AFTER = 10, 3.0, 5.0, 7.0  # seconds; a return is told after five of them


def swallow(*ways: str) -> Callable[[Server, Proxy], None]:
    return lambda _running, proxy: setattr(proxy, "swallow", frozenset(ways))


def delay(seconds: float) -> Callable[[Server, Proxy], None]:
    return lambda _running, proxy: setattr(proxy, "delay", seconds)


def refuse(_running: Server, proxy: Proxy) -> None:
    proxy.refuse = True
    proxy.cut()


def restart(running: Server, _proxy: Proxy) -> None:
    running.kill()
    running.start()


def nothing(_running: Server, _proxy: Proxy) -> None:
    """It is over by itself."""


def says(*words: str) -> Callable[[Server, Proxy], None]:
    def say(running: Server, _proxy: Proxy) -> None:
        running.ask(*words)

    return say


TROUBLES: dict[str, tuple[Callable[[Server, Proxy], None], Callable[[Server, Proxy], None]]] = {
    "none": (nothing, nothing),
    "killed": (lambda running, _proxy: running.kill(), lambda running, _proxy: running.start()),
    "frozen": (lambda running, _proxy: running.freeze(), lambda running, _proxy: running.thaw()),
    "cut off": (swallow("requests", "answers"), swallow()),
    "answers lost": (swallow("answers"), swallow()),
    "refused": (refuse, lambda _running, proxy: setattr(proxy, "refuse", False)),
    "restarted empty": (restart, nothing),
    "flushed": (says("FLUSHALL"), nothing),
    "0.2 s each way": (delay(0.2), delay(0.0)),
    "memory full": (says("CONFIG", "SET", "maxmemory", "1"), says("CONFIG", "SET", "maxmemory", "0")),
    "read-only": (says("REPLICAOF", "127.0.0.1", "1"), says("REPLICAOF", "NO", "ONE")),
}


class Meter:
    """Share of one core that this process takes, from one reading to the next."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), self._now()

    def _now(self) -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def read(self) -> float:
        at, used = self._at, self._used
        self._at, self._used = time.monotonic(), self._now()
        return (self._used - used) / (self._at - at)


def commands(workers: Workers) -> int:
    return sum(each.fleet.commands for each in workers.registries)


async def seconds_until(true: Callable[[], bool], most: float) -> str:
    with suppress(TimeoutError):
        return f"{await until(true, most):.1f}"
    return "–"


async def drill(name: str, running: Server, proxy: Proxy) -> str:
    """A row of the table."""
    workers, (go, come) = Workers(WORKERS), TROUBLES[name]
    with capture_events(workers.registries[0]) as events:
        async with workers.joined(store(None, url=proxy.url, sync_interval=5.0)):
            workers.dead = True
            await until(lambda: workers.held() == WORKERS, 60)
            meter, workers.slowest, sent = Meter(), 0.0, commands(workers)
            await anyio.sleep(CALM)
            calm, calm_sent = meter.read(), (commands(workers) - sent) / CALM / WORKERS
            go(running, proxy)
            began, alone = time.monotonic(), "–"
            if name not in ("none", "flushed", "0.2 s each way"):
                alone = await seconds_until(
                    lambda: not any(each.fleet.connected for each in workers.registries), TROUBLE
                )
            await anyio.sleep(max(0.0, began + TROUBLE - time.monotonic()))
            held, during = workers.held(), meter.read()
            come(running, proxy)
            began = time.monotonic()
            back = await seconds_until(lambda: workers.connected, 12.0)
            await anyio.sleep(max(0.0, began + AFTER - time.monotonic()))
            after = meter.read()
    lines = Counter(type(each).__name__ for each in events if isinstance(each, FleetJoined | FleetLost))
    told = f"{lines['FleetLost']} + {lines['FleetJoined'] - 1}"
    return (
        f"| {name} | {held} of {WORKERS} | {alone} | {back} | {calm:.1%} | {during:.1%} | {after:.1%} |"
        f" {workers.slowest * 1e6:,.0f} | {told} | {calm_sent:.2f} |"
    )


async def no_fleet() -> str:
    """What the callers take by themselves: the circuits are tripped, and nobody has joined."""
    workers = Workers(WORKERS, recovery_timeout=600.0)
    workers.dead = True
    async with anyio.create_task_group() as tasks:
        for number in range(WORKERS):
            tasks.start_soon(workers._call, number)
        await anyio.sleep(0.2)
        for number in range(WORKERS):
            workers.circuit(number).trip()
        meter, workers.slowest = Meter(), 0.0
        await anyio.sleep(CALM)
        calm = meter.read()
        tasks.cancel_scope.cancel()
    return f"| no fleet | | | | {calm:.1%} | | | {workers.slowest * 1e6:,.0f} | | |"


async def idle(running: Server) -> str:
    """What a fleet takes of which nobody asks anything."""
    workers = Workers(WORKERS)
    async with AsyncExitStack() as stack:
        for each in workers.registries:
            await stack.enter_async_context(each.join(store(running, sync_interval=5.0)))
        await until(lambda: all(each.fleet.workers == WORKERS for each in workers.registries), 60)
        meter, sent = Meter(), commands(workers)
        await anyio.sleep(4 * CALM)
        used, told = meter.read(), (commands(workers) - sent) / 4 / CALM / WORKERS
    return f"| idle | | | | {used:.1%} | | | | | {told:.2f} |"


TITLES = (
    "held open | alone after, s | back after, s | processor, calm | in it | after it | slowest refusal, µs |"
    " lines lost + back | commands/s/worker"
)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="troubles whose name contains this")
    options.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    chosen = options.parse_args()
    print(f"| {chosen.backend} | {TITLES} |\n|{'---|' * 10}", flush=True)

    def play(row: Callable[..., Any], *given: Any) -> None:
        print(anyio.run(row, *given, backend=chosen.backend), flush=True)

    play(no_fleet)
    with server() as running:
        play(idle, running)
    for name in TROUBLES:
        if chosen.only in name:
            with server() as running:
                proxy = Proxy(running.port)
                play(drill, name, running, proxy)
                proxy.close()


if __name__ == "__main__":
    main()
