"""
Whether refusals mean that the provider gets too many calls, or happen by chance however few it gets.

A provider at its limit refuses more calls, the more it gets. Others refuse a share of all calls for reasons of their
own: other users of one quota, one full machine behind a load balancer. Sending less does not help then; it only turns
something that a retry would have solved into an outage.

So every refusal is compared with the share that is refused anyway, by a sequential test (CUSUM; Page, Biometrika 41,
1954). Each call of a series adds the logarithm of how much likelier its outcome is at a limit than by chance, and the
likeliest series that ends with the latest refusal decides. The share refused by chance is learnt from calls that were
sent without a pace, except the series that were evidence, and above all from calls that were sent more slowly than the
provider had accepted before: refusals even then are chance. Calls sent faster than that teach nothing about it.
"""

from __future__ import annotations

import math
from enum import Enum
from itertools import dropwhile
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._core.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

_COHORT_SECONDS = 0.1
_RECENT_SECONDS = 10.0
_OUT_REFUSED, _OUT_SECONDS = 3, 5.0  # so many refused and nothing taken for so long: the provider was out
_ENOUGH_TAKEN, _LONG_SECONDS = 10, 60.0  # calls that show a rate, and how far back they are looked for
_COHORTS = round(_RECENT_SECONDS / _COHORT_SECONDS)  # how many are kept
_EXPECTED = 0.05  # share of calls refused by chance before anything is known
_EXPECTED_WEIGHT = 10.0  # how many calls this guess counts for
_MEMORY = 1000.0  # calls after which older ones count for little
_FORGOTTEN = 0.1  # share of what is known that is then forgotten
_DOUBTED = 60.0  # how many calls all that is known counts for, if sending less did not help
_NOISE, _NOISE_MARGIN = 1.3, 0.02  # up to the known share times the first plus the second may still be chance
_MOST_BY_CHANCE = 0.3  # a larger share is never chance, whatever is known
_AT_LIMIT = 0.4  # share of the calls not refused by chance that are refused at a limit
_THRESHOLD = 4.0  # for the sum of logarithms; about one call in 1,000 exceeds it by chance,
_THRESHOLD_CALLS = 25  # with so many calls in ten seconds; it rises with more calls, to keep false alarms as rare


class Speed(Enum):
    """How calls were sent."""

    FREE = "as they came"
    SLOW = "no faster than the provider had accepted before a rate limit"
    FAST = "faster than that"


class Cohort:
    """
    Calls that were sent within a tenth of a second.

    Attributes:
        began: When the first of them was sent.
        speed: How they were sent.
        sent: Calls that were sent.
        known: How many of these the share refused by chance is learnt from so far.
        refused: How many of these were refused so far.
        tested: Whether the test of the next refusal includes them.
    """

    __slots__ = ("began", "known", "refused", "sent", "speed", "tested")

    def __init__(self, began: float, speed: Speed) -> None:
        self.began = began
        self.speed = speed
        self.sent = self.known = self.refused = 0
        self.tested = True

    @property
    def taken(self) -> int:
        """Return how many calls were not refused, or not yet: refusals come sooner than answers."""
        return self.sent - self.refused


class Finding(NamedTuple):
    """
    What one refusal shows.

    Attributes:
        beyond_chance: Whether so many refusals in so few calls cannot be chance.
        is_first: Whether it is the first refusal by this provider.
        nothing_taken: Whether none of the latest calls was accepted, so that nothing else is known.
    """

    beyond_chance: bool
    is_first: bool
    nothing_taken: bool


class Refusals:
    """
    The calls that were sent and refused in about the last ten seconds, and the share that is refused by chance.

    Attributes:
        known: Calls that the share refused by chance is learnt from.
        latest: The cohort of the calls that are sent now.
        latest_ends: When that cohort ends.
    """

    __slots__ = ("_cohorts", "_known_refused", "known", "latest", "latest_ends")

    def __init__(self) -> None:
        self._cohorts: list[Cohort] = []  # the oldest first; an empty deque takes ten times as much memory
        self.latest = Cohort(NEVER, Speed.FREE)
        self.latest_ends = NEVER
        self.known = self._known_refused = 0.0

    @property
    def by_chance(self) -> float:
        """Return the share of calls that is refused however few are sent, as far as is known."""
        self._learn_sent()
        return (self._known_refused + _EXPECTED * _EXPECTED_WEIGHT) / (self.known + _EXPECTED_WEIGHT)

    def sent(self, now: float, speed: Speed) -> Cohort:
        """Record that a call is sent, and return the cohort that it belongs to."""
        cohort = self.latest
        if now >= self.latest_ends or cohort.speed is not speed or not cohort.tested:
            cohort = self._begin_cohort(now, speed)
        cohort.sent += 1
        return cohort

    def _learn_sent(self) -> None:
        """Learn from the latest calls, which are only counted when they are sent: later, all of them cost one step."""
        cohort = self.latest
        if cohort.speed is not Speed.FAST:
            self.known += cohort.sent - cohort.known
        cohort.known = cohort.sent

    def _begin_cohort(self, now: float, speed: Speed) -> Cohort:
        self._learn_sent()
        cohort = self.latest = Cohort(now, speed)
        self.latest_ends = now + _COHORT_SECONDS
        self._cohorts.append(cohort)
        if len(self._cohorts) > _COHORTS:
            del self._cohorts[0]
        if self.known > _MEMORY:
            self.known *= 1.0 - _FORGOTTEN
            self._known_refused *= 1.0 - _FORGOTTEN
        return cohort

    def not_sent(self, cohort: Cohort) -> None:
        """Remove a call of this cohort that was not sent after all."""
        self._learn_sent()
        cohort.sent -= 1
        cohort.known -= 1
        if cohort.speed is not Speed.FAST:
            self.known = max(0.0, self.known - 1.0)

    def refused(self, cohort: Cohort, now: float) -> Finding:
        """Record that a call of this cohort was refused, and return what that shows."""
        likely_by_chance = self.by_chance
        is_first = self._known_refused < 0.5 and not any(each.refused for each in self._cohorts)
        cohort.refused += 1
        if cohort.speed is not Speed.FAST:
            self._known_refused += 1.0
        stretch = self._evidence(cohort, likely_by_chance, now) if cohort.tested else []
        if stretch and cohort.speed is not Speed.FREE:
            # Refused although fewer calls are sent: perhaps more are refused by chance than before.
            self._trust_less()
            stretch = self._evidence(cohort, self.by_chance, now)
        for each in stretch:
            if each.speed is Speed.FREE:  # its refusals were counted as chance
                self.known = max(0.0, self.known - each.sent)
                self._known_refused = max(0.0, self._known_refused - each.refused)
        return Finding(bool(stretch), is_first, not any(each.taken for each in self._cohorts))

    def _evidence(self, cohort: Cohort, by_chance: float, now: float) -> list[Cohort]:
        """Return the likeliest series of cohorts up to this one, if it is evidence."""
        chance = min(_MOST_BY_CHANCE, _NOISE * by_chance + _NOISE_MARGIN)
        limit = chance + _AT_LIMIT * (1.0 - chance)
        refused_adds, taken_adds = math.log(limit / chance), math.log((1.0 - limit) / (1.0 - chance))
        total, most, length, stretch = 0.0, 0.0, 0, []
        # Cohorts after this one are left out: their refusals may not have arrived yet.
        for each in dropwhile(lambda later: later is not cohort, reversed(self._cohorts)):
            if not each.tested:
                break
            stretch.append(each)
            total += refused_adds * each.refused + taken_adds * each.taken
            if total > most:
                most, length = total, len(stretch)
        calls = sum(each.sent for each in self._recent(now))
        threshold = _THRESHOLD + math.log(max(1.0, calls / _THRESHOLD_CALLS))
        return stretch[:length] if most >= threshold else []

    def _trust_less(self) -> None:
        """Let what is known about chance weigh less, and the calls since less is sent weigh more."""
        since = [each for each in self._cohorts if each.tested and each.speed is Speed.SLOW]
        sent, refused = sum(each.sent for each in since), sum(each.refused for each in since)
        before, before_refused = self.known - sent, self._known_refused - refused
        if before > _DOUBTED:
            self._known_refused = refused + max(0.0, before_refused) * _DOUBTED / before
            self.known = sent + _DOUBTED

    def begin_anew(self) -> None:
        """Begin to send less: calls sent before this are not tested any more."""
        for each in self._cohorts:
            each.tested = False

    def _recent(self, now: float) -> Iterator[Cohort]:
        return (each for each in self._cohorts if now - each.began <= _RECENT_SECONDS)

    def taken_lately(self, now: float) -> tuple[int, float]:
        """
        Return how many calls of the last ten seconds were not refused, and the seconds since the first of all calls.

        Where fewer than ten were taken, those of the last minute count too: one rare call that was taken does not show
        that ten times as many would be.
        """
        taken, began = 0, now
        for each in reversed(self._cohorts):
            if now - each.began > (_RECENT_SECONDS if taken >= _ENOUGH_TAKEN else _LONG_SECONDS):
                break
            taken, began = taken + each.taken, each.began
        return taken, now - began

    def show_the_rate(self, now: float) -> bool:
        """Return whether `taken_lately` shows what is accepted; else the provider was out, and it is only the least."""
        refused = 0
        for each in reversed(self._cohorts):
            if each.taken:
                return refused < _OUT_REFUSED or now - each.began < _OUT_SECONDS
            refused += each.refused
        return False

    def all_refused(self) -> bool:
        """Return whether every call was refused since less is sent."""
        return not any(each.taken for each in self._cohorts if each.tested)

    def last_taken(self, until: float) -> float | None:
        """Return when the last call was sent that was not refused, of those since less is sent and until then."""
        return next(
            (each.began for each in reversed(self._cohorts) if each.tested and each.taken and each.began <= until), None
        )
