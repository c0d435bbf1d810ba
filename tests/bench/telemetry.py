"""
What exporters cost: the path of a call with them and without, and a scrape of very many circuits.

    python -m tests.bench.telemetry [--rounds 60]

Pairs of blocks as in `overhead`: the same stack in a registry with nothing attached stands before and after each block.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry, generate_latest

from resilient_ai import CircuitOpenError, Registry, circuit_breaker
from resilient_ai.telemetry import collector, instrument
from tests.bench.overhead import _block, _calibrated, _fails_once, _InstantClock, _method, _open, _stack, bare

Make = Callable[[Registry], Any]
CASES: dict[str, tuple[Make, type[BaseException] | None]] = {
    "all four, no deadline": (lambda r: _stack(r, timeout_seconds=None), None),
    "all four, kept method": (lambda r: _method(r, timeout_seconds=None).ask, None),
    "refused by an open circuit": (_open, CircuitOpenError),
    "one failure, then success": (_fails_once, None),
}


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> Any: ...


def _metrics(registry: Registry) -> Callable[[], object]:
    prometheus, reader = CollectorRegistry(), InMemoryMetricReader()
    prometheus.register(collector(registry))
    instrument(registry, spans=False, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    return lambda: (generate_latest(prometheus), reader.get_metrics_data())


def _spans(registry: Registry, **sampling: Any) -> Callable[[], object]:
    provider = TracerProvider(shutdown_on_exit=False, **sampling)
    provider.add_span_processor(SimpleSpanProcessor(_Nowhere()))
    instrument(registry, metrics=False, tracer_provider=provider)
    return lambda: None


def _on_and_off(registry: Registry) -> Callable[[], object]:
    instrument(registry, tracer_provider=TracerProvider(shutdown_on_exit=False), meter_provider=MeterProvider())()
    return lambda: None


ATTACHED: dict[str, Callable[[Registry], Callable[[], object]]] = {
    "nothing (control)": lambda _: lambda: None,
    "both metric exporters": _metrics,
    "instrumented, then off": _on_and_off,
    "spans, sampled out": lambda registry: _spans(registry, sampler=ALWAYS_OFF),
    "spans, recorded": _spans,
}


async def ratios(rounds: int) -> dict[tuple[str, str], list[float]]:
    """By what is attached and what is called: CPU time with it over the time without."""
    found: dict[tuple[str, str], list[float]] = {}
    prepared = []
    for case, (make, raises) in CASES.items():
        for name, attach in ATTACHED.items():
            quiet, watched = (Registry(clock=_InstantClock(), listeners=()) for _ in range(2))
            plain = make(quiet)
            call = make(watched)
            collect = attach(watched)
            for each in (plain, call):
                for _ in range(300):
                    await _block(each, 1, raises)
            prepared.append((name, case, plain, call, raises, await _calibrated(plain, raises), collect))
            found[name, case] = []
    for _ in range(rounds):
        random.shuffle(prepared)
        for name, case, plain, call, raises, times, collect in prepared:
            collect()  # its own time is measured below; the caches are warm again before the next line
            await _block(plain, times, raises)
            await _block(call, times, raises)
            before = await _block(plain, times, raises)
            taken = await _block(call, times, raises)
            after = await _block(plain, times, raises)
            found[name, case].append(2 * taken / (before + after))
    return found


async def scrape(keys: int = 10_000, calls: int = 200) -> tuple[float, float, int]:
    """CPU milliseconds of the first and of a later scrape, and its series, with so many keys used so many times."""
    registry, prometheus = Registry(listeners=()), CollectorRegistry()
    prometheus.register(collector(registry))
    ask = circuit_breaker("ask", key=lambda key: key, timeout_seconds=None, registry=registry)(bare)
    for key in map(str, range(keys)):
        for _ in range(calls):
            await ask(key)
    taken, lines = [], 0
    for _ in range(6):
        start = time.thread_time()
        text = generate_latest(prometheus)
        taken.append((time.thread_time() - start) * 1000)
        lines = sum(not line.startswith(b"#") for line in text.splitlines())
    return taken[0], statistics.median(taken[1:]), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    print("| attached | " + " | ".join(CASES) + " |\n|---" * 1 + "|---" * len(CASES) + "|")
    found = asyncio.run(ratios(options.rounds))
    for name in ATTACHED:
        shown = (f"{statistics.median(found[name, case]):.3f}" for case in CASES)
        print(f"| {name} | " + " | ".join(shown) + " |")
    first, later, series = asyncio.run(scrape())
    print(f"\nscrape of 10,000 keys used 200 times each: {first:.0f} ms, then {later:.0f} ms, {series} series")


if __name__ == "__main__":
    main()
