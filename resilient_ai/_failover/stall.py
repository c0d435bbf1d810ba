"""
An endpoint's stall: it hangs, and no error reports that.

A caller that leaves does not count as a failure. But when callers leave after a long time in which nobody else was
answered either, the endpoint is avoided for a while, and the next call that goes there is hedged soon. An endpoint that
answers again may have restarted: calls from before the stall count as forgotten.

The same is known sooner by how many calls wait, and for how long: one of ten answers may take that long, but hardly all
three that are under way.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from resilient_ai._core.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONG: Final = 1.5  # average answer times after which a call that is left counts as left in vain
AVOIDED: Final = 8.0  # factor of a stalled endpoint's score: others are asked first, unless they are that busy
_AVOIDED_SECONDS: Final = 5.0  # seconds of avoidance after one call in vain; doubled for each further one
_LONGEST_AVOIDED: Final = 40.0  # most seconds of avoidance
_OVERDUE: Final = 3.0  # average answer times without an answer that make a stall
_OVERDUE_SECONDS: Final = 1.0  # least seconds without an answer that make a stall
_BY_CHANCE: Final = 0.02  # a working endpoint leaves calls without an answer for so long no oftener than this
_ENOUGH: Final = 3  # a stall needs more calls in flight than these: one or two are late by chance


class Stall:
    """
    Calls left in vain, and the end of the latest stall.

    Attributes:
        in_vain: Calls left in vain since the last answer.
        waiting: When calls began that have waited for longer than the delay before a hedge.
    """

    __slots__ = ("_answers_then", "_left_at", "_resumed_at", "in_vain", "waiting")

    def __init__(self) -> None:
        self.in_vain = 0
        self.waiting: dict[object, float] = {}
        self._answers_then = 0
        self._left_at = NEVER
        self._resumed_at = NEVER  # start of the call whose answer ended the latest stall

    def is_on(self, answers: int) -> bool:
        """Whether a call was left in vain and none has been answered since; `answers` is the number of all answers."""
        return self.in_vain > 0 and answers == self._answers_then

    def left_in_vain(self, now: float, answers: int) -> None:
        """Take in a caller that left after a long time in which nobody was answered."""
        self.in_vain = self.in_vain + 1 if self.is_on(answers) else 1
        self._answers_then, self._left_at = answers, now

    def is_shown_by(
        self, call: object, began: float, latest: Sequence[tuple[float, float]], answers: int, now: float
    ) -> bool:
        """Whether it is on, or begins with this call, which waits; `latest` are begin and end of the latest answers."""
        self.waiting[call] = began
        if not self.is_on(answers) and is_no_chance(self.waiting.values(), latest, now):
            self.left_in_vain(now, answers)
        return self.is_on(answers)

    def is_avoided(self, now: float) -> bool:
        """Whether it is too early to try a stalled endpoint."""
        return now < self._left_at + min(_LONGEST_AVOIDED, _AVOIDED_SECONDS * 2.0 ** (self.in_vain - 1))

    def answered(self, began: float, quiet: float, in_flight: int, average: float | None) -> None:
        """Take in the answer to a call that began at `began`, the first for `quiet` seconds, with so many in flight."""
        if in_flight > _ENOUGH and quiet > _overdue(average):
            self._resumed_at = began

    def has_outlived(self, began: float, now: float, average: float | None) -> bool:
        """Whether a call that began at `began` was forgotten: it is overdue, and a later call ended the stall."""
        return began < self._resumed_at and now - began > _overdue(average)


def is_no_chance(waiting: Iterable[float], answers: Sequence[tuple[float, float]], now: float) -> bool:
    """
    Whether a working endpoint would hardly have left these calls without an answer for so long.

    Args:
        waiting: When they began.
        answers: Begin and end of the latest answers.
        now: The time.
    """
    if not answers:
        return False
    latest = max(began for began, _ in answers)
    times = sorted(ended - began for began, ended in answers)
    chance = 1.0
    for each in waiting:
        if each > latest:  # where a later call was answered, this one is merely late
            longer = len(times) - bisect_right(times, now - each)
            chance *= (longer + 1) / (len(times) + 1)
    return chance <= _BY_CHANCE


def _overdue(average: float | None) -> float:
    return max(_OVERDUE * (average or 0.0), _OVERDUE_SECONDS)
