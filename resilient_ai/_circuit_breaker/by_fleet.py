"""
A circuit opened by a fleet's vote: which worker probes it, how calls come back, and how long the vote is followed.

    the fleet votes ──▶ held open ── any worker's probe is good ──▶ ramp ─ ≤ 3 s ─▶ closed
                          ▲   │ period over: one probe, by lot        │ the circuit's own rules
                          └───┘ it fails: another period              └──▶ open, as a circuit by itself
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER

if TYPE_CHECKING:
    from .tickets import Ticket

PERIOD = 0.5  # seconds until a probe: short, because the whole fleet makes only one
GROWS_AFTER = 20  # failed probes after which the periods double, up to the circuit's own
LEAST_SLOT = 0.1  # least seconds of a slot; in each slot about one worker of the fleet probes
AT_ONCE = 4  # probes in flight at a time, if an answer takes longer than a slot
GRACE = 2.0  # most seconds in which the worker whose probe failed leaves the next ones to other workers
RAMP, RAMP_FIRST = 2.0, 0.1  # most seconds of the ramp, and the share of calls let through at first
RAMP_ROUND, RAMP_GAIN = 0.1, 1.75  # least seconds between two changes of the share, and its growth by a good answer
RAMP_FAILING, RAMP_STEP = 3.0, 0.2  # after a failure: most seconds of the ramp, and what a good answer adds
RAMP_USUAL = 16  # one failure among so many calls changes nothing
RAMP_WAIT = 0.2  # most seconds that a refused caller waits during a ramp
DOUBTED = 600.0  # seconds in which votes are ignored after this worker's own calls contradicted one
_ENOUGH_TRIALS = 2
_LEAST_SECONDS = 0.05  # least seconds over which a call rate is computed


def period_after(probes: int, longest: float) -> float:
    """Seconds open after so many failed probes; `longest` is the circuit's own period."""
    return min(longest, PERIOD * 2.0 ** max(0, probes - GROWS_AFTER))


class Ramp:
    """
    Lets calls through gradually: a share of one worker's calls, beginning with a tenth.

    A good answer raises the share by three quarters, once in each round: its call must have been let through after the
    latest change, which must be at least 0.1 s ago. If good answers are rare or slow, the share reaches 1 with time,
    within 2 s. After a failure the share is a tenth again, for at most 3 s, and only good answers raise it, by a fifth
    each. One failure among sixteen calls changes nothing, so that a busy worker is not held up by usual errors. (Slow
    start and congestion avoidance, as in TCP: RFC 5681, section 3.1.)
    """

    __slots__ = ("_answers", "_began", "_changed", "_due", "_failed", "_failures", "_share", "ticket")

    def __init__(self, now: float, ticket: Ticket, roll: float) -> None:
        self._began = self._changed = now
        self._due = roll  # random, so that a tenth of all workers let their first call through
        self._share, self._failed = RAMP_FIRST, False
        self._answers = self._failures = 0
        self.ticket = ticket

    def left(self, now: float) -> float:
        """Most seconds until every call is let through."""
        if self._share >= 1:
            return 0.0
        return self._began + (RAMP_FAILING if self._failed else RAMP) - now

    def lets_through(self, now: float) -> bool:
        """Whether to let the next call through."""
        if not self._failed:
            over = max(0.0, now - self._began) / RAMP
            self._share = max(self._share, RAMP_FIRST + (1 - RAMP_FIRST) * over**2)
        self._due += self._share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    def answered(self, now: float, seconds: float) -> None:
        """Take in a good answer, after so many seconds, to a call that was let through."""
        self._answers += 1
        if now - seconds >= self._changed and now - self._changed >= RAMP_ROUND:
            self._share = self._share + RAMP_STEP if self._failed else self._share * RAMP_GAIN
            self._changed = now

    def failed(self, now: float) -> None:
        """Take in the failure of a call that was let through."""
        self._failures += 1
        if self._failures * RAMP_USUAL <= self._answers + self._failures:
            return
        self._answers = self._failures = 0
        self._share, self._failed, self._changed = RAMP_FIRST, True, now
        self._due = min(self._due, 0.0)


class ByFleet:
    """
    The fleet's part in the state of a circuit.

    The fleet's votes can delay a worker's calls for a bounded time only. A worker whose own calls did not fail tries
    one call every `longest` seconds, and ignores the fleet for ten minutes after two good answers.

    Attributes:
        holds: Whether the fleet holds the circuit open.
        alone: Whether the fleet held it open and then could no longer be reached: the circuit follows its own rules.
        ramp: Lets calls through gradually, after the fleet has closed it.
        probes: Probes that have failed since the fleet opened it.
        closed_at: When the fleet closed it; earlier outcomes no longer count as evidence.
        slot: Seconds after which it is worth asking again.
        next_trial: When this worker lets a call through although the fleet holds the circuit open.
        trial: Whether the probe in flight is such a call.
        verdict: The result of a probe, to be reported to the fleet.
        doubted_until: Until then votes of the fleet are ignored.
        vote: The workers that saw too many failures, and all that made calls, at the vote; None if unknown.
    """

    __slots__ = (
        "_asked_before",
        "_began",
        "_longest",
        "_others_from",
        "_trials",
        "alone",
        "closed_at",
        "doubted_until",
        "holds",
        "next_trial",
        "probes",
        "ramp",
        "slot",
        "trial",
        "verdict",
        "vote",
    )

    def __init__(self) -> None:
        self.holds = self.alone = self.trial = False
        self.ramp: Ramp | None = None
        self.verdict: str | None = None
        self.vote: tuple[int, int] | None = None
        self.probes = self._trials = self._asked_before = 0
        self.slot = LEAST_SLOT
        self._longest = self.next_trial = math.inf
        self._began = 0.0
        self.closed_at = self.doubted_until = self._others_from = NEVER

    def hold(self, now: float, longest: float, usual: float | None, asked: int, answered: float) -> None:
        """
        Hold the circuit open, because the fleet has voted so.

        Args:
            now: Monotonic seconds.
            longest: Seconds for which the fleet is followed without a failure of this worker's own calls.
            usual: Seconds that an answer usually takes; None if unknown.
            asked: Calls refused so far.
            answered: When the latest good answer came, in monotonic seconds.
        """
        self._longest = longest
        if self.next_trial == math.inf or answered > self.closed_at:  # there were good answers since it was last open
            self.believe(now)
        self.holds, self.alone, self.ramp, self.trial = True, False, None, False
        self.slot = max(LEAST_SLOT, (usual or 0.0) / AT_ONCE)
        self._began, self._asked_before = now, asked

    def let_go(self) -> None:
        """End the fleet's hold."""
        self.holds = self.alone = self.trial = False
        self.ramp = None
        self.probes = 0

    def believe(self, now: float) -> None:
        """Restart the time until a trial: this worker's own calls agree with the fleet, or none were delayed."""
        self._trials, self.next_trial = 0, now + self._longest

    def begins_trial(self, now: float) -> bool:
        """Whether it is time for a trial call; if so, the time until the next one starts."""
        if now < self.next_trial:
            return False
        self.next_trial = now + self._longest
        return True

    def trial_was_good(self, now: float) -> bool:
        """Take in a good trial; whether there were enough of them to ignore the fleet."""
        self._trials += 1
        if self._trials < _ENOUGH_TRIALS:
            return False
        self.doubted_until, self.verdict = now + DOUBTED, "doubted"
        return True

    def probe_failed(self, until: float) -> None:
        """Take in that this worker's probe has failed; another worker makes the next."""
        self.probes += 1
        self.verdict, self._others_from = "failed", until

    def wins(self, now: float, workers: int, asked: int, roll: float) -> bool:
        """
        Whether this call is the fleet's probe: about one in each slot, for any number of workers and calls.

        Args:
            now: Monotonic seconds.
            workers: Number of workers in the fleet.
            asked: Calls refused so far, including this one.
            roll: Random number in [0, 1).
        """
        if workers < 2:
            return True
        if now < self._others_from + min(GRACE, PERIOD * (workers - 1)):  # a turn for each other worker
            return False
        rate = (asked - self._asked_before) / max(_LEAST_SECONDS, now - self._began)
        return roll * workers * rate * self.slot < 1

    def goes_alone(self, period: float, roll: float) -> float:
        """
        Go on without the fleet, which cannot be reached.

        Returns:
            When the circuit's own period ends, in monotonic seconds; half of the workers wait for two periods.
        """
        self.holds, self.alone = False, True
        return self._began + period * (1 if roll < 0.5 else 2)

    def taken(self) -> str | None:
        """The verdict, which is returned only once; None without one."""
        verdict, self.verdict = self.verdict, None
        return verdict
