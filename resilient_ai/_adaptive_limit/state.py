"""
How many calls at a time and per second one provider gets; without any clock, lock, logger or task.

    concurrency  how many at a time, learnt from the answers: `ConcurrencyLimit`
    refusals     whether refusals mean anything or happen by chance: `Refusals`
    pace         how many per second, after a rate limit: `Pace`
    stall        when nothing is answered any more: `Stall`
    queue        which callers wait for a permit, and in which order: `WaitQueue`
    in_flight    which calls hold a permit, or lend it to calls made inside them: `InFlight`

A caller that the provider could not answer in time is not added to the queue. While the queue does not empty, neither
is a caller that would wait for more than a quarter of its time: a standing queue serves no call sooner, it makes every
call late (CoDel, RFC 8289; "Fail at Scale", ACM Queue 13-8).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_ai._core.backend import LOCK_FREE
from resilient_ai._core.clock import NEVER

from .concurrency import Answer, ConcurrencyLimit
from .in_flight import InFlight
from .pace import Pace
from .permit import new_permit
from .queue import Waiter, WaitQueue
from .refusals import Refusals, Speed
from .stall import SHORTEST, Stall

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage

    from .config import LimitConfig
    from .latency import LatencyBaseline
    from .permit import Permit

_LOOK_SECONDS = 0.05  # between two checks for overdue calls; a check costs as much as a call
_STANDING = 0.25  # share of a caller's time: an older queue is a standing one, and then no caller waits longer in it
_LEAST_WAITING = 1 / 3  # share of a caller's time that it may wait, however short the time is
_MEASURED, _MEASURED_SECONDS = 50, 5.0  # recently accepted calls, and their time, after which a rate is known
_LONGEST_WAIT = 60.0  # seconds in the queue for a caller without a deadline and without max_wait


class Limit:
    """
    What one provider gets, and which callers wait for it.

    Attributes:
        succeeded: Calls that ended well.
        failed: Calls that ended with an error.
        left: Calls whose callers left before there was an answer.
        refused: Callers that were refused; the handle counts them.
        answers: Good answers to learn from.
        lowered: Why the limit or the pace was lowered; the handle reports it and clears it.
        calm_until: Before this time the only check for a call is how many are under way, and the limit learns from good
            answers later, several at a time.
    """

    __slots__ = (
        "_config",
        "_look_at",
        "answers",
        "calm_until",
        "concurrency",
        "failed",
        "in_flight",
        "left",
        "lowered",
        "pace",
        "queue",
        "refusals",
        "refused",
        "stall",
        "succeeded",
    )

    def __init__(self, config: LimitConfig) -> None:
        self._config = config
        self.queue = WaitQueue()
        self.in_flight = InFlight()
        self.concurrency = ConcurrencyLimit(config)
        self.refusals = Refusals()
        self._look_at = NEVER  # when to check for overdue calls again
        self.answers: list[Answer] = []
        self.calm_until = NEVER
        self.clear()

    def reconfigure(self, config: LimitConfig) -> None:
        """Change the settings: what was learnt is kept, within their bounds, and so are calls and callers."""
        self.look_closely()
        self._config = config
        self.concurrency.reconfigure(config)
        if not config.pace:
            self.pace = Pace()

    def clear(self) -> None:
        """Forget everything that was learnt; calls under way and callers in the queue are kept."""
        self.answers = []
        self.calm_until = NEVER
        self.concurrency.clear()
        self.pace = Pace()
        self.refusals.begin_anew()
        self.refusals = Refusals()
        self.stall = Stall()
        self.succeeded = self.failed = self.left = self.refused = 0
        self.lowered = ""

    @property
    def most(self) -> int:
        """Return how many calls may be under way at a time."""
        return int(self.concurrency.value)

    @property
    def latency(self) -> LatencyBaseline:
        """Return what is normal for the provider's answers."""
        return self.concurrency.latency

    def stalled(self, now: float) -> bool:
        """Return whether the provider has stopped answering."""
        return self.stall.is_on(now, self.latency.slow_after)

    # -- while nothing is wrong (see `FastPermits`)

    def _is_calm(self) -> bool:
        in_flight, concurrency = self.in_flight, self.concurrency
        troubled = concurrency.in_trouble or concurrency.latency.excess or self.stall.unanswered
        return LOCK_FREE and not (troubled or self.queue.waiters or in_flight.overdue or in_flight.lost)

    def look_closely(self) -> None:
        """Learn from the answers so far; the next call is decided with everything that is known."""
        self.calm_until = NEVER
        if not self.answers:
            return
        # One step: a thread that adds an answer meanwhile adds it to the one list or to the other.
        answers, self.answers = self.answers, []
        self.succeeded += len(answers)
        self.stall.answered_at = answers[-1][3]
        if self.concurrency.learn_from(answers):
            self.lowered = "slow answers"

    # -- getting a permit

    def enter(self, now: float, usage: LoopUsage) -> Permit | None:
        """Return a permit, if one is free and no caller waits for it."""
        self.look_closely()
        if now >= self._look_at:
            self._look_for_overdue(now)
        if self.queue.waiters:
            return None
        in_flight, concurrency = self.in_flight, self.concurrency
        if in_flight.count + 1 <= concurrency.value and now >= self.pace.free_at and not self.stall.unanswered:
            # nearly always: `_admit` without the checks for times when something is wrong
            permit = new_permit(now, concurrency.epoch, usage, self)
            in_flight.add(permit, None)
            permit.cohort = self.refusals.sent(now, Speed.FREE)
            if self._is_calm():
                self.calm_until = min(self._look_at, self.refusals.latest_ends)
            return permit
        return self._admit(now, usage) if self._has_room(now) and self.hold(now) == 0 else None

    def _has_room(self, now: float) -> bool:
        return self.in_flight.occupied < self.most or self.stalled(now)

    def hold(self, now: float) -> float:
        """Return the seconds for which no caller gets a permit, however few calls are under way."""
        pace, wait = self.pace, 0.0
        if now < pace.free_at:
            taken = self.refusals.last_taken(now - pace.taken_after)
            if taken is not None:
                pace.taken(taken, now)
            wait = pace.wait(now)
        return max(wait, self.stall.wait(now)) if self.stalled(now) else wait

    def _admit(self, now: float, usage: LoopUsage, outer: Permit | None = None) -> Permit:
        permit = new_permit(now, self.concurrency.epoch, usage, self)
        self.in_flight.add(permit, outer)
        permit.cohort = self.refusals.sent(now, self.pace.sent(now))
        if self.stall.unanswered and self.stalled(now):
            self.stall.sent(now, self.latency.typical)
        return permit

    def patience(
        self, now: float, left: float, outer: Permit | None = None, *, alternative: bool = False
    ) -> float | None:
        """
        Return how long a caller may wait in the queue.

        Args:
            now: The time.
            left: Seconds until the caller's own deadline; inf without one.
            outer: A permit of this limit that the caller already holds.
            alternative: Whether another endpoint can be called: then no caller waits for a stalled provider.

        Returns:
            Seconds; None: the caller should not wait, since it would not be served in time.
        """
        self.look_closely()
        longest = self._config.max_wait
        if longest is None:
            longest = _LONGEST_WAIT if left == math.inf else left
        borrows, full = self.can_lend(outer), len(self.queue) >= self._config.max_queue_size
        if (full and not borrows) or (alternative and self.stalled(now)):
            return None
        self.pace.caller_held(now)
        if self.stalled(now):  # it is not known for how long
            return min(longest, max(left - self.latency.typical, left * _LEAST_WAITING))
        # The wait and a slow answer must both fit into the deadline.
        longest = min(longest, max(left - self._slow_answer, left * _LEAST_WAITING))
        if not borrows and self.queue.standing(now) > _STANDING * longest:
            longest = min(longest, _STANDING * left)
        return None if (self.hold(now) if borrows else self.wait(now)) > longest else longest

    @property
    def _slow_answer(self) -> float:
        return self.latency.slow_after if self.latency.slow_after < math.inf else 0.0

    def wait(self, now: float) -> float:
        """Return an estimate of the seconds that a new caller would wait in the queue."""
        ahead = len(self.queue) + 1 + self.in_flight.occupied - self.most
        free = max(0, ahead) * self.latency.latest / max(1, self.most)  # Little's law
        return max(free, self.pace.wait(now, len(self.queue)), self.hold(now))

    def turn(self, waiter: Waiter, now: float) -> Permit | float | None:
        """
        Ask for a permit for a caller in the queue.

        A caller that can borrow the permit of its outer call need not be the first.

        Returns:
            A permit, and the waiter has left the queue; or seconds after which to ask again, if not called before;
            None: its turn has come, but too late for an answer.
        """
        self.look_closely()
        outer = waiter.outer if self.can_lend(waiter.outer) else None
        if outer is None and (self.queue.first is not waiter or not self._has_room(now)):
            return max(self.latency.slow_after, SHORTEST)  # by then the provider may be stalled, which wakes no caller
        wait = self.hold(now)
        if wait > 0:
            return min(wait, self.pace.answer_due(now))
        if waiter.deadline - now < self.latency.typical:
            return None
        self.queue.leave(waiter)
        return self._admit(now, waiter.usage, outer)

    def next_called(self, now: float) -> Waiter | None:
        """Return which caller can have a permit now: the first in the queue, or one that can borrow; or None."""
        self.look_closely()
        if not self.queue.waiters or self._has_room(now):
            return self.queue.first
        if not self.queue.nested:
            return None
        return next((each for each in self.queue if self.can_lend(each.outer)), None)

    def can_lend(self, permit: Permit | None) -> bool:
        """Return whether a call made inside the holder of this permit may use it."""
        return self.in_flight.can_lend(permit, self)

    # -- giving a permit back

    def answer(self, permit: Permit, now: float) -> None:
        """Record that the provider begins to answer; a stream keeps its permit until it ends."""
        self.look_closely()
        if not permit.answered:
            self._answered(permit, now)

    def _answered(self, permit: Permit, now: float) -> None:
        permit.answered = True
        seconds = now - permit.started
        if self.stall.unanswered and self.stalled(now):
            self.concurrency.stall_is_over()
            self.in_flight.overtaken(permit.started)
        self.stall.answered(now)
        if now < self.pace.free_at:
            self.pace.taken(permit.started, now)
        concurrency = self.concurrency
        if concurrency.in_trouble:
            concurrency.witness(permit.in_flight_at_start, seconds)
        if self.in_flight.measure(permit):
            concurrency.latency.add(seconds, permit.in_flight_at_start)
            if concurrency.learn(permit, answered=True, in_flight=self.in_flight.count):
                self.lowered = "slow answers"

    def succeed(self, permit: Permit, now: float) -> None:
        """Record that the call succeeded."""
        calm_until = self.calm_until
        self.look_closely()
        if not permit.answered:
            self._answered(permit, now)
        concurrency = self.concurrency
        if permit.epoch == concurrency.epoch and permit.in_flight_at_start > concurrency.served_together:
            concurrency.served_together = permit.in_flight_at_start
        self.succeeded += 1
        self.in_flight.remove(permit)
        if now < calm_until and self._is_calm():  # there were only answers to learn from
            self.calm_until = calm_until

    def overload(self, permit: Permit, now: float) -> None:
        """Record that the provider refused the call because it has too many."""
        self.look_closely()
        self.failed += 1
        self.in_flight.remove(permit)
        finding = self.refusals.refused(permit.cohort, now)
        certain = finding.beyond_chance or finding.nothing_taken
        if not (certain or finding.is_first):
            return
        if self.concurrency.overloaded(permit, now, self.in_flight.count, certain=certain):
            self.refusals.begin_anew()
            self.lowered = "overloaded"

    def time_out(self, permit: Permit, now: float) -> None:
        """Record that the call was given up because it took too long."""
        self.look_closely()
        self.failed += 1
        self._late(permit, now)
        self.in_flight.remove(permit)
        if self.concurrency.timed_out(permit):
            self.lowered = "timeout"

    def too_fast(self, permit: Permit, now: float, retry_after: float | None) -> None:
        """Record that the provider's rate limit was reached."""
        self.look_closely()
        if not self._config.pace:
            self.overload(permit, now)
            return
        self.failed += 1
        self.in_flight.remove(permit)
        if self._lower_pace(permit, now, retry_after or 0.0):
            self.concurrency.begin_epoch()
            self.lowered = "rate limit"

    def _lower_pace(self, permit: Permit, now: float, retry_after: float) -> bool:
        """Lower the pace unless the refusal may be chance; return whether it was lowered."""
        pace, refusals = self.pace, self.refusals
        pace.refused_after(now - permit.started)
        pace.refused(now)
        finding = refusals.refused(permit.cohort, now)
        if not permit.cohort.tested:  # it was sent before the pace was lowered
            return False
        taken, seconds = refusals.taken_lately(now)
        known = taken >= _MEASURED and seconds >= _MEASURED_SECONDS
        if finding.beyond_chance or finding.nothing_taken or (finding.is_first and known):
            self._cut_pace(now, trial=not finding.beyond_chance)
            if finding.nothing_taken:
                pace.hold(now, retry_after, permit.started, provisional=True)
            return True
        if now < pace.free_at and refusals.all_refused():
            pace.hold(now, retry_after, permit.started, provisional=False)
        return False

    def _cut_pace(self, now: float, *, trial: bool) -> None:
        taken, seconds = self.refusals.taken_lately(now)
        measured = self.refusals.show_the_rate(now)
        self.refusals.begin_anew()
        self.pace.cut(now, max(taken, 1) / max(seconds, 1.0), trial=trial, measured=measured)

    def fail(self, permit: Permit) -> None:
        """Record that the call ended with an error that says nothing about how much the provider handles."""
        self.look_closely()
        self.failed += 1
        self.in_flight.remove(permit)

    def give_back(self, permit: Permit, now: float) -> None:
        """Take back the permit of a call that was not sent: a circuit below refused it."""
        self.look_closely()
        if permit.cohort.tested and permit.cohort.speed is not Speed.FREE:
            self.pace.not_sent(now)
        self.refusals.not_sent(permit.cohort)
        self.in_flight.remove(permit)

    def release(self, permit: Permit, now: float) -> None:
        """
        Record that the caller left.

        That is no failure, but the time that it had waited says something about the answers: if deadlines are short,
        nothing else shows that answers have become longer than that.
        """
        self.look_closely()
        if now - permit.started > self.latency.typical and not permit.usage.dropped:
            self._late(permit, now)
            if not permit.answered:
                self.stall.left(now - permit.started)
        self.left += 1
        self.in_flight.remove(permit)

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Remove the calls and the waiting callers of a closed loop, which will not end."""
        self.look_closely()
        self.in_flight.drop_closed_loop(usage)
        self.queue.drop_closed_loop(usage)

    # -- learning from calls without an answer

    def _look_for_overdue(self, now: float) -> None:
        """Learn from calls under way that are already slow: a provider that hangs gives no answers to measure."""
        slow_after = self.latency.slow_after
        self._look_at = now + _LOOK_SECONDS
        while (oldest := self.in_flight.oldest) is not None and now - oldest.started > slow_after:
            self.in_flight.is_overdue(oldest)
            self._late(oldest, now)

    def _late(self, permit: Permit, now: float) -> None:
        if self.in_flight.measure(permit):
            self.stall.overdue()
            self.latency.at_least(now - permit.started)
            if self.concurrency.learn(permit, answered=False, in_flight=self.in_flight.count):
                self.lowered = "slow answers"
