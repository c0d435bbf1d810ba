"""What is normal for a provider's answers: how long they take, how much that varies, and how it is just now."""

from __future__ import annotations

import math

_FULL_MEMORY = 100  # answers after which the oldest count for little
_QUICKER = 0.1  # share of one answer in what is normal while answers come far quicker than that
_LATEST = 0.15  # share of one answer in what is just now
_LEARNED = 10  # answers before anything is called slow
_SHORTEST = 1e-6  # seconds
_LOG_SHORTEST = math.log(_SHORTEST)
_LEAST_TOLERANCE = math.log(1.5)  # as in Netflix' gradient limit
_OUR_DOING = math.log(1.4)  # so much longer than normal may still be chance, or our own load
_WITNESSES = 10  # answers that are believed together
_BELIEVED = math.log(4.0)  # most that they are believed at once
_LEAST_SLOW = math.log(2.0)  # however regular the answers are, twice the typical time is the least that is slow


class Normal:
    """
    Running means of the logarithm of seconds, because answers vary by factors and not by seconds.

    The long mean and its absolute deviation are those of TCP's retransmission timer (RFC 6298): what lies 2.5
    deviations above, which is two standard deviations, is slow, and happens to about 2 of 100 answers when nothing is
    wrong. The short mean over the long one is the strain.
    """

    __slots__ = (
        "_answered",
        "_deviation",
        "_latest",
        "_mean",
        "_slow",
        "_witnessed",
        "_witnesses",
        "excess",
        "seen",
    )

    def __init__(self) -> None:
        self._mean = self._deviation = self._latest = self._answered = 0.0
        self.seen = 0
        self._slow = math.inf  # from here on, as a logarithm
        self.dismiss()
        self.excess = 0.0  # 0: answers come in normal time; towards 1 the longer they take

    @property
    def typical(self) -> float:
        """Seconds that a middling answer takes; 0.0 before the first."""
        return math.exp(self._mean) if self.seen else 0.0

    @property
    def latest(self) -> float:
        """Seconds that a middling one of the latest answers has taken; 0.0 before the first."""
        return math.exp(self._answered) if self.seen else 0.0

    @property
    def slow_after(self) -> float:
        """Seconds from which on an answer is slow; inf until that is known."""
        return math.exp(self._slow) if self._slow < 100.0 else math.inf

    def add(self, seconds: float) -> None:
        """
        Learn from one answer.

        While answers take unusually long, one counts a tenth, and no more than as just slow: trouble must not become
        the new normal while it lasts, yet a provider that stays slower is believed in the end.
        """
        value = math.log(seconds) if seconds > _SHORTEST else _LOG_SHORTEST
        seen = self.seen = self.seen + 1
        if seen == 1:
            self._mean = self._latest = self._answered = value
        self._answered += _LATEST * (value - self._answered)
        self._see(value)
        gain = 1.0 / (seen if seen < _FULL_MEMORY else _FULL_MEMORY)
        error = value - self._mean
        if self.excess or value > self._slow:
            gain *= 0.1
            error = min(error, self._slow - self._mean)
        elif gain < _QUICKER and self._latest < self._mean - _LEAST_TOLERANCE:
            gain = _QUICKER  # what was believed to be normal is over
        self._mean += gain * error
        self._deviation += gain * (abs(error) - self._deviation)
        if seen >= _LEARNED:
            self._set_slow()

    def _set_slow(self) -> None:
        above = 2.5 * self._deviation
        self._slow = self._mean + (above if above > _LEAST_SLOW else _LEAST_SLOW)

    def at_least(self, seconds: float) -> None:
        """A call has taken so long, and what it would have taken in the end is not known."""
        if self.seen:
            self._see(math.log(max(seconds, _SHORTEST)))

    def witness(self, seconds: float) -> None:
        """
        An answer of a time of trouble, with no more calls under way than in good times: our load did not delay it.

        When a row of them took longer than normal, on average, then fewer calls do not help: that is normal now. Up
        to four times the old one at once, so that what does not last does little harm.
        """
        self._witnesses += 1
        self._witnessed += math.log(max(seconds, _SHORTEST))
        if self._witnesses < _WITNESSES:
            return
        mean = self._witnessed / self._witnesses
        self.dismiss()
        if mean - self._mean > _OUR_DOING:
            self._mean = min(mean, self._mean + _BELIEVED)
            self._set_slow()
            self._see(self._latest)

    def dismiss(self) -> None:
        """Witnesses of an earlier trouble say nothing about this one."""
        self._witnesses, self._witnessed = 0, 0.0

    def calm(self) -> None:
        """Calls that were never answered say nothing any more: the provider is back."""
        self._latest, self.excess = self._answered, 0.0

    def _see(self, value: float) -> None:
        self._latest += _LATEST * (value - self._latest)
        strain = self._latest - self._mean
        if strain <= _LEAST_TOLERANCE or strain <= self._deviation or self.seen < _LEARNED:
            self.excess = 0.0
        else:
            self.excess = 1.0 - math.exp(max(_LEAST_TOLERANCE, self._deviation) - strain)
