"""Counts and states stay exact under many threads."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from functools import partial

import anyio
import pytest

from resilient_ai import CircuitOpenError, Registry, circuit_breaker
from resilient_ai._circuit_breaker.config import CircuitConfig
from tests.circuit_breaker.support import FAULT, DrivenCircuit, handle
from tests.helpers import interleaved

OPERATIONS = ["trip", "force_open", "force_closed", "metrics_only", "force_closed", "stats"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"failure_threshold": 3, "recovery_timeout": 0.0005},
        {"failure_threshold": None, "failure_rate_threshold": 0.6, "minimum_calls": 5, "recovery_timeout": 0.0005},
    ],
    ids=["counting", "opening", "rated"],
)
@pytest.mark.parametrize("operated", [False, True], ids=["alone", "operated"])
def test_every_call_of_many_threads_and_loops_is_counted_exactly_once(settings, operated):
    registry = Registry(listeners=())
    settings = {"failure_threshold": 10**9, "timeout_seconds": None, **settings}

    @circuit_breaker("hammer", registry=registry, **settings)
    async def ask(number: int) -> None:
        if number % 7 == 0:
            await anyio.lowlevel.checkpoint()
        if number % 3 == 0:
            raise OSError
        if number % 11 == 0:
            raise KeyboardInterrupt  # neutral

    breaker = registry.circuit_breakers["hammer"]
    results: list[dict[str, int]] = []

    async def caller(start: int, seen: dict[str, int]) -> None:
        for number in range(start, start + 50):
            try:
                await ask(number)
            except OSError:
                seen["failed"] += 1
            except CircuitOpenError:
                seen["rejected"] += 1
            except KeyboardInterrupt:
                seen["neutral"] += 1
            else:
                seen["ok"] += 1

    async def run() -> None:
        seen = dict.fromkeys(["ok", "failed", "rejected", "neutral"], 0)
        try:
            async with anyio.create_task_group() as tasks:
                for start in range(2):
                    tasks.start_soon(caller, start, seen)
        finally:
            results.append(seen)

    def operate() -> None:
        chance = random.Random(1)
        while len(results) < 4:
            with suppress(ValueError):
                getattr(breaker, chance.choice(OPERATIONS))()

    callers = [partial(anyio.run, run, backend=backend) for backend in ["asyncio", "trio"] * 2]
    interleaved(*callers, *[operate] * operated, trace=("_circuit_breaker", "fast_path"))
    stats = breaker.stats()
    seen = {key: sum(result[key] for result in results) for key in results[0]}

    assert sum(seen.values()) == 4 * 2 * 50
    assert stats.rejected == seen["rejected"]
    assert stats.total_calls + stats.late == seen["ok"] + seen["failed"] + seen["neutral"]
    assert stats.total_failures <= seen["failed"]
    assert stats.neutral <= seen["neutral"]
    assert stats.probes_in_flight == 0
    if not operated and not settings.get("recovery_timeout"):
        assert (stats.total_failures, stats.neutral, stats.late) == (seen["failed"], seen["neutral"], 0)


def test_counts_are_exact_again_after_resets_amid_many_threads():
    registry = Registry(listeners=())

    @circuit_breaker("openai", timeout_seconds=None, registry=registry)
    async def ask() -> None: ...

    async def many(calls: int) -> None:
        for _ in range(calls):
            await ask()

    def reset(times: int) -> None:
        for _ in range(times):
            breaker.reset()

    breaker = registry.circuit_breakers["openai"]
    for resets in (100, 0):
        callers = [partial(anyio.run, many, 330)] * 4
        interleaved(*callers, partial(reset, resets), trace=("_circuit_breaker", "fast_path"))
        if resets:
            assert breaker.stats().total_calls <= 4 * 330
            breaker.reset()
            assert (breaker.stats().total_calls, breaker.stats().p95) == (0, None)

    assert breaker.stats().total_calls == 4 * 330


def test_many_threads_at_one_moment_open_it_once_and_send_as_many_probes_as_allowed():
    registry, calls = Registry(listeners=()), 8
    breakers = [
        DrivenCircuit(
            str(number), CircuitConfig(failure_threshold=1, success_threshold=2, recovery_timeout=1), registry
        )
        for number in range(40)
    ]
    tickets = [[breaker.admit(0) for _ in range(calls)] for breaker in breakers]
    failed = threading.Barrier(calls)
    admitted: list[int] = []

    def call(thread: int) -> None:
        for breaker, mine in zip(breakers, tickets, strict=True):
            breaker.failed(mine[thread], 0, 0.1, OSError(), FAULT)
        failed.wait()
        for number, breaker in enumerate(breakers):
            with suppress(CircuitOpenError):
                breaker.admit(1)
                admitted.append(number)

    interleaved(*[partial(call, number) for number in range(calls)], trace=("_circuit_breaker",))
    stats = [breaker.stats() for breaker in breakers]

    assert {(each.opened_count, each.total_failures, each.late) for each in stats} == {(1, 1, calls - 1)}
    assert {(each.probes_in_flight, each.rejected) for each in stats} == {(2, calls - 2)}
    assert sorted(admitted) == sorted([*range(40), *range(40)])


def test_probes_that_come_and_go_in_many_threads_leave_no_slot_taken():
    breaker = handle(Registry(listeners=()), success_threshold=2)
    breaker.trip()
    later = breaker.circuit.open_until
    admitted: list[int] = []

    def probe() -> None:
        for _ in range(60):
            with suppress(CircuitOpenError):
                ticket = breaker.admit(later)
                admitted.append(breaker.stats().probes_in_flight)
                breaker.released(ticket)

    interleaved(*[probe] * 6, trace=("_circuit_breaker",))
    stats = breaker.stats()

    assert set(admitted) <= {1, 2}
    assert (stats.probes_in_flight, stats.neutral) == (0, len(admitted))
    assert stats.rejected == 6 * 60 - len(admitted)
