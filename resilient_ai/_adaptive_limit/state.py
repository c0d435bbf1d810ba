"""
How many calls one provider takes at a time, learnt from how it answers: no clock, lock, logger or task in here.

    places   grow with every answer in normal time while they are used: by as many as answer in a round until the
             first setback, then by their square root a round (the headroom of Netflix' gradient limit and of Envoy)
             shrink with every answer while answers take far longer than normal, the more the longer, to half of
             what they were before the trouble; once in the time of two answers when a call is refused as overload, to
             0.9 of the calls that were taken, by half at most, and not below what was taken together in this round
    pace     after a rate limit: `Pace`
    silence  when nothing is answered any more: `Silence`

A round is the calls begun since the last change for the worse; what was sent before it says nothing about it.
Places that were never used are no knowledge: when answers become slow or time out, they go first.

Whoever finds no place waits in line. Callers whom the provider could not answer in time are not let into the line, and
while the line does not get shorter, callers are not let in either who would wait for more than a quarter of their time:
a line that stands serves nobody sooner, it makes everybody late (CoDel, RFC 8289; "Fail at Scale", ACM Queue 13-8).

A call that is made inside another one, a function that calls itself say, would wait for a place that the outer one
holds, which waits for it. The outer one asks nothing of the provider meanwhile, so it lends its place, to one inner
call at a time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_ai._core.checks import check_number

from .latency import Normal
from .pace import Pace
from .permit import Place, Waiter
from .stall import SHORTEST, Silence

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import Era

_TAKEN = 0.9  # of what an overloaded provider was taking (AIMD in Netflix' concurrency-limits: the same)
_KEPT = 0.7  # of what was taken before the trouble is taken again as fast as at the beginning (CUBIC's share)
_HALF = 0.5  # most that one setback takes
_LEAST_FOR_SLOWNESS = 0.5  # of the limit stays however slow the answers are: they may just be longer ones
_ROUND_ANSWERS = 2.0  # a round of overload lasts so many answers: time for one to begin in it and to come back
_LOOK_SECONDS = 0.05  # between two looks for calls that are overdue; a look costs as much as a call
_STANDING = 0.25  # of the time that a caller could wait: a line that is older is no burst; and then, of the time left
_FADING = 0.02  # of what more calls at a time were answered in normal time than now, an answer
_TRUSTED = 10  # answers after which it is known how many are used
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


class Limit:
    """Places, pace and the line of one provider."""

    __slots__ = (
        "_aim",
        "_before",
        "_bottom",
        "_config",
        "_crowd",
        "_guests",
        "_hosts",
        "_line_began",
        "_look_at",
        "_lost",
        "_nested",
        "_overdue",
        "_round",
        "_round_began",
        "_running",
        "_silence",
        "_strained",
        "_troubled",
        "_usual",
        "answered",
        "failed",
        "in_flight",
        "limit",
        "line",
        "news",
        "normal",
        "pace",
        "refused",
        "total",
    )

    def __init__(self, config: LimitConfig) -> None:
        self._config = config
        self.line: OrderedDict[Waiter, None] = OrderedDict()
        self._line_began = -math.inf  # since when there has always been somebody in line
        self._running: dict[Place, None] = {}  # oldest first; without those that count as slow
        self._overdue: dict[Place, None] = {}  # those
        self._lost: set[Place] = set()  # of those: calls that hold no place any more
        self._nested = 0  # of those in line, how many have a host
        self._guests: dict[Place, Place] = {}  # by their hosts, which have lent them their places
        self._hosts: dict[Place, Place] = {}  # and the other way round
        self.in_flight = 0
        self._round = 0
        self._look_at = -math.inf  # when to look for calls that are slow by now
        self.clear()

    def clear(self) -> None:
        """The first day again; calls under way and in line stay where they are."""
        self.limit = float(self._config.initial)
        self.normal = Normal()
        self.pace = Pace()
        self._silence = Silence()
        self.total = self.answered = self.failed = self.refused = 0
        self.news = ""  # why the limit or the pace was lowered; the shell tells it and empties it
        self._aim = math.inf  # below this the limit doubles in a round: what was taken before the trouble
        self._strained = False  # answers take far longer than normal
        self._usual = 0.0  # most calls at a time that were answered in normal time, of late
        self._before = self.limit  # what it was when the trouble began
        self._troubled = False  # and from then, or from another setback, until it is back at its aim
        self._bottom = 0.0  # while they do, it does not fall below this
        self._round_began = -math.inf  # by an overload
        self._crowd = 0  # the largest one in this round of which a call was taken
        self._round += 1

    # -- coming in

    @property
    def places(self) -> int:
        """How many calls may be under way at a time."""
        return int(self.limit)

    @property
    def taken(self) -> int:
        """Places that are held: by the calls under way, without those that are lost."""
        return self.in_flight - len(self._lost)

    def silent(self, now: float) -> bool:
        """Whether the provider has stopped answering."""
        return self._silence.is_on(now, self.normal.slow_after)

    def enter(self, now: float, era: Era) -> Place | None:
        """A place, if there is one and nobody waits for it."""
        if now >= self._look_at:
            self._count_overdue(now)
        if self.line:
            return None
        if self.in_flight + 1 <= self.limit and now >= self.pace.free_at and not self._silence.unanswered:
            return self._let_in(now, era)  # as nearly always
        return self._let_in(now, era) if self._room(now) and self._hold(now) == 0 else None

    def _room(self, now: float) -> bool:
        return self.taken + 1 <= self.limit or self.silent(now)

    def _hold(self, now: float) -> float:
        """Seconds for which nobody may be let in, whatever room there is."""
        return max(self.pace.wait(now), self._silence.wait(now) if self.silent(now) else 0.0)

    def _let_in(self, now: float, era: Era, host: Place | None = None) -> Place:
        if host is None:
            self.in_flight += 1
            era.in_flight += 1
        place = Place(now, self._round, self.taken, era, self)
        if host is not None:
            self._guests[host], self._hosts[place] = place, host
            host.measured = True  # from here on its time is not the provider's
            self._running.pop(host, None)
        self._running[place] = None
        self.total += 1
        self.pace.sent(now)
        if self._silence.unanswered and self.silent(now):
            self._silence.asked(now, self.normal.typical)
        return place

    def patience(self, now: float, left: float, host: Place | None = None, *, spare: bool = False) -> float | None:
        """
        Seconds that a caller may stand in line; None: it need not, for it would not be served in time.

        Args:
            now: The moment.
            left: Seconds until the caller's own deadline; inf without one.
            host: A place that the caller holds already.
            spare: Whether somebody else can be asked: then nobody waits for a provider that is silent.
        """
        most = self._config.max_wait
        if most is None:
            most = _LONGEST_WAIT if left == math.inf else left
        lent, full = host is not None and self._can_lend(host), len(self.line) >= self._config.max_queue_size
        if (full and not lent) or (spare and self.silent(now)):
            return None
        if self.silent(now):  # for how long, nobody can tell
            return min(most, max(left - self.normal.typical, left / 3))
        # A deadline must hold the wait and a slow answer as well; of a very short one a third may go into waiting.
        most = min(most, max(left - self._slow_answer, left / 3))
        if not lent and self.line and now - self._line_began > _STANDING * most:
            most = min(most, _STANDING * left)
        return None if (self.pace.wait(now) if lent else self.wait(now)) > most else most

    def join(self, waiter: Waiter, now: float) -> None:
        """Stand at the end of the line."""
        if not self.line:
            self._line_began = now
        self.line[waiter] = None
        self._nested += waiter.host is not None

    @property
    def _slow_answer(self) -> float:
        return self.normal.slow_after if self.normal.slow_after < math.inf else 0.0

    def wait(self, now: float) -> float:
        """Seconds that a newcomer would stand in line, as far as can be told."""
        behind = len(self.line) + 1 + self.taken - self.places
        free = max(0, behind) * self.normal.latest / max(1, self.places)  # Little's law
        return max(free, self.pace.wait(now, len(self.line)), self._hold(now))

    def turn(self, waiter: Waiter, now: float) -> Place | float | None:
        """
        A place for the first in line, or seconds after which to ask again, if not called before.

        Whoever can have the place of its own caller need not be the first. None: the turn has come, but too late for
        an answer. The caller is out of the line with a place only.
        """
        host = waiter.host if waiter.host is not None and self._can_lend(waiter.host) else None
        if host is None and (next(iter(self.line)) is not waiter or not self._room(now)):
            return max(self.normal.slow_after, SHORTEST)  # by then it may be silent, which nobody calls out
        wait = self._hold(now)
        if wait > 0:
            return wait
        if waiter.deadline - now < self.normal.typical:
            return None
        self.leave(waiter)
        return self._let_in(now, waiter.era, host)

    def leave(self, waiter: Waiter) -> None:
        """Out of the line, with a place or without."""
        if waiter in self.line:
            del self.line[waiter]
            self._nested -= waiter.host is not None

    def called(self, now: float) -> Waiter | None:
        """Who should ask for a turn now, if anybody: the first in line, when there is a place, or a host's own."""
        if not self.line or self._room(now):
            return next(iter(self.line), None)
        if not self._nested:
            return None
        return next((each for each in self.line if each.host is not None and self._can_lend(each.host)), None)

    def _can_lend(self, host: Place) -> bool:
        return host.limit is self and host not in self._guests and not host.lost and not host.era.over

    # -- going out

    def answer(self, place: Place, now: float) -> None:
        """The provider answers; a stream keeps its place until it ends."""
        if place.answered:
            return
        place.answered = True
        seconds = now - place.started
        if self._silence.unanswered and self.silent(now):
            self._is_back(place)
        self._silence.answered(now)
        if self._troubled and place.crowd <= self._usual:
            self.normal.witness(seconds)
        if not place.measured:
            self.normal.add(seconds)
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
        if not self._crowd and self.normal.seen and self._round_began > -math.inf:
            return  # it did answer, and has not since the last setback: it is down, which is no question of how many
        # Some providers refuse by chance, whoever asks. What they took together in this round they will take again.
        if self._set_back(place, max(_TAKEN * self.in_flight, _HALF * self.limit, self._crowd), "overloaded"):
            self._aim = self.limit  # it said exactly how much it takes
            self._round_began, self._crowd = now, 0

    def time_out(self, place: Place, now: float) -> None:
        """The call took too long and was given up."""
        self.failed += 1
        self._late(place, now)
        self._go(place)
        if place.round == self._round:
            self._give_up_unused()
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
        """
        The caller left. That is no failure, but how long it had waited in vain says something about the answers.

        Where deadlines are short, nothing else ever tells that answers have become longer than that.
        """
        if now - place.started > self.normal.typical and not place.era.over:
            self._late(place, now)
        self._go(place)

    def bury(self, era: Era) -> None:
        """Nothing that was begun there comes back, and nobody there stands in line any more."""
        era.over = True
        self.in_flight -= era.in_flight
        for place in [each for each in self._running if each.era is era]:
            del self._running[place]
        for place in [each for each in self._overdue if each.era is era]:
            del self._overdue[place]
        self._lost -= {each for each in self._lost if each.era is era}
        for waiter in [each for each in self.line if each.era is era]:
            self.leave(waiter)
        for place in [each for each in {*self._hosts, *self._guests} if each.era is era]:
            self._end_lending(place)

    def _go(self, place: Place) -> None:
        if not place.measured:
            self._running.pop(place, None)
        elif self._overdue or self._lost:
            self._overdue.pop(place, None)
            self._lost.discard(place)
        place.limit = None
        if self._guests and (place in self._guests or place in self._hosts):
            self._end_lending(place)
        elif not place.era.over:
            place.era.in_flight -= 1
            self.in_flight -= 1

    def _end_lending(self, place: Place) -> None:
        host, guest = self._hosts.pop(place, None), self._guests.pop(place, None)
        if host is not None:
            del self._guests[host]
        elif not place.era.over:
            place.era.in_flight -= 1
            self.in_flight -= 1
        if guest is None:
            return
        del self._hosts[guest]
        if host is not None:  # what was lent to it is passed on
            self._guests[host], self._hosts[guest] = guest, host
        elif not guest.era.over:  # it has outlived its host, and is counted itself
            guest.era.in_flight += 1
            self.in_flight += 1

    # -- the limit

    def _count_overdue(self, now: float) -> None:
        """Calls still running that are slow by now: a provider that hangs gives no answers to measure."""
        slow_after = self.normal.slow_after
        self._look_at = now + _LOOK_SECONDS
        while self._running:
            oldest = next(iter(self._running))
            if now - oldest.started <= slow_after:
                break
            self._overdue[oldest] = None
            self._late(oldest, now)

    def _late(self, place: Place, now: float) -> None:
        if not place.measured:
            self._silence.overdue()
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
                self._give_up_unused()
                self._mark()
            self.limit = max(self.limit - min(excess, _HALF), min(self.limit, self._bottom))
            return
        self._strained = False
        if answered:
            above = self._usual - place.crowd
            self._usual -= _FADING * above if above > 0 else above
        used = 2 * self.in_flight + 1 > self.limit
        # Below the initial limit it grows although unused: a quiet service must not keep an old setback for ever.
        if answered and place.round == self._round and (used or self.limit < self._config.initial):
            step = 1.0 if self.limit < self._aim else 1.0 / math.sqrt(self.limit)
            self.limit = min(self.limit + step, float(self._config.max_limit))
            self._troubled &= self.limit < self._aim

    def _is_back(self, place: Place) -> None:
        """A call was answered after a silence: what hung says nothing about how many the provider takes."""
        self.normal.calm()
        self.limit = max(self.limit, self._usual)
        self._aim = max(self._aim, _KEPT * self._before)
        for each in [each for each in self._overdue if each.started < place.started]:
            del self._overdue[each]  # overtaken: it will hang on, and shall hold up nobody
            if each not in self._guests and each not in self._hosts:
                each.lost = True
                self._lost.add(each)

    def _give_up_unused(self) -> None:
        """A new trouble: places that nobody used are the first to go, for nothing is known of them."""
        if not self._troubled:
            self._before = self.limit
            self.normal.dismiss()
            if self.normal.seen >= _TRUSTED:
                self.limit = min(self.limit, max(self._usual, float(self._config.min_limit)))

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
