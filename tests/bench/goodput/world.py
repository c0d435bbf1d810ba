"""
Virtual time, and a provider that queues, slows down, limits, breaks and hangs by a script.

All chance is a function of (seed, endpoint, request, attempt): every contender meets the same luck.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import math
import selectors
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar

TYPICAL_SECONDS = 2.1  # of an answer, lognormal about that: 19 of 20 within 5.2 s
SPREAD = 0.55
FIRST_PART = 0.15  # share of a streamed answer's time after which its first part is out
PARTS = 8  # of a streamed answer
GIVE_UP = 120.0  # a connection that hangs breaks in the end
BY_CHANCE = "errors", "busy", "cut"
_NORMAL = NormalDist()
_LOOKS = 64  # turns of the loop between two looks for threads that want it: each look is a system call


class _Jump(selectors.DefaultSelector):
    loop: VirtualLoop
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        self.turns += 1
        if not self.turns % _LOOKS and (events := super().select(0)):
            return events
        self.loop.elapsed += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        selector = _Jump()
        selector.loop = self
        self.elapsed = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed


def now() -> float:
    return asyncio.get_running_loop().time()


@contextmanager
def virtual_clocks(loop: VirtualLoop) -> Iterator[None]:
    """The clocks of the `time` module show the loop's time: some libraries read them."""
    clocks = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}
    for name in clocks:
        setattr(time, name, loop.time)
    try:
        yield
    finally:
        for name, real in clocks.items():
            setattr(time, name, real)


class ProviderError(Exception):
    """A reply that is no answer."""

    def __init__(self, status_code: int, retry_after: float | None = None, *, by_chance: bool = False) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code
        self.by_chance = by_chance  # the same call may have more luck; the oracle only may look
        self.headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}


@dataclass(frozen=True)
class Request:
    number: int
    arrival: float
    deadline: float


@dataclass(frozen=True)
class Fault:
    """
    Trouble from `begin` to `end`.

    "down", "hang"; "flapping": down for every other 5 s; "errors" or "busy": a share of the calls; "cut": a share of
    the streams, in the middle; "slow": that speed; "rate": so many calls a second; "slow_start": nothing for the first
    third, then a tenth of `amount` calls a second that grows back to the whole.
    """

    kind: str
    begin: float
    end: float
    amount: float = 1.0

    def on(self, when: float) -> bool:
        return self.begin <= when < self.end

    def answers_none(self, when: float) -> bool:
        """Whether every call is refused at once while it is on."""
        if self.kind == "flapping":
            return (when - self.begin) % 10 < 5
        return self.kind == "down" or (self.kind == "slow_start" and when < self.answers_again)

    def rate(self, when: float) -> float:
        """Calls a second that are taken."""
        if self.kind == "rate":
            return self.amount
        back = self.answers_again
        return self.amount * max(0.1, (when - back) / (self.end - back))

    @property
    def answers_again(self) -> float:
        """When a call can be answered again; the beginning, for trouble in which some are answered all the time."""
        if self.kind == "slow_start":
            return self.begin + (self.end - self.begin) / 3
        return self.end if self.kind in ("down", "hang") else self.begin


def chance(faults: Sequence[Fault]) -> float:
    """Share of the calls that fail by chance."""
    return 1 - math.prod(1 - fault.amount for fault in faults if fault.kind in BY_CHANCE)


def speed(faults: Sequence[Fault]) -> float:
    return math.prod(fault.amount for fault in faults if fault.kind == "slow")


@dataclass
class Endpoint:
    """One region: so many calls at a time, the others queue, and more than that are refused with a 529."""

    name: str
    faults: tuple[Fault, ...] = ()
    slots: int = 40
    queue: int = 80
    seed: int = 0
    typical: float = TYPICAL_SECONDS
    sent: list[float] = field(default_factory=list)
    _free: list[float] = field(default_factory=list)  # when each slot is free again
    _under_way: list[float] = field(default_factory=list)  # when each accepted call ends
    _tokens: float = 5.0
    _filled: float = 0.0
    _attempts: dict[int, int] = field(default_factory=dict)
    _drawn: dict[tuple[int, int], tuple[float, float, float]] = field(default_factory=dict)
    _edges: list[float] = field(default_factory=list)  # when work becomes slower or quicker
    first_part: ClassVar[float] = 1.0  # share of an answer's time after which its first part is out

    def fresh(self, other_luck: int = 0) -> Endpoint:
        """The same one, untouched."""
        return type(self)(self.name, self.faults, self.slots, self.queue, self.seed + other_luck, self.typical)

    def __post_init__(self) -> None:
        self._free = [0.0] * self.slots
        self._edges = sorted({edge for each in self.faults if each.kind == "slow" for edge in (each.begin, each.end)})

    def fate(
        self,
        when: float,
        request: Request,
        *,
        real: bool,
        length: float | None = None,
        faults: Sequence[Fault] | None = None,
    ) -> tuple[float, Exception | None]:
        """
        How long a call would take that is sent then, up to the answer's first part, and what comes of it.

        Args:
            when: The moment.
            request: Whose call.
            real: Whether it is sent; else nothing changes.
            length: To look without knowing the call's luck: as if the answer had so many typical lengths, and chance
                refused nothing.
            faults: To look as if these were the endpoint's troubles, all the time.
        """
        broken, answer_luck, seconds = self._luck(request) if length is None else (1.0, 0.0, length)
        for fault in self.faults if faults is None else faults:
            if faults is None and not fault.on(when):
                continue
            if fault.answers_none(when):
                return 0.05, ProviderError(503)
            if fault.kind == "slow_start" and self._take_token(when, fault.rate(when), real=real):
                return 0.05, ProviderError(529)
            if fault.kind == "hang":
                return GIVE_UP, ConnectionError("no answer")
            if fault.kind == "errors" and broken < fault.amount:
                return answer_luck, ProviderError(500, by_chance=True)
            if fault.kind == "busy" and broken < fault.amount:
                return 0.05, ProviderError(529, by_chance=True)
            if fault.kind == "cut" and broken < fault.amount and not real:  # who knew would not begin it
                return self.typical * seconds, ProviderError(502, by_chance=True)
            if fault.kind == "rate" and (wait := self._take_token(when, fault.amount, real=real)):
                return 0.05, ProviderError(429, retry_after=max(1.0, math.ceil(wait)))
        while self._under_way and self._under_way[0] <= when:
            heapq.heappop(self._under_way)
        if len(self._under_way) >= self.slots + self.queue:
            return 0.1, ProviderError(529)
        start = max(when, self._free[0])
        work = self.typical * seconds
        if faults is not None:
            return start + self.answer_seconds(faults, seconds) - when, None
        end = self._finish(start, work)
        if real:
            heapq.heapreplace(self._free, end)
            heapq.heappush(self._under_way, end)
        if self.first_part < 1:
            end = self._finish(start, self.first_part * work)
        return end - when, None

    async def call(self, request: Request) -> Any:
        """The answer."""
        await self._answered(request)
        return self.name

    async def _answered(self, request: Request) -> None:
        """Send a call, and wait for the first part of its answer."""
        when = now()
        seconds, error = self.fate(when, request, real=True)
        self.sent.append(when)
        self._attempts[request.number] = self._attempts.get(request.number, 0) + 1
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    def answer_seconds(self, faults: Sequence[Fault] = (), length: float = 1.0) -> float:
        """Seconds of work up to the first part of an answer of so many typical lengths, with these troubles."""
        return self.first_part * self.typical * length / speed(faults)

    def troubles(self, when: float) -> list[Fault]:
        """What is the matter then."""
        return [fault for fault in self.faults if fault.on(when)]

    def _luck(self, request: Request) -> tuple[float, float, float]:
        """Two numbers from 0 to 1 and the length of the answer, for the request's next attempt here."""
        key = request.number, self._attempts.get(request.number, 0)
        drawn = self._drawn.get(key)
        if drawn is None:
            text = f"{self.seed}/{self.name}/{key[0]}/{key[1]}"
            digest = hashlib.blake2b(text.encode(), digest_size=24).digest()
            one, two, three = (int.from_bytes(digest[at : at + 8]) / 2**64 for at in (0, 8, 16))
            length = math.exp(SPREAD * _NORMAL.inv_cdf(min(max(three, 1e-9), 1 - 1e-9)))
            drawn = self._drawn[key] = one, two, length
        return drawn

    def _take_token(self, when: float, rate: float, *, real: bool) -> float:
        """Seconds until there is a token; a refused call uses up a quarter of one."""
        tokens = min(max(rate, 1.0), self._tokens + (when - self._filled) * rate)
        if real:
            self._tokens, self._filled = (tokens - 1 if tokens >= 1 else tokens - 0.25), when
        return 0.0 if tokens >= 1 else (1 - tokens) / rate

    def _finish(self, start: float, work: float) -> float:
        """When work ends that begins then, given when the endpoint is slow."""
        if not self._edges:
            return start + work
        when = start
        for edge in [edge for edge in self._edges if edge > start] + [math.inf]:
            pace = speed(self.troubles(when))
            if when + work / pace <= edge:
                return when + work / pace
            work -= (edge - when) * pace
            when = edge
        return when


@dataclass
class StreamEndpoint(Endpoint):
    """Answers come in parts: the first after a while, the others evenly after it."""

    first_part: ClassVar[float] = FIRST_PART

    async def call(self, request: Request) -> Stream:
        """The answer, whose first part has come."""
        parts = self.parts(request)
        await anext(parts)
        return Stream(parts, now())

    async def parts(self, request: Request) -> AsyncGenerator[str]:
        """The parts of an answer; a stream that is cut breaks in the middle."""
        sent, attempt = now(), self._luck(request)
        await self._answered(request)
        yield self.name
        rest = self._finish(now(), (1 - FIRST_PART) * self.typical * attempt[2]) - now()
        cut = any(fault.kind == "cut" and fault.on(sent) and attempt[0] < fault.amount for fault in self.faults)
        for _ in range(PARTS // 2 if cut else PARTS):
            await asyncio.sleep(rest / PARTS)
            yield self.name
        if cut:
            raise ConnectionError("the stream was cut")


@dataclass
class Stream:
    """A stream whose first part has come, and when."""

    parts: AsyncGenerator[str]
    begun: float

    async def read(self) -> None:
        async for _ in self.parts:
            pass
