"""
What a batched call costs, how long it is held back, and how many provider calls it saves; next to other libraries.

    python -m tests.bench.batching [--reps 5] [--items 20000] [--seconds 1.0] [--only NAME ...]

Libraries that are not installed are left out. Repetitions of all contenders are interleaved, each in an event loop
of its own, and the best of each is shown: on a busy machine that is the one least disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import itertools
import logging
import random
import statistics
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from resilient_ai import Registry, batched

SIZE, PARALLEL = 64, 8
CALLERS = (1, 64, 1_000, 10_000)
Send = Callable[[list[Any]], Awaitable[list[Any]]]
Call = Callable[[Any], Awaitable[Any]]
# (function of a list, seconds of the window, batches at a time) -> function of one item
Contender = Callable[[Send, float, int], Call]


def ours(send: Send, wait: float, parallel: int) -> Call:
    settings = {"batch_size": SIZE, "batch_timeout": wait, "max_concurrency": parallel, "max_queue_size": 1_000_000}
    return batched(registry=Registry(listeners=()), **settings)(send)  # type: ignore[call-overload, no-any-return]


def direct(send: Send, wait: float, parallel: int) -> Call:
    async def call(item: Any) -> Any:
        return (await send([item]))[0]

    return call


def of_aiodataloader(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("aiodataloader")
    return module.DataLoader(send, max_batch_size=SIZE, cache=False).load  # type: ignore[no-any-return]


def of_dloader(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("dloader")
    return module.DataLoader(send, max_batch_size=SIZE, cache=False).load  # type: ignore[no-any-return]


def of_async_batcher(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("async_batcher.batcher")

    class Batcher(module.AsyncBatcher):  # type: ignore[misc, name-defined]
        async def process_batch(self, batch: list[Any]) -> list[Any]:
            return await send(batch)

    return Batcher(max_batch_size=SIZE, max_queue_time=max(wait, 1e-6), concurrency=parallel).process  # type: ignore[no-any-return]


def of_batched(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("batched")  # one batch at a time, always
    return module.aio.dynamically(send, batch_size=SIZE, timeout_ms=wait * 1000)  # type: ignore[no-any-return]


def of_batchlet(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("batchlet")
    policy = module.BatchPolicy(max_items=SIZE)
    batcher: Any = None

    async def call(item: Any) -> Any:
        nonlocal batcher
        if batcher is None:
            bounds = {"max_pending_items": 1_000_000, "max_concurrent_batches": parallel}
            batcher = module.AsyncBatcher(send, policy=policy, max_wait_ms=wait * 1000, **bounds)
            if hasattr(batcher, "__aenter__"):
                await batcher.__aenter__()
        return await batcher.submit(item)

    return call


def of_bentoml(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("bentoml._internal.marshal.dispatcher")
    dispatcher = module.CorkDispatcher(
        60_000, SIZE, shared_sema=module.NonBlockSema(parallel), fallback=lambda: None, get_batch_size=lambda _item: 1
    )

    async def of_tuple(items: Any) -> list[Any]:
        return await send(list(items))

    return dispatcher(of_tuple)  # type: ignore[no-any-return]


def of_ray(send: Send, wait: float, parallel: int) -> Call:
    module = importlib.import_module("ray.serve")
    # Its queue asks the server it runs in for a setting, only to warn; here is no server.
    queue = importlib.import_module("ray.serve.batching")._BatchQueue
    queue._warn_if_max_batch_size_exceeds_max_ongoing_requests = lambda _self: None

    @module.batch(max_batch_size=SIZE, batch_wait_timeout_s=wait, max_concurrent_batches=parallel)  # type: ignore[untyped-decorator]
    async def call(items: list[Any]) -> list[Any]:
        return await send(items)

    return call  # type: ignore[no-any-return]


CONTENDERS: dict[str, tuple[str | None, Contender]] = {
    "resilient_ai": (None, ours),
    "no batching": (None, direct),
    "aiodataloader *": ("aiodataloader", of_aiodataloader),
    "dloader *": ("dloader", of_dloader),
    "async-batcher": ("async_batcher", of_async_batcher),
    "batched": ("batched", of_batched),
    "batchlet": ("batchlet", of_batchlet),
    "BentoML": ("bentoml", of_bentoml),
    "Ray Serve": ("ray.serve", of_ray),
}


def run(main: Awaitable[Any]) -> Any:
    gc.collect()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # some leave their tasks behind
    try:
        return loop.run_until_complete(asyncio.wait_for(main, 60))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()


# -- what it costs


async def throughput(make: Contender, callers: int, items: int) -> tuple[float, float]:
    """CPU seconds and wall seconds per item, of callers that ask again as soon as they are answered."""

    async def send(batch: list[Any]) -> list[Any]:
        return batch

    call = make(send, 0.0, PARALLEL)
    each = max(2, items // callers)

    async def caller(number: int) -> None:
        for _ in range(each):
            await call(number)

    await call(0)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return (time.process_time() - cpu) / (each * callers), (time.perf_counter() - wall) / (each * callers)


# -- how long it holds back


async def poisson(make: Contender, rate: float, wait: float, seconds: float, seed: int) -> tuple[list[float], int]:
    """Added latency of each call, and provider calls, when callers come independently of one another."""
    calls = 0

    async def send(batch: list[Any]) -> list[Any]:
        nonlocal calls
        calls += 1
        return batch

    call = make(send, wait, PARALLEL)
    chance = random.Random(seed)
    added: list[float] = []

    async def caller(number: int) -> None:
        started = time.perf_counter()
        await call(number)
        added.append(time.perf_counter() - started)

    await call(0)
    calls = 0
    tasks = []
    due = time.perf_counter()
    for number in itertools.count():
        due += chance.expovariate(rate)
        if due > time.perf_counter():
            await asyncio.sleep(due - time.perf_counter())
        if number >= rate * seconds:
            break
        tasks.append(asyncio.ensure_future(caller(number)))
    await asyncio.gather(*tasks)
    return added, calls


def available(only: list[str]) -> dict[str, Contender]:
    found = {}
    for name, (module, make) in CONTENDERS.items():
        if only and not any(each in name for each in only):
            continue
        try:
            if module is not None:
                importlib.import_module(module)
        except ImportError:
            print(f"{name}: not installed")
            continue
        found[name] = make
    return found


def table(head: list[str], rows: dict[str, list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for name, cells in rows.items():
        print("| " + " | ".join([name, *cells]) + " |")
    print(flush=True)


def measured(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return run(function(*args))
    except Exception as error:
        return error


def compare_throughput(contenders: dict[str, Contender], reps: int, items: int) -> None:
    rows: dict[str, list[str]] = {name: [] for name in contenders}
    for callers in CALLERS:
        best: dict[str, Any] = {}
        for rep in range(reps):
            for name in random.Random(rep).sample(list(contenders), len(contenders)):
                some = items // 10 if callers == 1 else items
                result = measured(throughput, contenders[name], callers, some)
                if isinstance(result, Exception):
                    best.setdefault(name, result)
                elif name not in best or isinstance(best[name], Exception) or result < best[name]:
                    best[name] = result
        for name, result in best.items():
            failed = isinstance(result, Exception)
            rows[name].append(
                type(result).__name__ if failed else f"{result[0] * 1e6:.1f} µs ({1 / result[1] / 1000:,.0f} k/s)"
            )
    print(
        f"CPU per item (items per second), batches of {SIZE}, {PARALLEL} at a time, no window, a function without cost"
    )
    table(["callers", *(f"{callers:,}" for callers in CALLERS)], rows)


def compare_latency(contenders: dict[str, Contender], reps: int, seconds: float) -> None:
    wait = 0.01
    rates = (50.0, 500.0, 5_000.0)
    rows: dict[str, list[str]] = {name: [] for name in contenders}
    for rate in rates:
        best: dict[str, Any] = {}
        for rep in range(reps):
            for name in random.Random(rep).sample(list(contenders), len(contenders)):
                result = measured(poisson, contenders[name], rate, wait, seconds, rep)
                if isinstance(result, Exception):
                    best.setdefault(name, result)
                    continue
                added, calls = result
                p50, p99 = statistics.median(added), sorted(added)[int(len(added) * 0.99)]
                if name not in best or isinstance(best[name], Exception) or p99 < best[name][1]:
                    best[name] = p50, p99, 1 - calls / len(added)
        for name, result in best.items():
            rows[name].append(
                type(result).__name__
                if isinstance(result, Exception)
                else f"{result[0] * 1000:.1f} / {result[1] * 1000:.1f} ms, {result[2]:.0%}"
            )
    print(f"Added latency p50 / p99 and provider calls saved, Poisson arrivals, window {wait * 1000:.0f} ms")
    table(["arrivals per second", *(f"{rate:,.0f}" for rate in rates)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    contenders = available(options.only)
    print(f"Python {sys.version.split()[0]}\n")
    compare_throughput(contenders, options.reps, options.items)
    compare_latency(contenders, max(2, options.reps // 2), options.seconds)
    print("* no window, no bounds, no groups")


if __name__ == "__main__":
    main()
