"""When a provider has stopped answering, and how to find out that it is back without a crowd."""

from __future__ import annotations

import math

_ENOUGH = 3  # calls that are overdue, without an answer in between: one or two happen
SHORTEST = 1.0  # seconds; less than that is no silence, however quick the answers are
_SHORTEST_PAUSE = 0.25  # seconds


class Silence:
    """
    Calls are overdue, none has been answered since, and the last answer is longer ago than a slow one takes.

    That is no question of how many: such a provider hangs. Asked by a crowd it would hold all of it until their
    timeouts; asked by one call at a time it would not be seen to be back until that one's. So it is asked by one more
    call in every pause, whatever is under way, until it answers.
    """

    __slots__ = ("_answered_at", "_ask_at", "unanswered")

    def __init__(self) -> None:
        self.unanswered = 0  # calls that are overdue, since the last answer
        self._answered_at = -math.inf
        self._ask_at = -math.inf

    def overdue(self) -> None:
        """A call has run for so long that it counts as slow, or was given up after that."""
        self.unanswered += 1

    def answered(self, now: float) -> None:
        """A call was answered: no silence."""
        self.unanswered = 0
        self._answered_at = now

    def is_on(self, now: float, slow_after: float) -> bool:
        """Whether the provider is silent; `slow_after` are the seconds from which on an answer is slow."""
        return self.unanswered >= _ENOUGH and now - self._answered_at >= max(slow_after, SHORTEST)

    def wait(self, now: float) -> float:
        """Seconds until it may be asked again."""
        return max(0.0, self._ask_at - now)

    def asked(self, now: float, pause: float) -> None:
        """A call goes out; the next one after a pause."""
        self._ask_at = now + max(pause, _SHORTEST_PAUSE)
