"""What a guarded plain function costs while nothing fails, beside other libraries; `tests.bench.overhead` prints it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import tenacity

from resilient_ai import Registry, circuit_breaker, classified_retry, failover

PLAIN_CALLS, PLAIN_READINGS = 100, 600  # short blocks, of which the fastest was not disturbed


def plain_asked(text: str) -> str:
    return text


def plain_asked_at(_endpoint: object, text: str) -> str:
    return text


def plain_functions(
    endpoints: tuple[Any, Any], stack: Callable[[Registry, Any], Any], readings: int = PLAIN_READINGS
) -> dict[str, float]:
    """
    Microseconds of CPU time of a good call of a plain function; the least of so many blocks.

    Args:
        endpoints: Of the failover.
        stack: Puts four policies on a function.
        readings: Blocks.
    """
    quiet = Registry(listeners=())
    calls: dict[str, Any] = {
        "the function alone": plain_asked,
        "circuit_breaker": circuit_breaker("plain", registry=quiet)(plain_asked),
        "classified_retry": classified_retry("plain", registry=quiet)(plain_asked),
        "failover, two endpoints": failover(*endpoints, name="plain", registry=quiet)(plain_asked_at),
        "all four": stack(quiet, plain_asked_at),
        **_other_libraries(),
    }
    found = {}
    for name, call in calls.items():
        least = math.inf
        for _ in range(readings):
            start = time.thread_time_ns()
            for _ in range(PLAIN_CALLS):
                call("text")
            least = min(least, (time.thread_time_ns() - start) / PLAIN_CALLS / 1000)
        found[name] = least
    return found


def _other_libraries() -> dict[str, Any]:
    found: dict[str, Any] = {"tenacity.retry": tenacity.retry(plain_asked)}
    with suppress(ImportError):
        import pybreaker

        found["pybreaker.CircuitBreaker"] = pybreaker.CircuitBreaker()(plain_asked)
    with suppress(ImportError):
        import stamina

        found["stamina.retry"] = stamina.retry(on=ConnectionError)(plain_asked)
    return found


def plain_table(found: dict[str, float]) -> str:
    lines = ["| plain functions | µs | aim |", "|---|---|---|"]
    for name, seconds in found.items():
        # 1.5 µs on the machine where stamina's retry took 8.6 µs.
        aim = f"≤ {found['stamina.retry'] * 1.5 / 8.6:.1f}" if name == "all four" and "stamina.retry" in found else ""
        lines.append(f"| {name} | {seconds:.2f} | {aim} |")
    return "\n".join(lines)
