"""
How many calls one provider takes at a time, learnt from how it answers: no clock, lock, logger or task in here.

    places   grow with every normal answer while they are used: by as many as answer in a round until the first
             setback, then by their square root a round (the headroom of Netflix' gradient limit and of Envoy)
             shrink once a round: to 0.9 of the calls that were taken when one was refused as overload, at most by
             half; by half when most answers are far above what is normal
    pace     after a rate limit: `Pace`

A round is the calls begun since the last change for the worse; what was sent before it says nothing about it.
Whoever finds no place waits in line. Callers whom the provider could not answer in time are not let into the line.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from ._checks import check_number
from ._latency import Normal
from ._pacing import Pace

_TAKEN = 0.9  # of what an overloaded provider was taking (AIMD in Netflix' concurrency-limits: the same)
_HALF = 0.5  # most that one setback takes
_OUTCOMES = 10  # latest answers of a round that are asked for slow ones
_SLOW_OUTCOMES = 5  # so many of them halve the limit
_LONGEST_WAIT = 60.0  # seconds in line for a caller without deadline and without max_wait


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """Settings of a limit, as `adaptive_limit` documents them. Times are in seconds."""

    initial: int = 20
    min_limit: int = 1
    max_limit: int = 1000
    pace: bool = True
    max_wait: float | None = None
    max_queue_size: int = 1000

    def __post_init__(self) -> None:
        check_number("min_limit", self.min_limit, least=1, whole=True)
        check_number("max_limit", self.max_limit, least=self.min_limit, whole=True)
        check_number("initial", self.initial, least=self.min_limit, most=self.max_limit, whole=True)
        check_number("max_wait", self.max_wait, least=0, optional=True)
        check_number("max_queue_size", self.max_queue_size, least=0, whole=True)
        if not isinstance(self.pace, bool):
            raise ValueError(f"pace must be True or False, got {self.pace!r}")


class Place:
    """One call that was let through."""

    __slots__ = ("measured", "round", "started")

    def __init__(self, started: float, round_: int) -> None:
        self.started = started
        self.round = round_
        self.measured = False  # how long it took is known, or that it is slow by now


class Waiter:
    """One caller in line; the shell keeps beside it what wakes its task."""

    __slots__ = ("deadline", "ends")

    def __init__(self, ends: float, deadline: float) -> None:
        self.ends = ends  # when its patience does
        self.deadline = deadline  # of the whole call


class Limit:
    """Places, pace and the line of one provider."""

    __slots__ = (
        "_config",
        "_free_running",
        "_line",
        "_outcomes",
        "_round",
        "_running",
        "_seconds",
        "answered",
        "failed",
        "in_flight",
        "limit",
        "news",
        "normal",
        "pace",
        "refused",
        "total",
    )

    def __init__(self, config: LimitConfig) -> None:
        self._config = config
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._running: OrderedDict[Place, None] = OrderedDict()  # oldest first; without those that count as slow
        self.in_flight = 0
        self._round = 0
        self.clear()

    def clear(self) -> None:
        """The first day again; calls under way and in line stay where they are."""
        self.limit = float(self._config.initial)
        self.normal = Normal()
        self.pace = Pace()
        self.total = self.answered = self.failed = self.refused = 0
        self.news = ""  # why the limit or the pace was lowered; the shell tells it and empties it
        self._free_running = True  # no setback yet
        self._seconds = 0.0  # of the latest answers, slow ones included
        self._new_round()

    def _new_round(self) -> None:
        self._round += 1
        self._outcomes = 0  # one bit each, the latest lowest: slow or not

    # -- coming in

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def places(self) -> int:
        """How many calls may be under way at a time."""
        return int(self.limit)

    def enter(self, now: float) -> Place | None:
        """A place, if there is one and nobody waits for it."""
        self._count_overdue(now)
        if self._line or self.in_flight >= self.places or self.pace.wait(now) > 0:
            return None
        return self._let_in(now)

    def _let_in(self, now: float) -> Place:
        place = Place(now, self._round)
        self._running[place] = None
        self.in_flight += 1
        self.total += 1
        self.pace.sent(now)
        return place

    def patience(self, now: float, left: float) -> float | None:
        """
        Seconds that a caller may stand in line; None: it need not, for it would not be served in time.

        Args:
            now: The moment.
            left: Seconds until the caller's own deadline; inf without one.
        """
        most = self._config.max_wait
        if most is None:
            most = _LONGEST_WAIT if left == math.inf else left
        # A deadline must hold the wait and a slow answer as well; of a very short one a third may go into waiting.
        most = min(most, max(left - self._slow_answer, left / 3))
        return None if len(self._line) >= self._config.max_queue_size or self.wait(now) > most else most

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the line."""
        self._line[waiter] = None

    @property
    def _slow_answer(self) -> float:
        return self.normal.slow_after if self.normal.slow_after < math.inf else 0.0

    def wait(self, now: float) -> float:
        """Seconds that a newcomer would stand in line, as far as can be told."""
        behind = len(self._line) + 1 + self.in_flight - self.places
        free = max(0, behind) * self._seconds / max(1, self.places)  # Little's law
        return max(free, self.pace.wait(now, len(self._line)))

    def turn(self, waiter: Waiter, now: float) -> Place | float | None:
        """
        A place for the first in line, or seconds after which to ask again; inf: only when called.

        None: the turn has come, but too late for an answer. The caller is out of the line with a place only.
        """
        if next(iter(self._line)) is not waiter or self.in_flight >= self.places:
            return math.inf
        wait = self.pace.wait(now)
        if wait > 0:
            return wait
        if waiter.deadline - now < self.normal.typical:
            return None
        del self._line[waiter]
        return self._let_in(now)

    def leave(self, waiter: Waiter) -> None:
        """Out of the line, with a place or without."""
        self._line.pop(waiter, None)

    def called(self) -> Waiter | None:
        """Who should ask for a turn now, if anybody: the first in line, when there is a place."""
        return next(iter(self._line)) if self._line and self.in_flight < self.places else None

    # -- going out

    def answer(self, place: Place, now: float) -> None:
        """The provider answers; a stream keeps its place until it ends."""
        if place.measured:
            return
        took = now - place.started
        slow = took > self.normal.slow_after
        used = 2 * self.in_flight >= self.places or bool(self._line)
        self.normal.add(took)
        self._weigh(place, took, slow=slow)
        # Below the initial limit it grows although unused: a quiet service must not keep an old setback for ever.
        if not slow and place.round == self._round and (used or self.limit < self._config.initial):
            step = 1.0 if self._free_running else 1.0 / math.sqrt(self.limit)
            self.limit = min(self.limit + step, float(self._config.max_limit))

    def succeed(self, place: Place, now: float) -> None:
        """A good answer, whole."""
        self.answer(place, now)
        self.answered += 1
        self._go(place)

    def overload(self, place: Place) -> None:
        """The provider refused the call because it has too many."""
        self.failed += 1
        self._go(place)
        self._shrink(place, max(_TAKEN * self.in_flight, _HALF * self.limit), "overloaded")

    def time_out(self, place: Place, now: float) -> None:
        """The call took too long and was given up."""
        self.failed += 1
        self._weigh(place, now - place.started, slow=True)
        self._go(place)
        self._shrink(place, _TAKEN * self.limit, "timeout")

    def too_fast(self, place: Place, now: float, retry_after: float | None) -> None:
        """The provider's rate limit was met."""
        if not self._config.pace:
            self.overload(place)
            return
        self.failed += 1
        self._go(place)
        if self.pace.refused(now, place.started, retry_after, news=place.round == self._round):
            self._new_round()
            self.news = "rate limit"

    def fail(self, place: Place) -> None:
        """An error that says nothing about how much the provider takes."""
        self.failed += 1
        self._go(place)

    def release(self, place: Place, now: float) -> None:
        """The caller left. That is no failure, but a call given up after an unusual time was a slow one."""
        took = now - place.started
        if took > self.normal.slow_after:
            self._weigh(place, took, slow=True)
        self._go(place)

    def _go(self, place: Place) -> None:
        self._running.pop(place, None)
        self.in_flight -= 1

    # -- slow answers

    def _count_overdue(self, now: float) -> None:
        """Calls still running that are slow by now: a provider that hangs gives no answers to measure."""
        limit = now - self.normal.slow_after
        while self._running:
            oldest = next(iter(self._running))
            if oldest.started >= limit:
                break
            self._weigh(oldest, now - oldest.started, slow=True)

    def _weigh(self, place: Place, seconds: float, *, slow: bool) -> None:
        if place.measured:
            return
        place.measured = True
        self._running.pop(place, None)
        self._seconds += (seconds - self._seconds) * (0.2 if self._seconds else 1.0)
        if place.round == self._round:
            self._outcomes = (self._outcomes << 1 | slow) & ((1 << _OUTCOMES) - 1)
            if self._outcomes.bit_count() >= _SLOW_OUTCOMES:
                self._shrink(place, _HALF * self.limit, "slow answers")

    def _shrink(self, place: Place, limit: float, why: str) -> None:
        if place.round == self._round:
            self.limit = max(float(self._config.min_limit), min(limit, self.limit))
            self._free_running = False
            self._new_round()
            self.news = why
