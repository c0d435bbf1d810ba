"""What several files of this folder need."""

from __future__ import annotations

import functools

import anyio
import anyio.lowlevel

from resilient_ai import Registry, batched


class Recorder:
    """A batch function that remembers its calls, and does what `then` says with each."""

    def __init__(self, then=None):
        self.calls = []
        self.gate = None
        self.then = then or (lambda items: [f"<{item}>" for item in items])

    def function(self):
        async def send(items: list[str], *, model: str = "small") -> list[str]:
            self.calls.append(list(items))
            if self.gate is not None:
                await self.gate.wait()
            return self.then(items)

        return send

    def batched(self, registry, **settings):
        return batched("batch", registry=registry, **settings)(self.function())


async def settled():
    """Until every task waits for something."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()  # on asyncio, anyio looks only every 0.1 s
    await anyio.wait_all_tasks_blocked()


async def gather(*calls):
    """Start the calls in order; outcomes in that order, exceptions among them."""
    outcomes = [None] * len(calls)

    async def run(number, call):
        try:
            outcomes[number] = await call()
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run, number, call)
            await settled()
    return outcomes


def each(function, *items, **kwargs):
    return [functools.partial(function, item, **kwargs) for item in items]


class Scene:
    """A batched function whose calls wait at a gate, and callers with a scope each."""

    def __init__(self, registry, **settings):
        self.registry = registry
        self.calls, self.cancelled, self.outcomes = [], [], {}
        self.gate = anyio.Event()
        self.scopes = {}

        @batched("scene", registry=registry, **settings)
        async def send(items: list[str]) -> list[str]:
            self.calls.append(list(items))
            try:
                await self.gate.wait()
            except BaseException:
                self.cancelled.append(list(items))
                raise
            return [f"<{item}>" for item in items]

        self.send = send

    async def _call(self, item):
        with anyio.CancelScope() as scope:
            self.scopes[item] = scope
            try:
                self.outcomes[item] = await self.send(item)
            except Exception as error:
                self.outcomes[item] = error
        if scope.cancelled_caught:
            self.outcomes[item] = "cancelled"

    async def start(self, tasks, *items):
        for item in items:
            tasks.start_soon(self._call, item)
            await settled()

    async def cancel(self, *items):
        for item in items:
            self.scopes[item].cancel()
        await settled()

    @property
    def stats(self):
        return self.registry.batches["scene"].stats()

    def is_idle(self):
        stats = self.stats
        ended = stats.ok + stats.failed + stats.neutral
        return not stats.is_running and stats.total_requests == ended


def scene_in_real_time(**settings):
    return Scene(Registry(listeners=()), **settings)
