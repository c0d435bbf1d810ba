"""
An endpoint's health: a state machine without clock, lock, logger or task.

    up ──── a failure ───▶ resting ──── rest over, one trial call is good ───▶ returning ───▶ up
                              ▲           │                                       │
                              └── longer ─┴────────────── a failure ──────────────┘

Every call holds a ticket of one generation. Each rest and each comeback starts a new generation; results of older ones
are ignored. A call may be forced on a resting endpoint if there is no better one; its good answer ends the rest too.
"""

from __future__ import annotations

import math
from collections import Counter, deque

from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.clock import NEVER
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.imports import met_an_import
from resilient_ai._core.quantiles import quantile

from .endpoint_state import EndpointState
from .stall import AVOIDED, LONG, Stall
from .ticket import InFlight, Ticket

# The provider refuses the credential or the account: asking again soon cannot help; a person has to act.
DENIED = frozenset(kind for kind, row in ERROR_TYPES.items() if row.endpoint == "denied")

# Errors that a healthy endpoint has occasionally. Timeouts are not among them: a second one would cost too much time.
PASSING = frozenset(kind for kind, row in ERROR_TYPES.items() if row.endpoint == "passing")
GOOD_RUN = 20  # good answers since the last failure, after which one of these errors starts no rest

_NO_NEWS = 0.1  # a rest from another process that ends at most so many seconds later is the same news
LONG_REST = 600.0
LONGEST_REST = 3600.0
LEAST_REST = 0.1  # so that after "retry-after: 0" the next call does not go to the endpoint that has just failed
TRIAL_LEASE = 60.0  # seconds after which a trial call that has not ended no longer blocks others
ENOUGH_ROOM = 8  # calls at a time from which on a returning endpoint is up, if at most half of them are in use
FULL_ROOM = 64  # calls at a time from which on it is up in any case
SAMPLES = 200
HALF_LIFE = 10.0  # seconds in which the weight of an unused endpoint's latency halves
NEEDED = 1.5  # average answer times that a hedge needs to be likely to come in time


class EndpointHealth:
    """The health of one endpoint. All times are seconds of one monotonic clock."""

    __slots__ = (
        "_averaged",
        "_good_before",
        "_held",
        "_latency",
        "_trial_since",
        "_up_since",
        "due",
        "errors",
        "failures",
        "flights",
        "generation",
        "heard_until",
        "last_error_type",
        "lost",
        "ok",
        "open_ticket",
        "rest",
        "room",
        "samples",
        "stall",
        "state",
        "strikes",
        "trial_decides",
    )

    def __init__(self) -> None:
        self.generation = 0
        self.flights = InFlight()
        self.ok = 0
        self.clear(0.0)

    def clear(self, now: float) -> int:
        """
        Set it up, with all numbers at zero; the results of calls in flight are ignored.

        Returns:
            Good answers so far, read and set to zero in one step: the fast path adds to them without a lock.
        """
        ok, self.ok = self.ok, 0
        self.failures = 0
        self.errors: Counter[str] = Counter()  # failures by error type
        self.last_error_type: ErrorType | None = None
        self.lost = 0
        self._good_before = 0  # answers before the last failure
        self.samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)  # begin and end of the latest answers
        self._latency: float | None = None
        self.stall = Stall()
        self._averaged = 0
        self.due = now
        self.heard_until = NEVER  # the end of a rest that another process reported
        self.rest = 0.0
        self._open(now)
        return ok

    def _open(self, now: float) -> None:
        self.generation += 1
        self.state = EndpointState.UP
        self.strikes = 0
        self.room = 0
        self.trial_decides = False
        self._held = 0
        self._trial_since = now
        self._up_since = now
        # The ticket that all calls share while the endpoint is up; read without a lock.
        self.open_ticket: Ticket | None = Ticket(self.generation, self.flights)

    # -- reading

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return self.flights.count

    def available(self, now: float, *, trial: bool = True) -> bool:
        """
        Whether a call may go there in normal operation.

        Args:
            now: Monotonic seconds.
            trial: Whether a trial call is allowed after a rest; False if a health check has to pass first. A check
                that could not tell allows the trial call anyway.
        """
        if self.open_ticket is not None:
            return True
        if self.state is EndpointState.RESTING:
            trial = trial or self.trial_decides
            return trial and now >= self.due and (self._held == 0 or now >= self._trial_since + TRIAL_LEASE)
        return self.state is EndpointState.RETURNING and self._held < self.room

    def resting_for(self, now: float) -> float:
        """Seconds until a trial; 0.0 if it does not rest."""
        return max(0.0, self.due - now) if self.state is EndpointState.RESTING else 0.0

    def denied_within(self, seconds: float, now: float) -> bool:
        """Whether the provider refused our credential or account so many seconds ago or less."""
        return self.last_error_type in DENIED and now - (self.due - self.rest) < seconds

    def score(self, now: float) -> float:
        """Expected seconds of a call, roughly; an old measurement fades, so that the endpoint is tried again."""
        latency = self.latency()
        if self.stall.in_vain and self.stalled and (self.in_flight or self.stall.is_avoided(now)):
            return math.inf if latency is None else latency * AVOIDED * (self.in_flight + 1)
        if latency is None:
            return float(self.in_flight)  # no measurement yet: send one call to find out, not many at once
        faded = 1.0 if (in_flight := self.flights.count) else 0.5 ** (max(0.0, now - self.samples[-1][1]) / HALF_LIFE)
        return latency * faded * (in_flight + 1)

    @property
    def stalled(self) -> bool:
        """Whether calls were left in vain and none has been answered since: it may hang."""
        return self.stall.is_on(self.ok)

    def hangs(self, call: object, began: float, now: float) -> bool:
        """Whether it answers nobody: callers left in vain, or too many wait for too long, among them this call."""
        return self.stall.is_shown_by(call, began, self.samples.copy(), self.ok, now)

    def latency(self) -> float | None:
        """Moving average of the answers' seconds; None without any."""
        # Computed on demand: most strategies never ask, and a good call should not pay for it.
        answers = self.ok + self.lost
        new, self._averaged = min(answers - self._averaged, len(self.samples)), answers
        for place in range(-new, 0):
            began, ended = self.samples[place]
            if not met_an_import(began, ended):
                seconds, before = ended - began, self._latency
                self._latency = seconds if before is None else before + 0.1 * (seconds - before)
        return self._latency

    def answers_within(self, seconds: float) -> bool:
        """Whether a call is likely to be answered within so many seconds; True if there was no answer so far."""
        average = self.latency()
        return average is None or NEEDED * average <= seconds

    def quantile(self, share: float) -> float | None:
        """
        The latency that this share of the last 200 answers did not exceed; None without answers.

        Answers that had to wait for an SDK to be imported are left out.
        """
        samples = [(began, ended) for began, ended in self.samples.copy() if not met_an_import(began, ended)]
        return quantile((ended - began for began, ended in samples), share)

    # -- calls

    def admit(self, now: float, *, trial: bool = True, forced: bool = False) -> Ticket | None:
        """A ticket for one call; None if the endpoint is not available and the call is not `forced`."""
        if self.open_ticket is not None:
            self.flights.count += 1
            return self.open_ticket
        if self.available(now, trial=trial):
            if self.state is EndpointState.RESTING:
                if self._held:  # the lease of a trial call is over
                    self.generation += 1
                    self._held = 0
                self._trial_since = now
            self._held += 1
            self.flights.count += 1
            return Ticket(self.generation, self.flights, limited=True)
        if forced and self.state is not EndpointState.MARKED_DOWN:
            self.flights.count += 1
            return Ticket(self.generation, self.flights)
        return None

    def succeed(self, ticket: Ticket, now: float, seconds: float) -> bool:
        """Take in a good answer; True if it brought the endpoint back up."""
        quiet = now - self.samples[-1][1] if self.samples else 0.0
        self.stall.answered(now - seconds, quiet, self.in_flight, self._latency)
        self.ok += 1
        self.samples.append((now - seconds, now))
        if not self._hand_in(ticket):
            return False
        if self.state is EndpointState.RESTING:
            self._return(now, room=2)
            return True
        if self.state is EndpointState.RETURNING:
            self.room += 1
            if self.room >= FULL_ROOM or (self.room >= ENOUGH_ROOM and self._held <= self.room // 2):
                strikes, since = self.strikes, self._up_since
                self._open(now)
                self.strikes, self._up_since = strikes, since
        return False

    def fail(
        self,
        ticket: Ticket,
        now: float,
        error_type: ErrorType,
        *,
        interval: float,
        hint: float | None = None,
        roll: float = 0.0,
        forgiving: bool = False,
    ) -> float | None:
        """
        Take in a failure for which the endpoint is to blame.

        Args:
            ticket: The ticket of the call.
            now: Monotonic seconds.
            error_type: Type of the error.
            interval: Seconds of a first rest if the provider names no wait.
            hint: Seconds that the provider asked to wait; None if it did not.
            roll: Random number in [0, 1); shortens a repeated rest by up to a tenth, so that the processes of a
                fleet do not ask again at the same time.
            forgiving: Whether one failure after at least 20 good answers starts no rest: at a thousand calls a
                minute, an endpoint that fails one in a hundred would otherwise rest nearly always.

        Returns:
            Seconds of the rest that begins; None if none does.
        """
        self.failures += 1
        self.errors[error_type.value] += 1
        good_run, self._good_before = self.ok - self._good_before, self.ok
        if not self._hand_in(ticket):
            if self.state is EndpointState.RESTING and hint is not None:
                self.due = max(self.due, now + hint)
            return None
        if (
            forgiving
            and self.open_ticket is not None
            and good_run >= GOOD_RUN
            and hint is None
            and error_type in PASSING
        ):
            return None
        self.last_error_type = error_type
        if self.state is EndpointState.RESTING and not ticket.limited:
            # A forced call failed: the endpoint still needs its rest. The next forced call goes elsewhere.
            wait = self.rest if hint is None else hint
            self.due = max(self.due, now + (max(wait, self.rest) if error_type in DENIED else wait))
            return None
        healthy = now - self._up_since if self.state is not EndpointState.RESTING else 0.0
        forgiven = int(healthy / interval) if interval > 0 else self.strikes
        self.strikes = max(0, self.strikes - forgiven) + 1
        first = interval if hint is None else hint
        if error_type in DENIED:
            first = max(first, LONG_REST)
        rest = first
        if self.strikes > 1:
            longest = max(first, min(LONGEST_REST, 10 * max(interval, first)))
            rest = min(longest, first * 2.0 ** min(self.strikes - 1, 30)) * (1 - 0.1 * roll)
        self._begin_rest(now, max(LEAST_REST, first, rest))
        return self.rest

    def refuse(self, ticket: Ticket, now: float, wait: float | None) -> None:
        """
        Take in that our own side refused the call, for example a circuit; the endpoint is not to blame.

        Args:
            ticket: The ticket of the call.
            now: Monotonic seconds.
            wait: Seconds for which it will go on refusing; None if that is not known.
        """
        if self._hand_in(ticket) and wait is not None:
            if self.state is EndpointState.RESTING:
                self.due = max(self.due, now + wait)
            else:
                self.last_error_type = ErrorType.CIRCUIT_OPEN
                self._begin_rest(now, max(LEAST_REST, wait))

    def release(self, ticket: Ticket) -> None:
        """Take back the ticket of a call that says nothing about the endpoint: cancelled, or the caller's mistake."""
        self._hand_in(ticket)

    def leave(self, ticket: Ticket, now: float, seconds: float, winner: float = 0.0) -> bool:
        """
        Take in that the caller left without an answer; whether it left after a long time in which nobody got one.

        Args:
            ticket: The call's.
            now: The time.
            seconds: How long it was in flight.
            winner: How many seconds an endpoint took that was faster. Where nobody ever got an answer here, no other
                time is known to be long, and the endpoint may not get call after call for that.
        """
        self._hand_in(ticket)
        average = self.latency()
        is_long = seconds >= LONG * (winner if average is None else average)
        if in_vain := is_long and (not self.samples or self.samples[-1][1] <= now - seconds):
            self.stall.left_in_vain(now, self.ok)
        return in_vain

    def lose(self, ticket: Ticket, now: float, seconds: float, winner: float) -> None:
        """
        Take in a call cancelled because another endpoint was faster: its answer takes at least so many seconds.

        Args:
            ticket: The call's.
            now: The time.
            seconds: How long it was in flight.
            winner: How many seconds the faster answer took. An endpoint that has never answered is not slow because it
                was asked later than the winner.
        """
        average, in_vain = self.latency(), self.leave(ticket, now, seconds, winner)
        if (in_vain and average is not None) or seconds < (winner if average is None else average):
            return  # it hangs, or it was cancelled too early to call the endpoint slow
        self.lost += 1
        self.samples.append((now - seconds, now))

    def checked(self, now: float) -> bool:
        """Take in a health check that passed, and let one call through; True if that ended a rest."""
        if self.state is not EndpointState.RESTING:
            return False
        self._return(now, room=1)
        return True

    def check_failed(self, now: float, interval: float) -> None:
        """Take in a health check that failed: check again after the interval, or after a long rest if we are denied."""
        if self.state is EndpointState.RESTING:
            rest = LONG_REST if self.last_error_type in DENIED else interval
            self.due = max(self.due, now + max(LEAST_REST, rest))

    def check_cannot_tell(self) -> None:
        """Take in a health check that cannot tell: a trial call decides, as without a check."""
        self.trial_decides = self.state is EndpointState.RESTING

    def forget_calls(self) -> None:
        """
        Count calls in flight from zero again: an event loop was closed, possibly with calls in flight.

        Calls are not counted per loop, because that would cost every call. So the present calls of live loops are no
        longer counted as in flight either; their results still count.
        """
        self.flights = InFlight()
        self._held = 0
        if self.open_ticket is not None:
            self.open_ticket = Ticket(self.generation, self.flights)

    # -- the operator

    def hear(self, now: float, error_type: ErrorType | None, wait: float) -> bool:
        """
        Rest because another process reports a failure, without a strike; or come back because it reports an answer.

        Args:
            now: Monotonic seconds.
            error_type: The failure; None: the endpoint answered again.
            wait: Seconds to rest.

        Returns:
            Whether that changed anything. An operator's mark and a longer rest of this process take precedence.
        """
        if error_type is None:
            heard, self.heard_until = self.heard_until, NEVER
            if self.state is not EndpointState.RESTING or self.due != heard:
                return False
            self.due = now
            return True
        if self.state is EndpointState.MARKED_DOWN:
            return False
        if self.state is EndpointState.RESTING:
            if self.due >= now + wait - _NO_NEWS:
                return False
            self.due = now + wait
        else:
            self._begin_rest(now, wait)
        self.last_error_type, self.heard_until = error_type, self.due
        return True

    def mark_down(self) -> bool:
        """Send nothing there until `mark_up`; False if it was marked down already."""
        if self.state is EndpointState.MARKED_DOWN:
            return False
        self.generation += 1
        self.state = EndpointState.MARKED_DOWN
        self.open_ticket = None
        return True

    def mark_up(self, now: float) -> bool:
        """Set it up at once, from any state; False if it was up already."""
        if self.state is EndpointState.UP:
            return False
        self._open(now)
        return True

    # -- inside

    def _hand_in(self, ticket: Ticket) -> bool:
        """Take the ticket back; False if it is of an earlier generation."""
        ticket.flights.count -= 1
        if ticket.generation != self.generation:
            return False
        if ticket.limited and ticket.flights is self.flights:
            self._held -= 1
        return True

    def _begin_rest(self, now: float, rest: float) -> None:
        self.generation += 1
        self.state = EndpointState.RESTING
        self.open_ticket = None
        self.trial_decides = False
        self._held = 0
        self.rest = rest
        self.due = now + rest

    def _return(self, now: float, room: int) -> None:
        self.generation += 1
        self.state = EndpointState.RETURNING
        self.room = room
        self._held = 0
        self._up_since = now
