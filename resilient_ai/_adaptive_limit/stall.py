"""A stall: the provider has stopped answering. When there is one, and how to notice its end with few calls."""

from __future__ import annotations

import math

from resilient_ai._core.clock import NEVER

_ENOUGH = 3  # overdue calls without an answer in between: one or two happen by chance
SHORTEST = 1.0  # fewer seconds without an answer are no stall, however quick answers normally are
_SHORTEST_PAUSE = 0.25  # seconds


class Stall:
    """
    Calls are overdue, none was answered since then, and the last answer is longer ago than a slow answer takes.

    Where answers are long, or vary much, no caller waits as long as a slow one takes. There it is enough that callers
    have left, and that the last answer is longer ago than the latest of them waited.

    Such a provider hangs, however many calls it gets. Many calls would all wait for their timeouts; one call at a time
    would notice the end of the stall only after its own timeout. So one more call is sent after every pause, however
    many are under way, until one is answered.

    Attributes:
        unanswered: Calls that have become overdue since the last answer.
        answered_at: When the last answer came.
    """

    __slots__ = ("_left_after", "_next_trial_at", "answered_at", "unanswered")

    def __init__(self) -> None:
        self.answered(NEVER)
        self._next_trial_at = NEVER

    def answered(self, now: float) -> None:
        """Note an answered call."""
        self.unanswered, self.answered_at = 0, now
        self._left_after = math.inf  # seconds after which the latest caller left since

    def left(self, seconds: float) -> None:
        """Note a caller who left after so many seconds without an answer; its call is overdue."""
        self._left_after = seconds

    def overdue(self) -> None:
        """Count a call that has run so long that it counts as slow, or was given up after that."""
        self.unanswered += 1

    def is_on(self, now: float, slow_after: float) -> bool:
        """Return whether the provider is stalled; an answer is slow from `slow_after` seconds on."""
        if self.unanswered < _ENOUGH:
            return False
        return now - self.answered_at >= max(min(slow_after, self._left_after), SHORTEST)

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may be sent in a stall."""
        return max(0.0, self._next_trial_at - now)

    def sent(self, now: float, pause: float) -> None:
        """Record a call that is sent in a stall; the next one follows after `pause` seconds."""
        self._next_trial_at = now + max(pause, _SHORTEST_PAUSE)
