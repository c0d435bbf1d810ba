"""Who is compared. A contender is made once per client process, from the endpoints in order of preference."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import tenacity

from resilient_ai import Registry, resilient
from resilient_ai.types import SystemClock

from .world import Endpoint, ProviderError, Request, now

Ask = Callable[[Request], Awaitable[str]]
Make = Callable[[Sequence[Endpoint], float], Ask]  # from the endpoints and the callers' patience in seconds


def naive(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """No policy: the first endpoint, and wait."""
    return endpoints[0].call


class _LoopClock(SystemClock):
    now = staticmethod(now)


def resilient_ai(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    """The recommended stack for callers who wait: the same for every scenario."""
    registry = Registry(clock=_LoopClock(), rng=random.Random(1), listeners=())

    @resilient(*endpoints, patience=patience, registry=registry)
    async def ask(endpoint: Endpoint, request: Request) -> str:
        return await endpoint.call(request)

    return ask


class _VirtualDatetime:
    """For pybreaker, which asks the calendar how long it has been open."""

    @staticmethod
    def now(_zone: object = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now())


def tenacity_pybreaker(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    """What a competent user writes: four passes over endpoints behind breakers, half the patience a call."""
    import pybreaker

    pybreaker.datetime = _VirtualDatetime
    breakers = {endpoint.name: pybreaker.CircuitBreaker(fail_max=5, reset_timeout=10) for endpoint in endpoints}
    failures = (ProviderError, ConnectionError, TimeoutError, pybreaker.CircuitBreakerError)

    async def one_pass(request: Request) -> str:
        last: Exception | None = None
        for endpoint in endpoints:
            try:
                with breakers[endpoint.name].calling():
                    async with asyncio.timeout(patience / 2):
                        return await endpoint.call(request)
            except failures as error:
                last = error
        assert last is not None
        raise last

    backoff = tenacity.wait_random_exponential(multiplier=0.5, max=4)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = getattr(error, "headers", {}).get("retry-after", 0)
        return max(float(asked), backoff(state))

    async def ask(request: Request) -> str:
        async with asyncio.timeout_at(request.deadline):
            retrying = tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(failures),
                stop=tenacity.stop_after_attempt(4),
                wait=wait,
                sleep=asyncio.sleep,
                reraise=True,
            )
            return await retrying(one_pass, request)

    return ask


def oracle(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """Knows the script: sends when and where the answer will come first, and not at all when it would be too late."""

    async def ask(request: Request) -> str:
        while True:
            when, best = now(), None
            while best is None and when < request.deadline:
                fates = [(each.fate(when, request, real=False), each) for each in endpoints]
                in_time = [
                    (seconds, each.name, each)
                    for (seconds, error), each in fates
                    if error is None and when + seconds <= request.deadline
                ]
                best = min(in_time)[2] if in_time else None
                when += 0.0 if best is not None else 0.25
            if best is None:
                unlucky = [each for each in endpoints if _by_chance(each.fate(now(), request, real=False)[1])]
                if not unlucky or request.deadline - now() < 1:
                    raise TimeoutError
                with suppress(ProviderError):  # only bad luck is in the way, and each attempt draws anew
                    await unlucky[0].call(request)
                continue
            if when > now():
                await asyncio.sleep(when - now())  # and look again: others may have come first
                continue
            return await best.call(request)

    return ask


def _by_chance(error: Exception | None) -> bool:
    return isinstance(error, ProviderError) and error.by_chance


ALL: dict[str, Make] = {
    "naive": naive,
    "tenacity + pybreaker": tenacity_pybreaker,
    "resilient_ai": resilient_ai,
    "oracle": oracle,
}


def installed() -> list[str]:
    """The contenders whose packages are here."""
    return [name for name in ALL if "pybreaker" not in name or find_spec("pybreaker") is not None]
