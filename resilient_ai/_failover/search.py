"""One call's search for an endpoint that answers: what was tried, what it means, and where to go next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._classification.paid_answers import answers_left, invalid_answers
from resilient_ai._classification.parameters import refuses_parameter
from resilient_ai._classification.unsent import unsent
from resilient_ai._classification.verdict import Verdict
from resilient_ai._core.errors import (
    AllEndpointsFailedError,
    CircuitOpenError,
    EndpointRestingError,
    ErrorType,
    LimitReachedError,
)
from resilient_ai._core.watch import watching

from .events import FailedOver
from .health import DENIED, LONG_REST, EndpointState, Ticket
from .health_check import watch_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient_ai._core.state_store import StateStore

    from .strategy import Among, Lane

Step = tuple["Lane", Ticket]


class Way(Enum):
    """Where a search goes on when it is not to another endpoint."""

    BACK = "to the caller, with the error as it is"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a search needs to know of its failover."""

    name: str
    function: str
    among: Among
    interval: float  # seconds of a first rest
    most: int  # endpoints asked in one call
    forgiving: bool  # whether one failure among many good answers is no reason to rest
    registry: StateStore
    may_press: Callable[[], bool]
    moved: Callable[[], None]
    failed: Callable[[], None]


class Search:
    """
    Begins where a first choice is not to be had or has failed.

    Every endpoint is asked once at most: the available ones as the strategy says, then, if none is left, those that
    rest, the one due soonest first.

    Args:
        rules: Of the failover.
        lanes: Its endpoints.
        once: Tells whether the call must not run twice: then it goes on only where the first endpoint proves that it
            did not process it. None: it may.
    """

    __slots__ = ("_answers", "_bug", "_failures", "_once", "_pressed", "_rules", "_suspects", "_untried", "tried")

    def __init__(self, rules: Rules, lanes: Sequence[Lane], *, once: Callable[[], bool] | None = None) -> None:
        self._rules = rules
        self._untried = list(lanes)
        self._once = once
        self._pressed = False
        self._failures: list[tuple[Lane, Exception, Verdict]] = []
        # Failed with an error that may as well be the function's own; held against them once another has answered.
        self._suspects: list[tuple[Lane, Ticket, Verdict]] = []
        self._bug: Exception | None = None  # of the program, or of a malformed answer: one other endpoint is asked
        self._answers = 0  # paid for, and of no use
        self.tried: tuple[str, ...] = ()

    def begin(self, now: float) -> Step:
        """The first endpoint; `AllEndpointsFailedError` when there is none."""
        step = self._available(now, None) or self._soonest(now)
        if step is None:
            raise self.all_failed(now)
        return step

    def adopt(self, lane: Lane) -> None:
        """Count a lane that was taken without asking."""
        self._untried.remove(lane)
        self.tried += (lane.name,)

    def spare(self, now: float) -> Step | None:
        """One more endpoint to ask beside the first; None when no other is available."""
        return self._available(now, None)

    def after(self, lane: Lane, ticket: Ticket, now: float, error: Exception) -> Step | Way | None:
        """
        Where to go after a failure.

        Returns:
            The next endpoint; `Way.BACK` when the error is to be raised, because no other endpoint could do better;
            None when none is left. Never the error: whoever kept it in a variable would be in its traceback.
        """
        step: Step | None = None
        try:
            verdict = self._verdict(lane, ticket, error)
            self._failures.append((lane, error, verdict))
            had_a_bug, answers = self._bug is not None, self._answers
            may_go_on = self._judge(lane, ticket, now, error, verdict)
            if had_a_bug or (self._answers > answers and self._answers >= answers_left.get()):
                return None
            if not may_go_on or (self._once is not None and self._once() and not unsent(error, verdict)):
                self.abandon()
                self._tell_watcher()
                self._failures.clear()  # as in `answered`
                return Way.BACK
            step = self._available(now, lane) or self._soonest(now)
            if step is not None:
                self._rules.moved()
                registry = self._rules.registry
                if registry.listening:
                    registry.emit(FailedOver(self._rules.name, lane.name, verdict.error_type.value, step[0].name))
        except BaseException:  # out of a function of the user's: nobody goes on with what is held
            if step is not None:
                step[0].handle.released(step[1])
            self.abandon()
            raise
        return step

    def broke(self, lane: Lane, ticket: Ticket, now: float, error: Exception) -> None:
        """A stream failed after its first item: nobody else can finish it."""
        verdict = self._verdict(lane, ticket, error)
        spared = ERROR_TYPES[verdict.error_type].endpoint == "spared"
        if spared or verdict.blame in ("request", "program") or not verdict.endpoint_fault:
            lane.handle.released(ticket)
        else:
            self._blame(lane, ticket, now, verdict)

    def commit(self, now: float, lane: Lane) -> None:
        """A stream's first item is out, or it was empty: from here on it is this endpoint's."""
        self.answered(now)
        self._tell_watcher(lane)

    def answered(self, now: float) -> None:
        """Another endpoint gave what the suspects did not: it was them."""
        try:
            while self._suspects:
                lane, ticket, verdict = self._suspects.pop()
                self._blame(lane, ticket, now, verdict)
        finally:
            self.abandon()  # the others, when a listener stopped us
        self._bug = None
        self._failures.clear()  # exceptions know the frames they passed through, and this one among them

    def abandon(self) -> None:
        """The call ends without an answer."""
        for lane, ticket, _ in self._suspects:
            lane.handle.released(ticket)
        self._suspects.clear()

    # -- inside

    def _verdict(self, lane: Lane, ticket: Ticket, error: Exception) -> Verdict:
        try:
            return classify(error)
        except BaseException:  # out of a classifier of the user's own: no news of the endpoint
            lane.handle.released(ticket)
            raise

    def _judge(self, lane: Lane, ticket: Ticket, now: float, error: Exception, verdict: Verdict) -> bool:
        """Tell the endpoint's health; False when no other endpoint could do better."""
        handle, row = lane.handle, ERROR_TYPES[verdict.error_type]
        if row.endpoint == "refused":
            # Refused on our side, without asking the provider. No rest while the circuit's probes are in flight.
            self._pressed = False
            probing = isinstance(error, CircuitOpenError) and error.reason == "half_open_full"
            handle.refused(ticket, now, None if probing else verdict.retry_after)
        elif isinstance(error, LimitReachedError):
            self._pressed = False
            handle.released(ticket)
        elif refuses_parameter(error, verdict):
            handle.released(ticket)
        elif not verdict.endpoint_fault:
            handle.released(ticket)
            return False
        elif (fits := _FITS.get(row.next_endpoint)) is not None:
            handle.released(ticket)
            self._untried = [each for each in self._untried if fits(each.endpoint, lane.endpoint)]
            return any(each.health.state is not EndpointState.MARKED_DOWN for each in self._untried)
        elif row.endpoint == "spared":
            self._answers += invalid_answers(error)
            handle.released(ticket)
        elif verdict.blame == "program":
            self._bug = self._bug or error
            self._suspects.append((lane, ticket, verdict))
        elif verdict.blame == "unknown" or row.doubtful:
            self._suspects.append((lane, ticket, verdict))
        else:
            self._blame(lane, ticket, now, verdict)
        return True

    def _blame(self, lane: Lane, ticket: Ticket, now: float, verdict: Verdict) -> None:
        lane.handle.failed(ticket, now, verdict, interval=self._rules.interval, forgiving=self._rules.forgiving)
        self._watch(lane)

    def _tell_watcher(self, answered: Lane | None = None) -> None:
        if (seen := watching()) is not None:
            seen.endpoint = answered.name if answered is not None else seen.endpoint
            seen.endpoints_tried += self.tried

    def _watch(self, lane: Lane) -> None:
        if lane.check is not None:
            watch_over(lane, self._rules.interval, self._rules.registry)

    def _available(self, now: float, failed: Lane | None) -> Step | None:
        if len(self.tried) >= self._rules.most:
            return None
        ready = []
        for lane in self._untried:
            if lane.available(now):
                ready.append(lane)
            else:
                self._watch(lane)
        while ready:
            lane = self._rules.among(ready, now, failed)
            if (ticket := lane.admit(now)) is not None:
                self.adopt(lane)
                return lane, ticket
            ready.remove(lane)  # another thread was faster
        return None

    def _soonest(self, now: float) -> Step | None:
        """
        A resting endpoint, when there is no better one: the one that is due soonest.

        The first of a call is free, further ones are paid for by good answers: where all endpoints fail now and
        then, somebody always answers; where all are down, none is pressed by more than the calls there are.
        """
        if len(self.tried) >= self._rules.most:
            return None
        for lane in sorted(self._untried, key=lambda lane: lane.health.due):
            if lane.health.state is EndpointState.MARKED_DOWN:
                continue
            if self.tried and lane.health.last_error_type in DENIED:
                continue  # somebody has to act first
            if self._pressed and not self._rules.may_press():
                return None
            if (ticket := lane.handle.admit(now, forced=True)) is not None:
                self._pressed = True
                self.adopt(lane)
                return lane, ticket
        return None

    def all_failed(self, now: float) -> Exception:
        """What to raise when no endpoint is left."""
        self.abandon()
        self._tell_watcher()
        self._rules.failed()
        failures, self._failures = self._failures, []  # as in `answered`
        bug, self._bug = self._bug, None
        if bug is not None:
            return bug
        # An endpoint that cannot take a parameter says nothing about the others, so what happened to those decides.
        decisive = [each for each in failures if not refuses_parameter(each[1], each[2])]
        if decisive and all(verdict.blame == "unknown" for _, _, verdict in decisive):
            error = decisive[-1][1]
            error.add_note(f"resilient_ai: asked {', '.join(self.tried)}; each raised an error that nothing recognises")
            return error
        errors: dict[str, BaseException] = {lane.name: error for lane, error, _ in failures}
        types = {lane.name: verdict.error_type for lane, _, verdict in failures}
        hopes = [_hope(error, verdict) for _, error, verdict in reversed(decisive)]
        for lane in self._untried:
            if (resting := _resting(lane, now)) is not None:
                errors[lane.name], types[lane.name] = resting, resting.error_type
                hopes.append(_hope(resting, classify(resting)))
        if failures and not hopes:
            return failures[0][1]  # no endpoint takes the parameter: the caller's own mistake, as it is
        best = min(hopes, key=lambda hope: hope.order, default=_Hope(math.inf, None, ErrorType.MODEL_OVERLOADED))
        failed = AllEndpointsFailedError(
            self._rules.function, errors, error_types=types, error_type=best.error_type, retry_after=best.retry_after
        )
        failed.__cause__ = decisive[-1][1] if decisive else None
        return failed


PROBES_ANSWER_WITHIN = 0.25  # seconds, a guess: a half-open circuit whose probes are all in flight cannot know


class _Hope(NamedTuple):
    """What one endpoint's failure says about asking again: how soon, and what to call it meanwhile."""

    order: float
    retry_after: float | None
    error_type: ErrorType


def _hope(error: BaseException, verdict: Verdict) -> _Hope:
    kind, wait = verdict.error_type, verdict.retry_after
    if isinstance(error, CircuitOpenError):
        if error.reason == "half_open_full":
            wait = PROBES_ANSWER_WITHIN
        elif wait is None:  # an operator forced it open
            return _Hope(math.inf, None, kind)
    elif isinstance(error, EndpointRestingError) and error.marked_down:
        return _Hope(math.inf, None, kind)
    if not verdict.retryable:
        return _Hope(LONG_REST + (wait or 0.0), wait, kind)
    return _Hope(wait or 0.0, wait, kind)


@dataclass(slots=True)
class Answer:
    """What an endpoint gave; its ticket is still to be handed in."""

    value: Any
    lane: Lane
    ticket: Ticket
    started: float
    hedged: bool = False


async def in_turn(
    search: Search, step: Step | None, attempt: Callable[[Lane], Awaitable[Any]], now: Callable[[], float]
) -> Answer:
    """
    Ask one endpoint after the other until one answers.

    Raises:
        AllEndpointsFailedError: None is left.
        Exception: The caller's own mistake, as it is.
    """
    while step is not None:
        lane, ticket = step
        started = now()
        try:
            return Answer(await attempt(lane), lane, ticket, started)
        except Exception as error:
            after = search.after(lane, ticket, now(), error)
            if after is Way.BACK:
                raise
            step = after
        except BaseException:
            lane.handle.released(ticket)
            search.abandon()
            raise
    raise search.all_failed(now())


def _resting(lane: Lane, now: float) -> EndpointRestingError | None:
    health = lane.health
    if health.state is EndpointState.MARKED_DOWN:
        return EndpointRestingError(lane.name, error_type=health.last_error_type, marked_down=True)
    if health.state is EndpointState.RESTING:
        rest = health.resting_for(now)
        return EndpointRestingError(lane.name, error_type=health.last_error_type, retry_after=rest)
    return None


def _may_hold_more(other: object, than: object) -> bool:
    mine, theirs = getattr(than, "context_window", None), getattr(other, "context_window", None)
    if mine is not None and theirs is not None:
        return bool(theirs > mine)
    return _other_model(other, than)


def _other_model(other: object, than: object) -> bool:
    """Whether two endpoints are known to differ in model or provider."""
    pairs = [(getattr(than, name, None), getattr(other, name, None)) for name in ("model", "provider")]
    return any(mine is not None and theirs is not None and theirs != mine for mine, theirs in pairs)


# Which of the other endpoints may do better, where not any other may.
_FITS: dict[str, Callable[[object, object], bool]] = {
    "larger context": _may_hold_more,
    "other model": _other_model,
}
