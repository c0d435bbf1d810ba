"""
What decorated functions keep in memory, and what calls leave behind.

    python -m tests.bench.memory
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

from resilient_ai import Registry, adaptive_limit, circuit_breaker, classified_retry, degrade_to
from resilient_ai.types import SystemClock

Call = Callable[..., Coroutine[Any, Any, Any]]
MANY = 500


def _function() -> Call:
    async def ask(text: str) -> str:
        return text

    return ask


def _kept(make: Callable[[], object], times: int = MANY) -> float:
    """Bytes that stay allocated for each thing made."""
    make()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    things = [make() for _ in range(times)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(things)


def per_function() -> dict[str, float]:
    """Bytes of one decorator on one function, the function itself taken off."""
    registry = Registry(listeners=())
    number = iter(range(10**9))
    kinds: dict[str, Callable[[str], Any]] = {
        "circuit_breaker": lambda name: circuit_breaker(name, registry=registry),
        "classified_retry": lambda name: classified_retry(name, registry=registry),
        "degrade_to": lambda _name: degrade_to("sorry", registry=registry),
        "adaptive_limit": lambda name: adaptive_limit(name, registry=registry),
    }
    bare = _kept(_function)
    return {kind: _kept(lambda put=put: put(f"f{next(number)}")(_function())) - bare for kind, put in kinds.items()}


def per_key() -> float:
    """Bytes of one more key of a keyed circuit."""
    registry = Registry(listeners=())
    ask = circuit_breaker("keyed", key=lambda text: text, timeout_seconds=None, registry=registry)(_function())

    async def main() -> float:
        await ask("first")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            await ask(f"key {number}")
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / MANY

    return asyncio.run(main())


class StillClock(SystemClock):
    """A clock that stands still, so that how many records are young does not depend on the machine."""

    now = staticmethod(lambda: 0.0)


def stack() -> Call:
    """The policies of the recommended order that need no endpoints."""
    registry = Registry(clock=StillClock(), listeners=())
    call = circuit_breaker("one", registry=registry)(_function())
    call = adaptive_limit("one", registry=registry)(call)
    call = classified_retry("one", registry=registry)(call)
    return degrade_to("sorry", registry=registry)(call)


def left_behind(call: Call, times: int = 2_000) -> tuple[float, int]:
    """
    Bytes that survive a successful call once the records are full, and objects that only a collector could free.

    The records of the latest answers are replaced all the time, so they are traced from the first call on.
    """

    async def main() -> tuple[float, int]:
        tracemalloc.start()
        for _ in range(1_000):
            await call("text")
        gc.collect()  # ends the functions of earlier tests, which lets go of their closed loops
        gc.collect()
        gc.disable()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            await call("text")
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        cyclic = gc.collect()
        gc.enable()
        return (after - before) / times, cyclic

    return asyncio.run(main())


def main() -> None:
    for kind, size in per_function().items():
        print(f"{kind}: {size:,.0f} bytes per function")
    print(f"circuit_breaker(key=…): {per_key():,.0f} bytes per key")
    survived, cyclic = left_behind(stack())
    print(f"four policies: {survived:.2f} bytes survive a call, {cyclic} cyclic objects after 2,000 calls")


if __name__ == "__main__":
    main()
