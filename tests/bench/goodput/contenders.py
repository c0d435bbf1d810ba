"""Who is compared. A contender is made once per client process, from the endpoints in order of preference."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from resilient_ai import Registry, resilient
from resilient_ai.types import SystemClock

from .peers import PEERS, Ask, Make
from .world import Endpoint, ProviderError, Request, Stream, StreamEndpoint, now


def naive(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """No policy: the first endpoint, and wait."""
    return endpoints[0].call


class _LoopClock(SystemClock):
    now = staticmethod(now)


def resilient_ai(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    """The recommended stack for callers who wait: the same for every scenario."""
    registry = Registry(clock=_LoopClock(), rng=random.Random(1), listeners=())

    @resilient(*endpoints, patience=patience, registry=registry)
    async def ask(endpoint: Endpoint, request: Request) -> Any:
        return await endpoint.call(request)

    return ask


def resilient_ai_streams(endpoints: Sequence[Any], patience: float) -> Ask:
    """The same stack on a function that streams."""
    registry = Registry(clock=_LoopClock(), rng=random.Random(1), listeners=())

    @resilient(*endpoints, patience=patience, registry=registry)
    async def parts(endpoint: StreamEndpoint, request: Request) -> AsyncGenerator[str]:
        async for part in endpoint.parts(request):
            yield part

    async def ask(request: Request) -> Stream:
        stream = parts(request)
        await anext(stream)
        return Stream(stream, now())

    return ask


def read_to_the_end(make: Make) -> Make:
    """What a contender begins is read by its caller; the contender itself sees to the first part."""

    def made(endpoints: Sequence[Endpoint], patience: float) -> Ask:
        ask = make(endpoints, patience)

        async def read(request: Request) -> Stream:
            stream: Stream = await ask(request)
            await stream.read()
            return stream

        return read

    return made


def oracle(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """Knows the script and all luck: sends when and where the answer will come first, and not at all if too late."""
    return _seer(endpoints, None)


def informed(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """Knows what every endpoint does at each moment, its queue included, but neither length nor error of a call."""
    return _seer(endpoints, 1.0)


def _seer(endpoints: Sequence[Endpoint], length: float | None) -> Ask:
    """`length`: of an answer, in typical ones, as far as is known beforehand; None: each is known."""

    def best_at(when: float, request: Request) -> Endpoint | None:
        in_time = []
        for each in endpoints:
            seconds, error = each.fate(when, request, real=False, length=length)
            if error is None and when + seconds <= request.deadline:
                chance = each.chance(when) if length is not None else 0.0
                in_time.append((seconds + chance / max(1 - chance, 0.01), each.name, each))
        return min(in_time)[2] if in_time else None

    async def ask(request: Request) -> Any:
        while True:
            when, best = now(), None
            while best is None and when < request.deadline:
                best = best_at(when, request)
                when += 0.0 if best is not None else 0.25
            if best is None:
                unlucky = [each for each in endpoints if _by_chance(each.fate(now(), request, real=False)[1])]
                if length is not None or not unlucky or request.deadline - now() < 1:
                    raise TimeoutError
                with suppress(ProviderError):  # only bad luck is in the way, and each attempt draws anew
                    await unlucky[0].call(request)
            elif when > now():
                await asyncio.sleep(when - now())  # and look again: others may have come first
            else:
                try:
                    return await best.call(request)
                except ProviderError:
                    if length is None:
                        raise

    return ask


def _by_chance(error: Exception | None) -> bool:
    return isinstance(error, ProviderError) and error.by_chance


ALL: dict[str, Make] = {
    "naive": naive,
    **{name: peer.make for name, peer in PEERS.items()},
    "resilient_ai": resilient_ai,
    "informed": informed,
    "oracle": oracle,
}

STREAMS: dict[str, Make] = {
    name: read_to_the_end(resilient_ai_streams if name == "resilient_ai" else make) for name, make in ALL.items()
}


def installed() -> list[str]:
    """The contenders whose packages are here."""
    return [name for name in ALL if name not in PEERS or find_spec(PEERS[name].package) is not None]
