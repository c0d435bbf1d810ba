"""
What could be reached: contenders who know what no program can know.

Each sends a call when and where the answer should come first, and none that should come too late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .peers import Ask
from .world import SPREAD, Endpoint, Fault, ProviderError, Request, chance, now

LOOK = 0.25  # seconds between two looks of a caller who waits
PROBE = 1.0  # seconds between two calls of a client to an endpoint that it takes for dead
IMPROBABLE = 0.01


def oracle(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """Knows the script and all luck: sends when and where the answer will come first, and not at all if too late."""
    return _seer(endpoints, None)


def informed(endpoints: Sequence[Endpoint], _patience: float) -> Ask:
    """Knows what every endpoint does at each moment, its queue included, but neither length nor error of a call."""
    return _seer(endpoints, 1.0)


def _seer(endpoints: Sequence[Endpoint], length: float | None) -> Ask:
    """`length`: of an answer, in typical ones, as far as is known beforehand; None: each is known."""

    async def ask(request: Request) -> Any:
        while True:
            when, best = now(), None
            while best is None and when < request.deadline:
                best = _soonest(endpoints, when, request, length)
                when += 0.0 if best is not None else LOOK
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


def _soonest(endpoints: Sequence[Endpoint], when: float, request: Request, length: float | None) -> Endpoint | None:
    """Where the answer should come first, if it should come in time anywhere."""
    in_time = []
    for each in endpoints:
        seconds, error = each.fate(when, request, real=False, length=length)
        if error is None and when + seconds <= request.deadline:
            in_time.append((seconds + (_retries(each.troubles(when)) if length is not None else 0.0), each.name, each))
    return min(in_time)[2] if in_time else None


def _retries(faults: Sequence[Fault]) -> float:
    """Calls that fail by chance before one is answered."""
    share = chance(faults)
    return share / max(1 - share, 0.01)


def _by_chance(error: Exception | None) -> bool:
    return isinstance(error, ProviderError) and error.by_chance


def taught(endpoints: Sequence[Endpoint], patience: float) -> Ask:
    """
    Knows each queue and each limit's state, but of the troubles only what its own client's calls have shown.

    A call that comes back shows what was the matter with its endpoint when it was sent. An endpoint is taken for dead
    when it says so, when its answers come too late, or when it is improbable that so many calls take so long; it then
    gets one call a second, if it has room.
    """
    beliefs = [_Belief(each, patience) for each in endpoints]

    async def ask(request: Request) -> Any:
        probes: set[asyncio.Task[Any]] = set()  # and calls to what was taken for dead since
        hoped: dict[asyncio.Task[Any], _Belief] = {}
        while (left := request.deadline - now()) > 0:
            probes |= {task for task, belief in hoped.items() if belief.dead()}
            hoped = {task: belief for task, belief in hoped.items() if task not in probes}
            probes |= {belief.probe(request) for belief in beliefs if belief.asks_for_probe(request)}
            if not hoped:
                soonest, _, belief = min((belief.seconds(request), belief.endpoint.name, belief) for belief in beliefs)
                if soonest <= left:
                    hoped[belief.send(request)] = belief
            await _first_of([*hoped, *probes], min(LOOK, left))
            for task in [task for task in (*hoped, *probes) if task.done()]:
                if task.exception() is None:
                    return task.result()
                probes.discard(task)
                hoped.pop(task, None)
        raise TimeoutError

    return ask


async def _first_of(tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(seconds)


@dataclass(eq=False)
class _Belief:
    """What one client's own calls have shown of an endpoint."""

    endpoint: Endpoint
    patience: float
    faults: list[Fault] = field(default_factory=list)
    next_probe: float = -math.inf
    _shown: float = -math.inf  # when the latest of the calls that came back was sent
    _under_way: dict[float, tuple[float, float]] = field(default_factory=dict)  # when a typical answer would begin, end

    def seconds(self, request: Request) -> float:
        """In which an answer should come; infinity if none should come."""
        if self.dead():
            return math.inf
        seconds, error = self.endpoint.fate(now(), request, real=False, length=1.0, faults=self.faults)
        return math.inf if error is not None else seconds + _retries(self.faults)

    def dead(self) -> bool:
        """Nothing, or nothing in time, can be answered."""
        if (
            any(fault.kind in ("down", "hang") for fault in self.faults)
            or self.endpoint.answer_seconds(self.faults) > self.patience
        ):
            return True
        return math.prod(_longer(now(), *each) for each in self._under_way.values()) < IMPROBABLE

    def asks_for_probe(self, request: Request) -> bool:
        """It is taken for dead, its turn has come, and a call would not queue there."""
        if not self.dead() or now() < self.next_probe:
            return False
        seconds, error = self.endpoint.fate(now(), request, real=False, length=1.0, faults=())
        return error is None and seconds < 1.01 * self.endpoint.answer_seconds()

    def probe(self, request: Request) -> asyncio.Task[Any]:
        self.next_probe = now() + PROBE
        return self.send(request)

    def send(self, request: Request) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._call(request))
        task.add_done_callback(lambda it: it.cancelled() or it.exception())  # it goes on when its caller has left
        return task

    async def _call(self, request: Request) -> Any:
        sent = now()
        seconds, _ = self.endpoint.fate(sent, request, real=False, length=1.0, faults=self.faults)
        self._under_way[sent] = sent + seconds - self.endpoint.answer_seconds(self.faults), sent + seconds
        try:
            return await self.endpoint.call(request)
        finally:
            self._show(sent)

    def _show(self, sent: float) -> None:
        if sent < self._shown:
            self._under_way.pop(sent, None)
            return
        self._shown = sent
        self._under_way = {when: each for when, each in self._under_way.items() if when > sent}
        self.faults = [
            Fault("down", sent, math.inf) if fault.answers_none(sent) else fault
            for fault in self.endpoint.faults
            if fault.on(now() if fault.kind == "slow" else sent)
            and (fault.kind != "flapping" or fault.answers_none(sent))
        ]


def _longer(when: float, begin: float, end: float) -> float:
    """How probable it is that an answer is not there yet that begins and typically ends then."""
    share = (when - begin) / (end - begin)
    return 1.0 if share <= 0 else 0.5 * math.erfc(math.log(share) / SPREAD / math.sqrt(2))
