"""The latency baseline: how long a provider's answers normally take, and how much longer they take now."""

from __future__ import annotations

import math
from math import log2
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_FULL_MEMORY = 100  # answers after which the oldest weigh little
_QUICKER = 0.1  # weight of one answer in the baseline while answers come far quicker than it
_LATEST = 0.15  # weight of one answer in the mean of the latest
_CROWD = 0.05  # weight of one answer in the mean of the calls under way
_CROWDED = 2.0  # times that mean: a call that began with more under way may have waited for those
_LEARNED = 10  # answers before any is considered slow
_SHORTEST = 0.001  # seconds that an answer counts for at least: differences below are the machine's, not the provider's
_LN_2 = math.log(2.0)  # `log2` takes a third of the time that `log` takes on Python 3.11
_LOG_SHORTEST = math.log(_SHORTEST)
_SAME = 1e-9  # a smaller difference of two means says nothing
_LEAST_TOLERANCE = math.log(1.5)  # as in Netflix' gradient limit
_OUR_DOING = math.log(1.4)  # a smaller excess over the baseline may be chance, or caused by our own load
_WITNESSES = 10  # answers that can change the baseline together
_FEWEST_WITNESSES = 4  # answers that can change it if they are far longer
_LOOKS = 1.2  # factor for testing after each answer: seven tests go wrong more often than one
_BELIEVED = math.log(4.0)  # the largest change of the baseline that they cause at once
_SLOW_DEVIATIONS = 2.5  # above the mean, from which on an answer is slow
_LEAST_SLOW = math.log(2.0)  # an answer within twice the typical time is never slow, however little answers vary


class LatencyBaseline:
    """
    Running means of the logarithm of seconds, because response times vary by factors rather than by seconds.

    The long mean and its absolute deviation are those of TCP's retransmission timer (RFC 6298): an answer 2.5
    deviations above the mean, which is two standard deviations, is slow, and about 2 of 100 answers are slow when
    nothing is wrong. The short mean minus the long one is the strain.

    A call that begins with far more others under way than most may wait at the provider for these. If its answer takes
    long, it weighs less, the less the more others there are: a crowd's queue must not be taken for normal.

    Attributes:
        seen: Answers learnt from.
        excess: 0.0 while answers come in normal time; closer to 1.0 the longer they take.
    """

    __slots__ = (
        "_answered",
        "_crowd",
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
        self._mean = self._deviation = 0.0  # the baseline
        self._latest = 0.0  # short mean, of answers and of calls that are slow and not answered yet
        self._answered = 0.0  # short mean, of answers alone
        self._crowd = 1.0  # mean of the calls under way when a call began that was answered in normal time
        self._slow = math.inf  # logarithm of the seconds from which on an answer is slow
        self.seen = 0
        self.excess = 0.0
        self.dismiss_witnesses()

    @property
    def typical(self) -> float:
        """Return the seconds that a typical answer takes; 0.0 before the first."""
        return math.exp(self._mean) if self.seen else 0.0

    @property
    def latest(self) -> float:
        """Return the seconds that a typical one of the latest answers took; 0.0 before the first."""
        return math.exp(self._answered) if self.seen else 0.0

    @property
    def slow_after(self) -> float:
        """Return from how many seconds on an answer is slow; inf until that is known."""
        return math.exp(self._slow) if self._slow < 100.0 else math.inf

    def add(self, seconds: float, in_flight_at_start: int) -> None:
        """
        Learn from one answer, and from the calls under way when its call began, including itself.

        While answers take unusually long, each weighs a tenth and counts at most as just slow: a temporary problem must
        not become the baseline, but if a provider stays slower, that becomes normal in the end.
        """
        value = _LN_2 * log2(seconds) if seconds > _SHORTEST else _LOG_SHORTEST
        self.seen += 1
        if self.seen == 1:
            self._mean = self._latest = self._answered = value
            self._crowd = float(in_flight_at_start)
        self._answered += _LATEST * (value - self._answered)
        self._update_excess(value)
        gain, error = 1.0 / min(self.seen, _FULL_MEMORY), value - self._mean
        if error > 0.0 and in_flight_at_start > _CROWDED * self._crowd:
            gain *= _CROWDED * self._crowd / in_flight_at_start
        if not self.excess:
            self._crowd += _CROWD * (in_flight_at_start - self._crowd)
        if self.excess or value > self._slow:
            gain *= 0.1
            error = min(error, self._slow - self._mean)
        elif gain < _QUICKER and self._latest < self._mean - _LEAST_TOLERANCE:
            gain = _QUICKER  # the provider has become far quicker: the old baseline is outdated
        self._mean += gain * error
        self._deviation += gain * (abs(error) - self._deviation)
        if self.seen >= _LEARNED:
            self._set_slow()

    def add_some(self, answers: Sequence[tuple[float, int, *tuple[Any, ...]]]) -> int:
        """
        Learn from answers, up to the first after which they take far longer than normal.

        Args:
            answers: Each begins with the seconds that it took and the calls under way when its call began.

        Returns:
            How many were learnt from.
        """
        learnt = 0
        while learnt < len(answers):
            if not self.excess and self.seen >= _FULL_MEMORY and abs(self._latest - self._answered) < _SAME:
                learnt += self._add_normal(answers[learnt:])
            if learnt < len(answers):
                self.add(*answers[learnt][:2])
                learnt += 1
            if self.excess:
                break
        return learnt

    def _add_normal(self, answers: Sequence[tuple[float, int, *tuple[Any, ...]]]) -> int:
        """Learn as `add` does, at a third of the cost, up to the first answer that has to be looked at more closely."""
        mean, deviation, latest, learnt = self._mean, self._deviation, self._answered, 0
        crowd, under_way = int(_CROWDED * self._crowd), 0  # whole numbers: Python adds and compares them faster
        for each in answers:
            seconds, at_start = each[0], each[1]
            value = _LN_2 * log2(seconds) if seconds > _SHORTEST else _LOG_SHORTEST
            error, newest = value - mean, latest + _LATEST * (value - latest)
            if (error > _LEAST_SLOW and error > _SLOW_DEVIATIONS * deviation) or abs(newest - mean) > _LEAST_TOLERANCE:
                break
            if error > 0.0 and at_start > crowd:
                break
            latest = newest
            under_way += at_start
            mean += error / _FULL_MEMORY
            deviation += (abs(error) - deviation) / _FULL_MEMORY
            learnt += 1
        if learnt:
            self._crowd += (1.0 - (1.0 - _CROWD) ** learnt) * (under_way / learnt - self._crowd)
        self.seen += learnt
        self._mean, self._deviation, self._latest, self._answered = mean, deviation, latest, latest
        self._set_slow()
        return learnt

    def _set_slow(self) -> None:
        self._slow = self._mean + max(_SLOW_DEVIATIONS * self._deviation, _LEAST_SLOW)

    def at_least(self, seconds: float) -> None:
        """Learn from a call that has already taken so long and whose full time will not be known."""
        if self.seen:
            self._update_excess(math.log(max(seconds, _SHORTEST)))

    def witness(self, seconds: float) -> float:
        """
        Note an answer from a slow time with no more calls under way than in good times: our load did not delay it.

        If several such answers took longer than the baseline on average, fewer calls do not help: the longer time is
        normal now. If it is far longer, fewer answers are enough. The baseline rises at most fourfold at once, so that
        a short problem does little harm.

        Returns:
            How many times longer the normal time is now.
        """
        self._witnesses += 1
        self._witnessed += math.log(max(seconds, _SHORTEST))
        witnesses = self._witnesses
        if witnesses < _FEWEST_WITNESSES:
            return 1.0
        longer = self._witnessed / witnesses - self._mean
        # The mean of fewer answers is less accurate, by the square root of the ratio.
        needed = 1.0 if witnesses >= _WITNESSES else _LOOKS * math.sqrt(_WITNESSES / witnesses)
        if longer <= needed * _OUR_DOING:
            if witnesses >= _WITNESSES:
                self.dismiss_witnesses()
            return 1.0
        self.dismiss_witnesses()
        longer = min(longer, _BELIEVED)
        self._mean += longer
        self._set_slow()
        self._update_excess(self._latest)
        return math.exp(longer)

    def dismiss_witnesses(self) -> None:
        """Forget the answers of an earlier slow time, which say nothing about this one."""
        self._witnesses, self._witnessed = 0, 0.0

    def calm(self) -> None:
        """Forget calls that were never answered, now that the provider answers again."""
        self._latest, self.excess = self._answered, 0.0

    def _update_excess(self, value: float) -> None:
        self._latest += _LATEST * (value - self._latest)
        self._set_excess()

    def _set_excess(self) -> None:
        self.excess = _excess(self._latest - self._mean, self._deviation, self.seen)


def _excess(strain: float, deviation: float, seen: int) -> float:
    if strain <= _LEAST_TOLERANCE or strain <= deviation or seen < _LEARNED:
        return 0.0
    return 1.0 - math.exp(max(_LEAST_TOLERANCE, deviation) - strain)
