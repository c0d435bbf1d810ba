"""Workers that call one provider, for drills of votes."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from resilient_ai import CircuitOpenError, CircuitState, circuit_breaker
from resilient_ai.redis import RedisStore
from tests.fleet.support import until, worker
from tests.helpers import ProviderError

# By itself such a circuit never opens, so whatever opens it is the fleet.
PATIENT = {
    "failure_threshold": None,
    "failure_rate_threshold": 0.5,
    "minimum_calls": 100_000,
    "recovery_timeout": 30.0,
    "timeout_seconds": None,
}


class Workers:
    """
    Registries that call one provider all the time.

    Attributes:
        dead: Whether the provider fails.
        bad: Workers whose own calls fail whatever the provider does.
        slowest: Seconds of this thread's work that the slowest refusal took, whatever else the machine does.
    """

    def __init__(self, count, **settings):
        self.registries = [worker(seed) for seed in range(count)]
        self.dead, self.bad, self.slowest = False, set(), 0.0
        self.asks = [self._ask(number, {**PATIENT, **settings}) for number in range(count)]

    def _ask(self, number, settings):
        @circuit_breaker("provider", **settings, registry=self.registries[number])
        async def ask():
            await anyio.sleep(0.005)
            if self.dead or number in self.bad:
                raise ProviderError("internal_error")
            return "pong"

        return ask

    async def _call(self, number):
        while True:
            began = time.thread_time()
            try:
                await self.asks[number]()
            except CircuitOpenError:
                self.slowest = max(self.slowest, time.thread_time() - began)
            except ProviderError:
                pass
            await anyio.sleep(0.02)

    @asynccontextmanager
    async def joined(self, *stores):
        """All are in the fleet, and call; the last store serves the rest."""
        async with AsyncExitStack() as stack:
            for number, registry in enumerate(self.registries):
                await stack.enter_async_context(registry.join(stores[min(number, len(stores) - 1)]))
            await until(lambda: all(each.fleet.workers == len(self.registries) for each in self.registries), 20)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for number in range(len(self.asks)):
                tasks.start_soon(self._call, number)
            yield self
            tasks.cancel_scope.cancel()

    def circuit(self, number):
        return self.registries[number].circuit_breakers["provider"]

    def held(self):
        """How many the fleet holds open."""
        return sum(self.circuit(number).stats().opened_by == "fleet" for number in range(len(self.asks)))

    def closed(self):
        return sum(self.circuit(number).state is CircuitState.CLOSED for number in range(len(self.asks)))

    @property
    def connected(self):
        return all(each.fleet.connected for each in self.registries)


def store(running, **settings):
    url = settings.pop("url", None) or running.url
    return RedisStore(url, **{"namespace": "drill", "sync_interval": 0.5, **settings})
