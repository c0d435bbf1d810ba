"""A worker in a process of its own that shares a quota: asks a provider over TCP, and tells once it is in the fleet."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from resilient_ai import LimitReachedError, Registry, rate_limit
from resilient_ai.redis import RedisStore
from tests.rate_limit.support import TooFastError

QUOTA = 50  # calls a second
registry = Registry(listeners=())


class Line:
    """To the provider; one question at a time."""

    def __init__(self, stream) -> None:
        self._stream, self._answers = stream, BufferedByteReceiveStream(stream)
        self._lock = anyio.Lock()

    async def ask(self) -> None:
        async with self._lock:
            await self._stream.send(b"?")
            wait = float(await self._answers.receive_until(b"\n", 20))
        if wait:
            raise TooFastError(wait)
        await anyio.sleep(0.02)


async def work(workers: int, rate: float) -> None:
    """Join, say so once all workers are there, and call for ever, so many times a second."""
    async with (
        await anyio.connect_tcp("127.0.0.1", int(os.environ["PROVIDER"])) as stream,
        registry.join(RedisStore(os.environ["SERVER"], namespace="processes", sync_interval=0.5)),
        anyio.create_task_group() as tasks,
    ):
        line = Line(stream)
        ask = rate_limit("quota", requests_per_minute=60 * QUOTA, burst=1, max_wait=2, registry=registry)(line.ask)

        async def one() -> None:
            with suppress(LimitReachedError, TooFastError):
                await ask()

        while registry.fleet.workers < workers:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)
        print("joined", flush=True)
        while True:
            tasks.start_soon(one)
            await anyio.sleep(1 / rate)


if __name__ == "__main__":
    anyio.run(work, int(sys.argv[2]), float(sys.argv[3]), backend=sys.argv[1])
