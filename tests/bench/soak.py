"""
Mixed traffic with cancellations at every await: permits, probes, tickets and counts must balance, memory stays flat.

    python -m tests.bench.soak [--minutes 10] [--seed 1] [--backend asyncio|trio]

Virtual time: ten minutes of calls take some ten seconds of CPU. Each call (plain, batched, a stream, hedged, keyed)
goes through the recommended stack, on endpoints that answer, refuse, break and hang by chance. One in three is
cancelled after a random number of the event loop's turns, so at any of its awaits. At the end of each minute all calls
are over: nothing may be held, every call must have ended in one way, and the process may not have grown. In the end the
provider is well, and every function must answer.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from resilient_ai import (
    Endpoint,
    LastAnswer,
    Registry,
    ResilienceError,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.testing import VirtualClock

CALLS_A_SECOND = 10.0
CANCELLED = 1 / 3
MOST_TURNS = 40
HANGS = 45.0
US, EU, AP = Endpoint("us"), Endpoint("eu"), Endpoint("ap")


class RefusedError(Exception):
    """A reply that is no answer."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


@dataclass
class Soak:
    """The functions, what was asked of them and what came of it."""

    clock: VirtualClock
    rng: random.Random
    registry: Registry = field(init=False)
    outcomes: Counter[str] = field(default_factory=Counter)
    inside: int = 0  # calls within the provider
    well: bool = False  # whether the provider answers every call
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry(clock=self.clock, rng=random.Random(1), listeners=())
        self.asks = (self._plain(), self._hedged(), self._keyed(), self._batched(), self._stream())

    async def provider(self, item: str) -> str:
        self.inside += 1
        try:
            luck = self.rng.random() if not self.well else 0.5
            if luck < 0.02:
                await self.clock.sleep(HANGS)
            await self.clock.sleep(0.1 + self.rng.expovariate(2))
            if luck > 0.9:
                raise RefusedError(self.rng.choice((429, 500, 503, 529)))
            if luck > 0.87:
                raise ConnectionResetError
            return f"answer to {item}"
        finally:
            self.inside -= 1

    def _stack(self, name: str, call: Any, **settings: Any) -> Any:
        registry = self.registry
        call = circuit_breaker(name, recovery_timeout=5, registry=registry)(call)
        call = adaptive_limit(name, registry=registry)(call)
        call = failover(US, EU, AP, name=name, registry=registry, **settings)(call)
        return classified_retry(name, registry=registry)(call)

    def _plain(self) -> Any:
        async def ask(_endpoint: Endpoint, item: str) -> str:
            return await self.provider(item)

        return degrade_to(LastAnswer(), name="plain", registry=self.registry)(self._stack("plain", ask))

    def _hedged(self) -> Any:
        async def ask(_endpoint: Endpoint, item: str) -> str:
            return await self.provider(item)

        return self._stack("hedged", ask, strategy="least_latency", hedge_after=1.0)

    def _keyed(self) -> Any:
        @circuit_breaker("keyed", key=lambda item: int(item) % 7, registry=self.registry)
        async def ask(item: str) -> str:
            return await self.provider(item)

        return ask

    def _batched(self) -> Any:
        async def ask(_endpoint: Endpoint, items: list[str]) -> list[str]:
            await self.provider("many")
            return [f"answer to {each}" for each in items]

        return batched(batch_size=5, name="batched", registry=self.registry)(self._stack("batched", ask))

    def _stream(self) -> Any:
        async def stream(_endpoint: Endpoint, item: str) -> Any:
            yield "answer "
            yield (await self.provider(item)).removeprefix("answer ")

        pieces = self._stack("stream", stream)

        async def ask(item: str) -> str:
            return "".join([piece async for piece in pieces(item)])

        return ask

    async def call(self, number: int) -> None:
        ask, item, came = self.rng.choice(self.asks), str(number), "cancelled"
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                if self.rng.random() < CANCELLED:
                    tasks.start_soon(self._cancel_later, scope)
                try:
                    answer = await ask(item)
                    if answer != f"answer to {item}":
                        self.wrong.append(f"call {item} got {answer!r}")
                    came = "answered"
                except (ResilienceError, RefusedError, OSError) as error:
                    came = type(error).__name__
                tasks.cancel_scope.cancel()
        self.outcomes[came] += 1

    async def _cancel_later(self, scope: anyio.CancelScope) -> None:
        if self.rng.random() < 0.5:
            await self.clock.sleep(self.rng.uniform(0, 3))
        for _ in range(self.rng.randrange(MOST_TURNS)):
            await checkpoint()
        scope.cancel()

    async def minute(self, first: int) -> int:
        """A minute of calls, to the end of the last of them; returns the number of the next call."""
        number, ends = first, self.clock.now() + 60
        async with anyio.create_task_group() as tasks:
            while self.clock.now() < ends:
                tasks.start_soon(self.call, number)
                number += 1
                await self.clock.sleep(self.rng.expovariate(CALLS_A_SECOND))
        await self.clock.sleep(HANGS)  # batches whose last caller has left are over by then
        return number

    def unbalanced(self) -> list[str]:
        """What is held though no call is under way, and counts that contradict each other."""
        registry = self.registry
        found = [f"{self.inside} calls are still within the provider"] if self.inside else []
        for name, limit in registry.limits.items():
            stats = limit.stats()
            found += (
                [f"limit {name} holds {stats.in_flight}, {stats.waiting} wait"]
                if stats.in_flight or stats.waiting
                else []
            )
        for name, endpoint in registry.endpoints.items():
            found += [f"endpoint {name} has {held} calls"] if (held := endpoint.stats().in_flight) else []
        for name, circuit in registry.circuit_breakers.items():
            stats = circuit.stats()
            if stats.probes_in_flight:
                found.append(f"circuit {name} has {stats.probes_in_flight} probes")
            if stats.calls != stats.ok + stats.failed + (stats.neutral or 0):
                found.append(
                    f"circuit {name}: {stats.calls} calls are not {stats.ok} + {stats.failed} + {stats.neutral}"
                )
        for name, batch in registry.batches.items():
            stats = batch.stats()
            found += [f"batch {name} holds {stats.queue_size}"] if stats.queue_size or stats.in_flight else []
        return found + self.wrong[:5]

    async def comes_back(self) -> list[str]:
        """Which functions do not answer, ten minutes after the provider is well again."""
        self.well = True
        await self.clock.sleep(600)
        found = []
        for ask in self.asks:
            for number in range(20):
                try:
                    await ask(str(number))
                except (ResilienceError, RefusedError, OSError) as error:
                    found.append(f"call {number} of {ask!r} failed though all is well: {error}")
        return found


async def soak(minutes: int, seed: int, *, show: bool = True) -> list[str]:
    """
    What went wrong, in words; nothing if all is well.

    Args:
        minutes: How long, in virtual time.
        seed: Of all chance.
        show: Print a line for each minute.
    """
    clock = VirtualClock()
    run, number, sizes, began = Soak(clock, random.Random(seed)), 0, [], time.thread_time()
    async with clock.autojump():
        for minute in range(1, minutes + 1):
            number = await run.minute(number)
            gc.collect()
            sizes.append(len(gc.get_objects()))
            found = run.unbalanced()
            if run.outcomes.total() != number:
                found.append(f"{number} calls ended in {run.outcomes.total()} ways")
            if show:
                print(f"minute {minute:3}: {number:6} calls, {sizes[-1]:7} objects, {'; '.join(found) or 'balanced'}")
            if found:
                return found
        if found := await run.comes_back():
            return found[:5]
    # The first minutes fill what is bounded: records of answer times, remembered answers.
    half = len(sizes) // 2
    if minutes >= 6 and sizes[-1] > 1.05 * max(sizes[half - 1 : half + 1]) + 1_000:
        return [f"{sizes[half]} objects at half-time, {sizes[-1]} at the end"]
    if show:
        print(f"{dict(run.outcomes)}; {time.thread_time() - began:.0f} s of CPU")
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    chosen = parser.parse_args()
    found = anyio.run(soak, chosen.minutes, chosen.seed, backend=chosen.backend)
    if found:
        sys.exit("; ".join(found))


if __name__ == "__main__":
    main()
