"""
An endpoint's silence: it may hang, which no error tells.

A caller who leaves is no failure. But when calls are left after a long time in which nobody else was answered either,
the endpoint is avoided for a while, and the next call that goes there is soon hedged. An endpoint that answers again
may have restarted: the calls from before its silence are taken for forgotten.
"""

from __future__ import annotations

from typing import Final

from resilient_ai._core.clock import NEVER

LONG: Final = 1.5  # average answers: a call that was left after that was left in vain
AVOIDED: Final = 8.0  # times its score then: others are asked first, unless they are that busy
_AVOIDED_SECONDS: Final = 5.0  # after one call in vain, twice as long after each further one,
_LONGEST_AVOIDED: Final = 40.0  # at most
_OVERDUE: Final = 3.0  # average answers, and at least
_OVERDUE_SECONDS: Final = 1.0  # seconds without an answer are a silence,
_ENOUGH: Final = 3  # when more calls than these are under way: one or two are late by chance


class Silence:
    """
    Calls left in vain, and the latest end of a silence.

    Attributes:
        in_vain: Calls that were left in vain since the last answer.
    """

    __slots__ = ("_answers_then", "_left_at", "_resumed_at", "in_vain")

    def __init__(self) -> None:
        self.in_vain = 0
        self._answers_then = 0
        self._left_at = NEVER
        self._resumed_at = NEVER  # when the call began whose answer ended the latest silence

    def is_on(self, answers: int) -> bool:
        """Whether a call was left in vain and none was answered since; `answers` are all so far."""
        return self.in_vain > 0 and answers == self._answers_then

    def left_in_vain(self, now: float, answers: int) -> None:
        """A caller left after a long time in which nobody was answered."""
        self.in_vain = self.in_vain + 1 if self.is_on(answers) else 1
        self._answers_then, self._left_at = answers, now

    def is_avoided(self, now: float) -> bool:
        """Whether it is too early to try an endpoint whose silence is on."""
        return now < self._left_at + min(_LONGEST_AVOIDED, _AVOIDED_SECONDS * 2.0 ** (self.in_vain - 1))

    def answered(self, began: float, quiet: float, in_flight: int, average: float | None) -> None:
        """A call that began then is answered, the first one for so many seconds, while so many were under way."""
        if in_flight > _ENOUGH and quiet > _overdue(average):
            self._resumed_at = began

    def has_outlived(self, began: float, now: float, average: float | None) -> bool:
        """Whether a call that began then was forgotten: it is overdue, and a later one ended the silence."""
        return began < self._resumed_at and now - began > _overdue(average)


def _overdue(average: float | None) -> float:
    return max(_OVERDUE * (average or 0.0), _OVERDUE_SECONDS)
