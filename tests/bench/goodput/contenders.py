"""Who is compared. A contender is made once per client process, from the endpoints in order of preference."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from importlib.util import find_spec
from typing import Any

from resilient_ai import Registry, resilient
from resilient_ai.types import SystemClock

from .peers import PEERS, Ask, Make
from .world import Endpoint, Request, Stream, StreamEndpoint, now
from .yardsticks import informed, oracle, taught


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


ALL: dict[str, Make] = {
    "naive": naive,
    **{name: peer.make for name, peer in PEERS.items()},
    "resilient_ai": resilient_ai,
    "taught": taught,
    "informed": informed,
    "oracle": oracle,
}

STREAMS: dict[str, Make] = {
    name: read_to_the_end(resilient_ai_streams if name == "resilient_ai" else make) for name, make in ALL.items()
}


def installed() -> list[str]:
    """The contenders whose packages are here."""
    return [name for name in ALL if name not in PEERS or find_spec(PEERS[name].package) is not None]
