"""
What a fleet costs while its server or the network is in trouble, and how soon its workers are alone and back.

`python -m tests.bench.fleet_drills [--only NAME] [--backend trio] [--client redis-py]`: ten workers in one process,
each with some forty calls a second, a provider that is dead and a circuit that all hold open; 3 s of calm, 5 s of
trouble, 7 s after it. About four minutes for a backend. Processor time is what the kernel says of the event loop's
thread (`getrusage`), the callers' included: `no fleet` shows that alone; the threads of the proxy are the network, and
not in it. `idle`: nobody calls; the provider is well. Of times, and of lines that a worker tells, those of the worst
worker.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from typing import Any

import anyio

from resilient_ai.events import FleetJoined, FleetLost
from resilient_ai.redis import RedisStore
from resilient_ai.redis._clients import RedisPyTransport
from resilient_ai.redis._transport import Transport
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


class Watch:
    """
    When a worker sent the first command that failed, and what it told of the server.

    Attributes:
        failed: When that command was sent; None: the connection has ended by itself.
        lost, joined: When it told so, each time.
    """

    def __init__(self) -> None:
        self.failed: float | None = None
        self.lost: list[float] = []
        self.joined: list[float] = []

    def hear(self, event: object) -> None:
        if isinstance(event, FleetLost):
            self.lost.append(time.monotonic())
        elif isinstance(event, FleetJoined):
            self.joined.append(time.monotonic())

    @property
    def alone(self) -> float | None:
        """Seconds from the first command that failed until the worker was alone."""
        if not self.lost:
            return None
        return self.lost[0] - min(self.lost[0], self.failed or self.lost[0])


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


class WatchedStore(RedisStore):
    """A store of one worker, whose commands are watched."""

    def __init__(self, watch: Watch, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, namespace="drill", **settings)
        self._watch = watch

    async def run(self, membership: Any) -> None:
        _WATCH.set(self._watch)
        await super().run(membership)


def watch_commands(transport: type[Transport]) -> None:
    """Note when a command was sent that fails."""
    send = transport.run

    async def run(self: Transport, *arguments: Any) -> Any:
        watch, began = _WATCH.get(), time.monotonic()
        try:
            return await send(self, *arguments)
        except Exception:
            if watch is not None:
                watch.failed = watch.failed or began
            raise

    transport.run = run  # type: ignore[method-assign]


class Meter:
    """Share of one core that this thread takes, from one reading to the next."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), self._now()

    def _now(self) -> float:
        usage = resource.getrusage(resource.RUSAGE_THREAD)
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


def stores(stack: AsyncExitStack, url: str, client: str, watches: list[Watch]) -> list[WatchedStore]:
    """A store for each worker."""
    if client == "coredis":
        return [WatchedStore(each, url) for each in watches]
    from redis.asyncio import Redis

    clients = [Redis.from_url(url, decode_responses=True) for _ in watches]
    for each in clients:
        stack.push_async_callback(each.aclose)
    return [WatchedStore(watch, client=each) for watch, each in zip(watches, clients, strict=True)]


async def drill(name: str, running: Server, proxy: Proxy, client: str) -> str:
    """A row of the table."""
    workers, (go, come) = Workers(WORKERS), TROUBLES[name]
    watches = [Watch() for _ in range(WORKERS)]
    for registry, watch in zip(workers.registries, watches, strict=True):
        registry.subscribe(watch.hear)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workers.joined(*stores(stack, proxy.url, client, watches)))
        workers.dead = True
        await until(lambda: workers.held() == WORKERS, 60)
        meter, workers.slowest, sent = Meter(), 0.0, commands(workers)
        await anyio.sleep(CALM)
        calm, calm_sent = meter.read(), (commands(workers) - sent) / CALM / WORKERS
        go(running, proxy)
        began = time.monotonic()
        await anyio.sleep(TROUBLE)
        held, during = workers.held(), meter.read()
        lost = [each.lost[0] - began for each in watches if each.lost]
        alone = [each.alone for each in watches if each.alone is not None]
        come(running, proxy)
        began = time.monotonic()
        back = await seconds_until(lambda: workers.connected, 12.0)
        await anyio.sleep(max(0.0, began + AFTER - time.monotonic()))
        after = meter.read()
    told = f"{max(len(each.lost) for each in watches)} + {max(len(each.joined) for each in watches) - 1}"
    return (
        f"| {name} | {held} of {WORKERS} | {worst(lost)} | {worst(alone)} | {back} | {calm:.1%} | {during:.1%} |"
        f" {after:.1%} | {workers.slowest * 1e6:,.0f} | {told} | {calm_sent:.2f} |"
    )


def worst(seconds: list[float]) -> str:
    """The longest of those who lost the server, and how many they were where not all did."""
    if not seconds:
        return "–"
    return f"{max(seconds):.1f}" + (f" ({len(seconds)} of {WORKERS})" if len(seconds) < WORKERS else "")


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
    return f"| no fleet | | | | | {calm:.1%} | | | {workers.slowest * 1e6:,.0f} | | |"


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
    return f"| idle | | | | | {used:.1%} | | | | | {told:.2f} |"


TITLES = (
    "held open | alone after, s | …after its first failed command | back after, s | processor, calm | in it |"
    " after it | slowest refusal, µs | lines lost + back | commands/s/worker"
)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="troubles whose name contains this")
    options.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    options.add_argument("--client", default="coredis", choices=("coredis", "redis-py"))
    chosen = options.parse_args()
    watch_commands(Transport if chosen.client == "coredis" else RedisPyTransport)
    print(f"| {chosen.backend} | {TITLES} |\n|{'---|' * 11}", flush=True)

    def play(row: Callable[..., Any], *given: Any) -> None:
        print(anyio.run(row, *given, backend=chosen.backend), flush=True)

    play(no_fleet)
    with server() as running:
        play(idle, running)
    for name in TROUBLES:
        if chosen.only in name:
            with server() as running:
                proxy = Proxy(running.port)
                play(drill, name, running, proxy, chosen.client)
                proxy.close()


if __name__ == "__main__":
    main()
