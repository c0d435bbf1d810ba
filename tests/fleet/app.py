"""One worker of a fleet in a process of its own: a web application, or a script that prints what it hears."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import asynccontextmanager, suppress

import anyio

from resilient_ai import CircuitOpenError, Registry, circuit_breaker
from resilient_ai.redis import RedisStore

registry = Registry(listeners=())


@circuit_breaker(
    "provider", failure_threshold=None, failure_rate_threshold=0.5, minimum_calls=100_000, registry=registry
)
async def ask():
    await anyio.sleep(0.005)
    if os.path.exists(os.environ["PROVIDER_IS_DEAD"]):  # noqa: ASYNC240 - it is in memory
        raise ConnectionError("dead")


async def call_all_the_time():
    while True:
        with suppress(CircuitOpenError, ConnectionError):
            await ask()
        await anyio.sleep(0.02)


@asynccontextmanager
async def lifespan():
    async with registry.join(RedisStore(os.environ["SERVER"], namespace="drill", sync_interval=0.5)):
        yield


async def app(scope, receive, send):
    """Plain ASGI: `lifespan` joins, and any request is answered with the fleet as this worker knows it."""
    if scope["type"] == "lifespan":
        await receive()
        async with lifespan(), anyio.create_task_group() as tasks:
            tasks.start_soon(call_all_the_time)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            tasks.cancel_scope.cancel()
        await send({"type": "lifespan.shutdown.complete"})
        return
    known = {
        "pid": os.getpid(),
        "workers": registry.fleet.workers,
        "opened_by": registry.circuit_breakers["provider"].stats().opened_by,
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": json.dumps(known).encode()})


async def script():
    async with lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(call_all_the_time)
        last = None
        while True:
            now = registry.fleet.workers, registry.circuit_breakers["provider"].stats().opened_by
            if now != last:
                print(json.dumps([time.time_ns() / 1e9, *now]), flush=True)
                last = now
            await anyio.sleep(0.002)


if __name__ == "__main__":
    anyio.run(script, backend=sys.argv[1])
