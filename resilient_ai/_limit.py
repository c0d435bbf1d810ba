"""
How many calls one provider takes at a time, learnt from how it answers: no clock, lock, logger or task in here.

    places   grow with every answer in normal time while they are used: by as many as answer in a round until the
             first setback, then by their square root a round (the headroom of Netflix' gradient limit and of Envoy)
             shrink with every answer while answers take far longer than normal, the more the longer, to half of
             what they were before the trouble; once in the time of two answers when a call is refused as overload, to
             0.9 of the calls that were taken, by half at most, and not below what was taken together in this round
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
_KEPT = 0.7  # of what was taken before the trouble is taken again as fast as at the beginning (CUBIC's share)
_HALF = 0.5  # most that one setback takes
_LEAST_FOR_SLOWNESS = 0.5  # of the limit stays however slow the answers are: they may just be longer ones
_ROUND_ANSWERS = 2.0  # a round of overload lasts so many answers: time for one to begin in it and to come back
_LOOK_SECONDS = 0.05  # between two looks for calls that are overdue; a look costs as much as a call
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

    __slots__ = ("crowd", "measured", "round", "started")

    def __init__(self, started: float, round_: int, crowd: int) -> None:
        self.started = started
        self.round = round_
        self.crowd = crowd  # calls under way when it began, itself included
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
        "_aim",
        "_bottom",
        "_config",
        "_crowd",
        "_line",
        "_look_at",
        "_round",
        "_round_began",
        "_running",
        "_strained",
        "_troubled",
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
        self._running: dict[Place, None] = {}  # oldest first; without those that count as slow
        self.in_flight = 0
        self._round = 0
        self._look_at = -math.inf  # when to look for calls that are slow by now
        self.clear()

    def clear(self) -> None:
        """The first day again; calls under way and in line stay where they are."""
        self.limit = float(self._config.initial)
        self.normal = Normal()
        self.pace = Pace()
        self.total = self.answered = self.failed = self.refused = 0
        self.news = ""  # why the limit or the pace was lowered; the shell tells it and empties it
        self._aim = math.inf  # below this the limit doubles in a round: what was taken before the trouble
        self._strained = False  # answers take far longer than normal
        self._troubled = False  # and from then, or from another setback, until it is back at its aim
        self._bottom = 0.0  # while they do, it does not fall below this
        self._round_began = -math.inf  # by an overload
        self._crowd = 0  # the largest one in this round of which a call was taken
        self._round += 1

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
        if now >= self._look_at:
            self._count_overdue(now)
        if self._line or self.in_flight >= self.places or self.pace.wait(now) > 0:
            return None
        return self._let_in(now)

    def _let_in(self, now: float) -> Place:
        self.in_flight += 1
        place = Place(now, self._round, self.in_flight)
        self._running[place] = None
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
        free = max(0, behind) * self.normal.latest / max(1, self.places)  # Little's law
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
        if not place.measured:
            self.normal.add(now - place.started)
            self._steer(place, answered=True)

    def succeed(self, place: Place, now: float) -> None:
        """A good answer, whole."""
        self.answer(place, now)
        if place.round == self._round and place.crowd > self._crowd:
            self._crowd = place.crowd
        self.answered += 1
        self._go(place)

    def overload(self, place: Place, now: float) -> None:
        """The provider refused the call because it has too many."""
        self.failed += 1
        self._go(place)
        if now < self._round_began + _ROUND_ANSWERS * self.normal.typical:
            return  # a refusal comes quicker than the answers that would tell whether the last setback was enough
        # Some providers refuse by chance, whoever asks. What they took together in this round they will take again.
        if self._set_back(place, max(_TAKEN * self.in_flight, _HALF * self.limit, self._crowd), "overloaded"):
            self._aim = self.limit  # it said exactly how much it takes
            self._round_began, self._crowd = now, 0

    def time_out(self, place: Place, now: float) -> None:
        """The call took too long and was given up."""
        self.failed += 1
        self._late(place, now)
        self._go(place)
        self._set_back(place, max(_TAKEN * self.limit, min(self._bottom, self.limit)), "timeout")

    def too_fast(self, place: Place, now: float, retry_after: float | None) -> None:
        """The provider's rate limit was met."""
        if not self._config.pace:
            self.overload(place, now)
            return
        self.failed += 1
        self._go(place)
        if self.pace.refused(now, retry_after, news=place.round == self._round):
            self._round += 1
            self.news = "rate limit"

    def fail(self, place: Place) -> None:
        """An error that says nothing about how much the provider takes."""
        self.failed += 1
        self._go(place)

    def give_back(self, place: Place) -> None:
        """A circuit below refused the call: nothing was sent."""
        self.total -= 1
        self.pace.not_sent()
        self._go(place)

    def release(self, place: Place, now: float) -> None:
        """The caller left. That is no failure, but a call given up after an unusual time was a slow one."""
        if now - place.started > self.normal.slow_after:
            self._late(place, now)
        self._go(place)

    def _go(self, place: Place) -> None:
        self._running.pop(place, None)
        self.in_flight -= 1

    # -- the limit

    def _count_overdue(self, now: float) -> None:
        """Calls still running that are slow by now: a provider that hangs gives no answers to measure."""
        slow_after = self.normal.slow_after
        self._look_at = now + _LOOK_SECONDS
        while self._running:
            oldest = next(iter(self._running))
            if now - oldest.started <= slow_after:
                break
            self._late(oldest, now)

    def _late(self, place: Place, now: float) -> None:
        if not place.measured:
            self.normal.at_least(now - place.started)
            self._steer(place, answered=False)

    def _steer(self, place: Place, *, answered: bool) -> None:
        """After each call whose time is known, at least in part: up or down by a little."""
        place.measured = True
        self._running.pop(place, None)
        excess = self.normal.excess
        if excess:
            if not self._strained:
                self._strained, self.news = True, "slow answers"
                self._mark()
            self.limit = max(self.limit - min(excess, _HALF), min(self.limit, self._bottom))
            return
        self._strained = False
        used = 2 * self.in_flight >= self.places
        # Below the initial limit it grows although unused: a quiet service must not keep an old setback for ever.
        if answered and place.round == self._round and (used or self.limit < self._config.initial):
            step = 1.0 if self.limit < self._aim else 1.0 / math.sqrt(self.limit)
            self.limit = min(self.limit + step, float(self._config.max_limit))
            self._troubled &= self.limit < self._aim

    def _mark(self) -> None:
        """Trouble begins: keep in mind what was taken before; while it has not come back, it is the same trouble."""
        if not self._troubled:
            self._troubled = True
            self._aim = _KEPT * self.limit
            self._bottom = max(_LEAST_FOR_SLOWNESS * self.limit, float(self._config.min_limit))

    def _set_back(self, place: Place, limit: float, why: str) -> bool:
        if place.round != self._round:
            return False
        self._mark()
        self.limit = max(float(self._config.min_limit), min(limit, self.limit))
        self._round += 1
        self.news = why
        return True
