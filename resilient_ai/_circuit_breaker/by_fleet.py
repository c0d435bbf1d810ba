"""
A circuit that other workers have opened too: who probes it, how calls come back, and how long the fleet is believed.

    the fleet votes ──▶ held open ── a probe of anybody is good ──▶ ramp ─ ≤ 3 s ─▶ closed
                          ▲   │ period over: one probe, by lot        │ the circuit's own rules
                          └───┘ it fails: another period              └──▶ open, as a circuit by itself
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER

if TYPE_CHECKING:
    from .tickets import Ticket

PERIOD = 0.5  # seconds until a probe: short, since the whole fleet spends one on it
GROWS_AFTER = 20  # failed probes from which on the periods double, up to the circuit's own
LEAST_SLOT = 0.1  # seconds; in each slot about one worker of the fleet probes
AT_ONCE = 4  # probes that are under way where answers take longer than that
GRACE = 2.0  # seconds for which whoever made the failed probe leaves the next one to others
RAMP, RAMP_FIRST = 2.0, 0.1  # seconds until all calls are let through again, and the share that is at first
RAMP_ROUND, RAMP_GAIN = 0.1, 1.75  # seconds between two changes of the share, and its growth by a round's good answer
RAMP_FAILING, RAMP_STEP = 3.0, 0.2  # the same after a failure: seconds, and what a good answer adds to the share
RAMP_USUAL = 16  # calls of which one may fail and nothing changes
RAMP_WAIT = 0.2  # seconds that a refused caller waits at most while calls come back
DOUBTED = 600.0  # seconds for which a fleet is not believed once own calls have shown otherwise
_ENOUGH_TRIALS = 2
_LEAST_SECONDS = 0.05  # a rate of calls is not read from less


def period_after(probes: int, longest: float) -> float:
    """Seconds open after so many failed probes; `longest` is the circuit's own period."""
    return min(longest, PERIOD * 2.0 ** max(0, probes - GROWS_AFTER))


class Ramp:
    """
    Lets calls through again little by little: a share of one worker's arrivals, which begins at a tenth.

    Good answers raise it by three quarters, once in each round: an answer counts when its call was let through after
    the latest change, and 0.1 s later at the earliest. Where good answers are rare or slow, time raises the share to
    all within 2 s. After a failure it is a tenth again, for 3 s at most, and only good answers raise it, a fifth each;
    one failure among sixteen calls says nothing, so that a busy worker is not held up by errors that are usual.
    (Slow start and congestion avoidance, as TCP has them: RFC 5681, section 3.1.)
    """

    __slots__ = ("_answers", "_began", "_changed", "_due", "_failed", "_failures", "_share", "ticket")

    def __init__(self, now: float, ticket: Ticket, roll: float) -> None:
        self._began = self._changed = now
        self._due = roll  # of all workers, one tenth lets its first call through
        self._share, self._failed = RAMP_FIRST, False
        self._answers = self._failures = 0
        self.ticket = ticket

    def left(self, now: float) -> float:
        """Seconds until every call is let through, at most."""
        if self._share >= 1:
            return 0.0
        return self._began + (RAMP_FAILING if self._failed else RAMP) - now

    def lets_through(self, now: float) -> bool:
        """Whether the next call may go."""
        if not self._failed:
            over = max(0.0, now - self._began) / RAMP
            self._share = max(self._share, RAMP_FIRST + (1 - RAMP_FIRST) * over**2)
        self._due += self._share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    def answered(self, now: float, seconds: float) -> None:
        """A call that was let through gave a good answer after so many seconds."""
        self._answers += 1
        if now - seconds >= self._changed and now - self._changed >= RAMP_ROUND:
            self._share = self._share + RAMP_STEP if self._failed else self._share * RAMP_GAIN
            self._changed = now

    def failed(self, now: float) -> None:
        """A call that was let through has failed."""
        self._failures += 1
        if self._failures * RAMP_USUAL <= self._answers + self._failures:
            return
        self._answers = self._failures = 0
        self._share, self._failed, self._changed = RAMP_FIRST, True, now
        self._due = min(self._due, 0.0)


class ByFleet:
    """
    What the fleet has a circuit do.

    Whatever it says can delay a worker's calls for so long and no longer: a worker whose own calls tell nothing else
    tries one each `longest` seconds, and after two good ones goes by itself for ten minutes.

    Attributes:
        holds: Whether the fleet holds the circuit open.
        alone: Whether it did, and the worker has lost the fleet: the circuit goes on by itself.
        ramp: Lets calls through little by little, after the fleet has closed it.
        probes: Probes that have failed since the fleet opened it.
        closed_at: When the fleet closed it; what was counted before says nothing any more.
        slot: Seconds after which it is worth asking again.
        next_trial: When a call of this worker's own is let through, whatever the fleet says.
        trial: Whether the probe under way is one that the fleet did not ask for.
        verdict: What a probe has shown, for whoever tells the fleet.
        doubted_until: Up to here the fleet is not believed.
        vote: Workers that saw too many failures, and all that called, when it was opened; None where nobody has said.
    """

    __slots__ = (
        "_asked_before",
        "_began",
        "_longest",
        "_mine_until",
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
        self.closed_at = self.doubted_until = self._mine_until = NEVER

    def hold(self, now: float, longest: float, usual: float | None, asked: int, answered: float) -> None:
        """
        The fleet opens it.

        Args:
            now: Monotonic seconds.
            longest: Seconds for which the fleet is believed without a failure of one's own.
            usual: Seconds that an answer usually takes; None where that is not known.
            asked: Calls refused so far.
            answered: When the latest good answer came.
        """
        self._longest = longest
        if self.next_trial == math.inf or answered > self.closed_at:  # calls got through since it was open last
            self.believe(now)
        self.holds, self.alone, self.ramp, self.trial = True, False, None, False
        self.slot = max(LEAST_SLOT, (usual or 0.0) / AT_ONCE)
        self._began, self._asked_before = now, asked

    def let_go(self) -> None:
        """It is not the fleet's any more."""
        self.holds = self.alone = self.trial = False
        self.ramp = None
        self.probes = 0

    def believe(self, now: float) -> None:
        """What this worker sees itself agrees with the fleet, or nothing was held up."""
        self._trials, self.next_trial = 0, now + self._longest

    def begins_trial(self, now: float) -> bool:
        """Whether it is time for one."""
        if now < self.next_trial:
            return False
        self.next_trial = now + self._longest
        return True

    def trial_was_good(self, now: float) -> bool:
        """Whether that is enough to go without the fleet."""
        self._trials += 1
        if self._trials < _ENOUGH_TRIALS:
            return False
        self.doubted_until, self.verdict = now + DOUBTED, "doubted"
        return True

    def probe_failed(self, until: float) -> None:
        """This worker's probe has failed; another one makes the next."""
        self.probes += 1
        self.verdict, self._mine_until = "failed", until + GRACE

    def wins(self, now: float, workers: int, asked: int, roll: float) -> bool:
        """
        Whether this call is the fleet's probe: about one in each slot, however many workers and calls there are.

        Args:
            now: Monotonic seconds.
            workers: In the fleet.
            asked: Calls refused so far, this one included.
            roll: By chance, in [0, 1).
        """
        if workers < 2:
            return True
        if now < self._mine_until:
            return False
        rate = (asked - self._asked_before) / max(_LEAST_SECONDS, now - self._began)
        return roll * workers * rate * self.slot < 1

    def goes_alone(self, period: float, roll: float) -> float:
        """The fleet is lost: until when the circuit stays open by itself; half of the workers skip a turn."""
        self.holds, self.alone = False, True
        return self._began + period * (1 if roll < 0.5 else 2)

    def taken(self) -> str | None:
        """The verdict, once."""
        verdict, self.verdict = self.verdict, None
        return verdict
