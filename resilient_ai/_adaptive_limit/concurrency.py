"""
How many calls a provider handles at a time, learnt from how it answers.

    grows    with every answer in normal time while the limit is in use: by the number of answers per epoch until the
             first setback, then by their square root (the headroom of Netflix' gradient limit and of Envoy)
    shrinks  with every answer while answers take far longer than normal (more for longer ones), to half of what it was
             before the trouble; when a call is refused as overload, once in the time of two answers, to 0.9 of the
             calls that were taken, by half at most, and not below what was served together in this epoch

An epoch is the time since the last change for the worse; a call that began before it says nothing about it.
Nothing is known about capacity that was never used: when answers become slow or time out, it is given up first.
"""

from __future__ import annotations

import math
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER

from .latency import LatencyBaseline

if TYPE_CHECKING:
    from .config import LimitConfig
    from .permit import Permit

_TAKEN = 0.9  # of what an overloaded provider was handling (the same as AIMD in Netflix' concurrency-limits)
_KEPT = 0.7  # of the limit before the trouble is reached again as fast as at the beginning (CUBIC's share)
_HALF = 0.5  # the most that one setback lowers the limit by
_LEAST_FOR_SLOWNESS = 0.5  # of the limit is kept however slow the answers are: they may simply be longer texts
_OVERLOAD_ANSWERS = 2.0  # response times until a setback by an overload shows: one to begin in, one to come back in
_FADING = 0.02  # share by which the calls that were answered in normal time fade when fewer are answered now
_FEWER = 0.6  # of the calls that were answered in normal time: with so few, no queue is caused by our own calls
_DOUBLE = 2.0  # the most that the limit rises quickly above its old value when answers stay longer
_TRUSTED = 10  # answers after which it is known how much of the limit is used


# A good answer to a call of this epoch: the seconds that it took, the calls under way when it began and when it ended
# (itself included), and when that was.
Answer = tuple[float, int, int, float]
_at_start = itemgetter(1)
_as_float = lru_cache(64)(float)  # limits with the same settings share three numbers
LEARNT_TOGETHER = 64  # the most answers in a list; a list is learnt from after a twentieth of a second at the latest
# Of a full list one answer in so many shows what is normal. Not one in four: where four machines answer in turn, all
# would be the same one's.
_SHOWN = 5


class ConcurrencyLimit:
    """
    The limit of calls at a time.

    Attributes:
        value: The limit; its whole part counts.
        latency: What is normal for the provider's answers.
        epoch: Number of the changes for the worse so far.
        in_trouble: Whether there was a setback and the limit is not yet back to where it grows slowly.
        served_together: The most calls under way at the start of a call that succeeded, since the last setback by an
            overload; the limit's state counts them.
    """

    __slots__ = (
        "_fast_below",
        "_floor",
        "_least",
        "_most",
        "_overloaded_at",
        "_strained",
        "_trouble_below",
        "_usual",
        "_value_before",
        "epoch",
        "in_trouble",
        "initial",
        "latency",
        "served_together",
        "value",
    )

    def __init__(self, config: LimitConfig) -> None:
        self._bound_by(config)
        self.epoch = 0
        self.clear()

    def _bound_by(self, config: LimitConfig) -> None:
        self.initial, self._least, self._most = map(_as_float, (config.initial, config.min_limit, config.max_limit))

    def clear(self) -> None:
        """Forget everything that was learnt."""
        self.value = self.initial
        self.latency = LatencyBaseline()
        self.epoch += 1
        self._usual = 0.0  # the most calls at a time that were answered in normal time recently
        self._strained = False  # whether answers take far longer than normal
        self.in_trouble = False
        self._value_before = self.value  # what the limit was when the trouble began
        self._floor = 0.0  # slow answers do not take the limit below this
        self._fast_below = math.inf  # the limit doubles in an epoch below this: the provider took as many before
        self._trouble_below = 0.0  # the trouble is over when the limit is not below this any more
        self._overloaded_at = NEVER  # the last setback by an overload
        self.served_together = 0

    def reconfigure(self, config: LimitConfig) -> None:
        """Change the bounds; what was learnt is kept, within them."""
        self._bound_by(config)
        self.value = min(max(self.value, self._least), self._most)

    # -- what the calls show; True: the limit was lowered, for a new reason

    def learn(self, permit: Permit, *, answered: bool, in_flight: int) -> bool:
        """Learn from a call whose time is known, or known to be long: raise or lower the limit a little."""
        if self.latency.excess:
            return self._learn_slow()
        self._strained = False
        if answered:
            self._learn_normal([(0.0, permit.in_flight_at_start, in_flight, 0.0)], grows=permit.epoch == self.epoch)
        return False

    def _learn_slow(self) -> bool:
        begins = not self._strained
        if begins:
            self._strained = True
            self._give_up_unused()
            self._begin_trouble()
        self.value = max(self.value - min(self.latency.excess, _HALF), min(self.value, self._floor))
        return begins

    def learn_from(self, answers: list[Answer]) -> bool:
        """
        Learn from answers, in this order.

        Returns:
            Whether the limit was lowered, for a new reason.
        """
        lowered, learnt = False, 0
        self.served_together = max(self.served_together, max(map(_at_start, answers)))
        while learnt < len(answers):
            rest = answers[learnt:]
            if self.in_trouble:
                rest = rest[:1]
                self.witness(rest[0][1], rest[0][0])
            step = _SHOWN if len(rest) >= LEARNT_TOGETHER and not self.latency.excess else 1
            shown = self.latency.add_some(rest[::step])
            slow = bool(self.latency.excess)  # then the last of these took far longer than normal, and no other did
            some = 1 + (shown - 1) * step if slow else len(rest)
            learnt += some
            if normal := rest[: some - slow]:
                self._strained = False
                self._learn_normal(normal, grows=True)
            if slow:
                lowered |= self._learn_slow()
        return lowered

    def _learn_normal(self, answers: list[Answer], *, grows: bool) -> None:
        usual, value = self._usual, self.value
        unused = self._unused(value) if grows else math.inf
        for _, at_start, in_flight, _ in answers:
            if at_start < usual:
                usual -= _FADING * (usual - at_start)
            else:
                usual = at_start
            if in_flight > unused:
                value = min(value + (1.0 if value < self._fast_below else 1.0 / math.sqrt(value)), self._most)
                self.in_trouble &= value < self._trouble_below
                unused = self._unused(value)
        self._usual, self.value = usual, value

    def _unused(self, value: float) -> float:
        """
        Return with how many calls under way the limit does not grow.

        Below the initial limit it grows even if unused: a quiet service must not keep an old setback forever.
        """
        return (value - 1.0) / 2.0 if value >= self.initial else -1.0

    def witness(self, in_flight_at_start: int, seconds: float) -> None:
        """Note how long an answer took while answers are slow."""
        if in_flight_at_start <= 1.0 + _FEWER * self._usual:
            longer = self.latency.witness(seconds)
            if longer > 1.0:  # then the same callers need so many times more calls at a time (Little's law)
                self._fast_below = max(self._fast_below, _KEPT * min(longer, _DOUBLE) * self._value_before)

    def overloaded(self, permit: Permit, now: float, in_flight: int, *, certain: bool) -> bool:
        """
        Lower the limit: the provider refused the call because it has too many.

        Args:
            permit: Of the call.
            now: The time.
            in_flight: Other calls under way.
            certain: Whether there is evidence, so that this is how much the provider handles.
        """
        if now < self._overloaded_at + _OVERLOAD_ANSWERS * self.latency.typical:
            return False  # a refusal comes sooner than the answers that would show whether the last setback was enough
        if not self.served_together and self.latency.seen and self._overloaded_at > NEVER:
            return False  # it answered before the last setback and not since: it is down, however few calls are sent
        # Some providers refuse calls at random. What they served at the same time in this epoch they can serve again.
        if permit.epoch != self.epoch:
            return False
        before = self._fast_below, self._trouble_below, self.in_trouble
        self._set_back(permit, max(_TAKEN * in_flight, _HALF * self.value, self.served_together))
        if certain:
            self._fast_below = self._trouble_below = self.value  # the provider showed exactly how much it handles
        else:
            self._fast_below, self._trouble_below, self.in_trouble = before
        self._overloaded_at, self.served_together = now, 0
        return True

    def timed_out(self, permit: Permit) -> bool:
        """Lower the limit: a call was given up because it took too long."""
        if permit.epoch == self.epoch:
            self._give_up_unused()
        return self._set_back(permit, max(_TAKEN * self.value, min(self._floor, self.value)))

    def stall_is_over(self) -> None:
        """Note an answer after a stall: the calls that hung say nothing about how many the provider handles."""
        self.latency.calm()
        self.value = max(self.value, self._usual)
        self._fast_below = max(self._fast_below, _KEPT * self._value_before)
        self._trouble_below = max(self._trouble_below, _KEPT * self._value_before)

    # -- changes for the worse

    def begin_epoch(self) -> None:
        """Begin after a change for the worse: calls that are under way say nothing about what follows."""
        self.epoch += 1

    def _give_up_unused(self) -> None:
        if not self.in_trouble:
            self._value_before = self.value
            self.latency.dismiss_witnesses()
            if self.latency.seen >= _TRUSTED:
                self.value = min(self.value, max(self._usual, self._least))

    def _begin_trouble(self) -> None:
        if not self.in_trouble:
            self.in_trouble = True
            self._fast_below = self._trouble_below = _KEPT * self.value
            self._floor = max(_LEAST_FOR_SLOWNESS * self.value, self._least)

    def _set_back(self, permit: Permit, value: float) -> bool:
        if permit.epoch != self.epoch:
            return False
        self._begin_trouble()
        self.value = max(self._least, min(value, self.value))
        self.begin_epoch()
        return True
