"""
What a decorated call costs while nothing fails, as a multiple of a bare `await`.

    python -m tests.bench.overhead [pattern] [--rounds 150]

Thread CPU time, in blocks of 0.8 ms. Each block stands between two blocks of the bare control, the order of the
cases is shuffled every round, and what is shown is the median of the paired ratios: on a busy machine the ratio of
neighbours stays when times do not.

A second table shows the same call from 10,000 tasks at once, ten times each, as a multiple of one task's time. A third
one shows streams: what one more item costs, as a multiple of a bare `async for` step, and what opening one costs. A
fourth one shows plain functions, in microseconds, beside other libraries where these are installed (extra `bench`).
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

import resilient_ai
from resilient_ai import (
    CircuitOpenError,
    Registry,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    deadline,
    failover,
    rate_limit,
    resilient,
    spend_limit,
    watch,
)
from resilient_ai.providers import Reply
from resilient_ai.types import SystemClock
from resilient_ai.usage import Usage
from tests.bench.overhead_plain import plain_functions, plain_table

Call = Callable[..., Coroutine[Any, Any, Any]]
BLOCK_SECONDS = 0.0008


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Registry], Call | _LookUp]
    aim: float | None = None
    raises: type[BaseException] | None = None
    scoped: bool = False  # enters scopes or deadlines, after which each call of a task looks for them: measured last


async def bare(text: str) -> str:
    return text


async def with_endpoint(_endpoint: object, text: str) -> str:
    return text


REPLY = Reply("hello", usage=Usage(10, 2), model="gpt")


async def with_usage(_endpoint: object, _text: str) -> Reply:
    return REPLY


class _Client:
    """Its method has what a case makes on it."""

    async def ask(self, _endpoint: object, text: str) -> str:
        return text


def _method(registry: Registry, **breaker: Any) -> Any:
    """A client whose method goes through all four."""
    return type("Client", (), {"ask": _stack(registry, _Client.ask, **breaker)})()


@dataclass(frozen=True)
class _LookUp:
    """Called by looking its method up: `client.ask(text)`."""

    client: Any


def _endpoints() -> tuple[Any, Any]:
    endpoint = getattr(resilient_ai, "Endpoint")  # noqa: B009
    return endpoint("a"), endpoint("b")


def _stack(registry: Registry, function: Any = with_endpoint, **breaker: Any) -> Call:
    call = circuit_breaker(registry=registry, **breaker)(function)
    call = resilient_ai.failover(*_endpoints(), registry=registry)(call)  # type: ignore[attr-defined]
    call = classified_retry(registry=registry)(call)
    return resilient_ai.degrade_to("sorry", registry=registry)(call)  # type: ignore[attr-defined, no-any-return]


def _counted(registry: Registry, function: Any = with_endpoint) -> Call:
    registry.usage.clear()  # the first look: counting begins
    return _stack(registry, function, timeout_seconds=None)


def _three(registry: Registry) -> Call:
    """All but the failover."""
    call = classified_retry(registry=registry)(circuit_breaker(registry=registry)(bare))
    return resilient_ai.degrade_to("sorry", registry=registry)(call)  # type: ignore[attr-defined, no-any-return]


def _off(call: Call | _LookUp, registry: Registry) -> Call | _LookUp:
    registry.disable()
    return call


def _changed(registry: Registry) -> Call:
    """With settings that were changed at run time."""
    call = _stack(registry)
    registry.configure({"*": {"circuit_breaker": {"timeout_seconds": None, "failure_threshold": 8}}})
    return call


def _open(registry: Registry) -> Call:
    call = circuit_breaker("open", timeout_seconds=None, registry=registry)(bare)
    registry.circuit_breakers["open"].trip()
    return call


def _resilient(registry: Registry, **settings: Any) -> Call:
    return resilient(*_endpoints(), registry=registry, **settings)(with_endpoint)  # type: ignore[no-any-return]


def _failover(registry: Registry, **settings: Any) -> Call:
    return failover(*_endpoints(), registry=registry, **settings)(with_endpoint)  # type: ignore[no-any-return]


def _within_deadline(call: Call) -> Call:
    async def ask(text: str) -> Any:
        with deadline(15):
            return await call(text)

    return ask


def _after_scope(call: Call) -> Call:
    """In a task that has been in a scope of anyio's, as each that uses an HTTP client on anyio."""
    with anyio.CancelScope():  # noqa: ASYNC100 - it has to have been entered, no more
        return call


def _watched(call: Call) -> Call:
    async def ask(text: str) -> Any:
        with watch():
            return await call(text)

    return ask


def _fails_once(registry: Registry) -> Call:
    """Every second call fails: one failure and one success make one good answer."""
    turn = [False]

    async def flaky(text: str) -> str:
        turn[0] = not turn[0]
        if turn[0]:
            raise ConnectionError
        return text

    return classified_retry(registry=registry, budget=None)(flaky)


def cases() -> list[Case]:
    found = [
        Case("bare await (control)", lambda _: bare),
        Case(
            "circuit_breaker(timeout_seconds=None)",
            lambda r: circuit_breaker(timeout_seconds=None, registry=r)(bare),
            6,
        ),
        Case("circuit_breaker", lambda r: circuit_breaker(registry=r)(bare), 12),
        Case("classified_retry", lambda r: classified_retry(registry=r)(bare), 6),
        Case("adaptive_limit", lambda r: adaptive_limit(registry=r)(bare), 20),
        Case("rate_limit, requests", lambda r: rate_limit(requests_per_minute=1e9, registry=r)(bare)),
        Case(
            "rate_limit, requests and tokens",
            lambda r: rate_limit(requests_per_minute=1e9, tokens_per_minute=1e12, registry=r)(bare),
        ),
        Case("spend_limit", lambda r: spend_limit(tokens_per_hour=1e12, registry=r)(bare)),
    ]
    if hasattr(resilient_ai, "degrade_to"):
        found.append(Case("degrade_to", lambda r: resilient_ai.degrade_to("x", registry=r)(bare), 5))  # type: ignore[attr-defined]
    if hasattr(resilient_ai, "failover"):
        found += [
            Case(
                "failover, two endpoints",
                lambda r: resilient_ai.failover(*_endpoints(), registry=r)(with_endpoint),  # type: ignore[attr-defined]
                10,
            ),
            Case("all four, no deadline", lambda r: _stack(r, timeout_seconds=None), 12),
            Case("all four, no deadline, kept method", lambda r: _method(r, timeout_seconds=None).ask, 13),
            Case("all four, no deadline, client.ask(text)", lambda r: _LookUp(_method(r, timeout_seconds=None)), 16),
            Case("all four, 30 s deadline", _stack, 60),
            Case("all four, no deadline, usage counted, a text", _counted),
            Case("all four, no deadline, usage counted, a Reply", lambda r: _counted(r, with_usage)),
        ]
    found += [
        Case("all four, no deadline, settings changed at run time", _changed, 12),
        Case("switched off, three without failover", lambda r: _off(_three(r), r), 1.5),
        Case("switched off, all four", lambda r: _off(_stack(r), r), 3.5),
        Case("switched off, all four, kept method", lambda r: _off(_method(r).ask, r)),
        Case("switched off, all four, client.ask(text)", lambda r: _off(_LookUp(_method(r)), r)),
        Case("resilient(us, eu)", _resilient, scoped=True),
        Case('resilient(us, eu, fallback="x")', lambda r: _resilient(r, fallback="x"), scoped=True),
        Case("resilient without endpoints", lambda r: resilient(registry=r)(bare), scoped=True),
        Case("failover, hedged after 7.5 s", lambda r: _failover(r, hedge_after=7.5), scoped=True),
        Case("failover, least latency", lambda r: _failover(r, strategy="least_latency")),
        Case(
            "classified_retry(timeout_seconds=15)",
            lambda r: classified_retry(timeout_seconds=15, registry=r)(bare),
            scoped=True,
        ),
        Case("all four inside deadline(15)", lambda r: _within_deadline(_stack(r)), scoped=True),
        Case("deadline(15) alone", lambda _: _within_deadline(bare), scoped=True),
        Case("all four inside watch()", lambda r: _watched(_stack(r, timeout_seconds=None)), 25, scoped=True),
        Case("watch() alone", lambda _: _watched(bare), scoped=True),
        Case("all four in a task after a scope", lambda r: _after_scope(_stack(r, timeout_seconds=None)), scoped=True),
        Case("refused by an open circuit", _open, 12, CircuitOpenError),
        Case("one failure, then success", _fails_once, 150),
        Case("asyncio.timeout alone", lambda _: _timeout),
    ]
    return found


async def _timeout(text: str) -> str:
    async with asyncio.timeout(30):
        return await bare(text)


class _InstantClock:
    """Real time, but no sleep: the wait before a retry is not overhead."""

    now = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.move_on_after = SystemClock().move_on_after

    async def sleep(self, seconds: float) -> None:
        pass


async def _block(call: Call | _LookUp, times: int, raises: type[BaseException] | None) -> float:
    """Thread CPU nanoseconds of one call, over a block of so many."""
    start = time.thread_time_ns()
    if isinstance(call, _LookUp):
        client = call.client
        start = time.thread_time_ns()
        for _ in range(times):
            await client.ask("text")
    elif raises is None:
        for _ in range(times):
            await call("text")
    else:
        for _ in range(times):
            try:  # noqa: SIM105 - contextlib.suppress alone costs four bare awaits
                await call("text")
            except raises:
                pass
    return (time.thread_time_ns() - start) / times


async def _calibrated(call: Call | _LookUp, raises: type[BaseException] | None) -> int:
    """Calls that fill a block."""
    times = 1
    while True:
        seconds = await _block(call, times, raises) * times / 1e9
        if seconds >= BLOCK_SECONDS / 4:
            return max(1, round(times * BLOCK_SECONDS / seconds))
        times *= 2


async def ratios(which: list[Case], rounds: int) -> dict[str, list[float]]:
    prepared = []
    for case in which:
        clock = _InstantClock() if case.name.startswith("one failure") else None
        call = case.make(Registry(clock=clock, listeners=()))
        for _ in range(300):
            await _block(call, 1, case.raises)
        prepared.append((case, call, await _calibrated(call, case.raises)))
    control_times = await _calibrated(bare, None)
    found: dict[str, list[float]] = {case.name: [] for case in which}
    for _ in range(rounds):
        random.shuffle(prepared)
        for case, call, times in prepared:
            before = await _block(bare, control_times, None)
            taken = await _block(call, times, case.raises)
            after = await _block(bare, control_times, None)
            found[case.name].append(2 * taken / (before + after))
    return found


def measured(which: list[Case], rounds: int) -> dict[str, list[float]]:
    """The ratios of all these cases."""
    found: dict[str, list[float]] = {}
    for scoped in (False, True):
        found |= asyncio.run(ratios([case for case in which if case.scoped is scoped], rounds))
    return found


TASKS, CALLS_EACH, CROWDS = 10_000, 10, 5


async def yielding(_endpoint: object, text: str) -> str:
    await asyncio.sleep(0)
    return text


async def crowds() -> dict[str, float]:
    """CPU time of a call from 10,000 tasks at once over that of a call from one; medians."""

    async def caller(call: Call) -> None:
        for _ in range(CALLS_EACH):
            await call("text")

    async def crowd(call: Call) -> float:
        start = time.thread_time_ns()
        await asyncio.gather(*[caller(call) for _ in range(TASKS)])
        return (time.thread_time_ns() - start) / TASKS / CALLS_EACH

    quiet = Registry(listeners=())
    cases: dict[str, Call] = {
        "the function alone": lambda text: yielding(None, text),
        "all four, no deadline": _stack(quiet, yielding, timeout_seconds=None),
        "all four, 30 s deadline": _stack(Registry(listeners=()), yielding),
    }
    found = {}
    for name, call in cases.items():
        pairs = [(await _block(call, TASKS, None), await crowd(call)) for _ in range(CROWDS)]
        found[name] = statistics.median(many / one for one, many in pairs)
    return found


ITEMS, READINGS = 2_000, 60


class _Stream:
    """As an SDK's: an object around a generator."""

    def __init__(self, items: AsyncGenerator[str, None]) -> None:
        self._items = items

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> str:
        return await self._items.__anext__()

    async def close(self) -> None:
        await self._items.aclose()


async def streams(readings: int = READINGS) -> dict[str, float]:
    """CPU time of an item, and of a stream of one item, over that of the bare stream; medians of paired ratios."""

    async def pieces(_endpoint: object, number: int) -> AsyncGenerator[str, None]:
        for _ in range(number):
            yield "piece"

    async def returned(endpoint: object, number: int) -> _Stream:
        return _Stream(pieces(endpoint, number))

    async def read(open_stream: Any, number: int, times: int = 1) -> float:
        start = time.thread_time_ns()
        for _ in range(times):
            stream = open_stream(number)
            async for _ in stream if hasattr(stream, "__anext__") else await stream:
                pass
        return time.thread_time_ns() - start

    yielding, returning = _stack(Registry(listeners=()), pieces), _stack(Registry(listeners=()), returned)
    pairs: dict[str, tuple[Any, Any, int, int]] = {
        "one more item, function that yields": (lambda n: pieces(None, n), yielding, ITEMS, 1),
        "one more item, returned stream": (lambda n: returned(None, n), returning, ITEMS, 1),
        "a stream of one item, function that yields": (lambda n: pieces(None, n), yielding, 1, 100),
        "a stream of one item, returned stream": (lambda n: returned(None, n), returning, 1, 100),
    }
    found = {}
    for name, (bare_stream, call, number, times) in pairs.items():
        await read(call, number, times)
        ratios_of = []
        for _ in range(readings):
            before = await read(bare_stream, number, times)
            taken = await read(call, number, times)
            ratios_of.append(2 * taken / (before + await read(bare_stream, number, times)))
        found[name] = statistics.median(ratios_of)
    return found


def stream_table(found: dict[str, float]) -> str:
    lines = ["| all four, default timeouts | × the bare stream | aim |", "|---|---|---|"]
    for name, ratio in found.items():
        lines.append(f"| {name} | {ratio:.1f} | {'≤ 12' if name.startswith('one more') else ''} |")
    return "\n".join(lines)


def crowd_table(found: dict[str, float]) -> str:
    lines = ["| 10,000 tasks at once | × one task | aim |", "|---|---|---|"]
    for name, ratio in found.items():
        lines.append(f"| {name} | {ratio:.2f} | {'' if name == 'the function alone' else '≤ 1.5'} |")
    return "\n".join(lines)


def table(which: list[Case], found: dict[str, list[float]]) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [f"| Python {version} | × bare await | quartiles | aim |", "|---|---|---|---|"]
    for case in which:
        low, middle, high = statistics.quantiles(found[case.name], n=4)
        aim = f"≤ {case.aim:g}" if case.aim else ""
        lines.append(f"| {case.name} | {middle:.1f} | {low:.1f} – {high:.1f} | {aim} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--rounds", type=int, default=150)
    options = parser.parse_args()
    which = [case for case in cases() if fnmatch.fnmatch(case.name, options.pattern)]
    if which:
        print(table(which, measured(which, options.rounds)))
    if options.pattern == "*":
        print()
        print(crowd_table(asyncio.run(crowds())))
    if options.pattern in ("*", "streams"):
        print()
        print(stream_table(asyncio.run(streams())))
    if options.pattern in ("*", "plain"):
        print()
        print(plain_table(plain_functions(_endpoints(), _stack)))


if __name__ == "__main__":
    main()
