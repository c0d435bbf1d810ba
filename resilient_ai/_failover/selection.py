"""The selection of endpoints for one call: which to ask, what a failure means, and which to ask next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._classification.paid_answers import answers_left, invalid_answers
from resilient_ai._classification.parameters import refuses_parameter
from resilient_ai._classification.probes import probes_in_flight
from resilient_ai._classification.unsent import unsent
from resilient_ai._core.call_facts import watching
from resilient_ai._core.errors import CircuitOpenError, LimitReachedError, rejections
from resilient_ai._core.streams import dispose_rejected

from .endpoint_state import EndpointState
from .events import FailedOver
from .exhaustion import Failure, all_failed
from .health_check import watch_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.state_store import StateStore

    from .candidate import Candidate
    from .state import FailoverState
    from .strategy import Chooser
    from .ticket import Ticket

Admission = tuple["Candidate", "Ticket"]  # an endpoint, and its permission for one call


class _After(Enum):
    RAISE = "the error goes to the caller unchanged"


RAISE: Final = _After.RAISE


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """
    The settings and state of a failover that a selection needs.

    Attributes:
        failover: Counts, and pays for forced calls.
        function: The decorated function.
        chooser: The strategy.
        interval: Seconds of a first rest.
        most: Most endpoints asked in one call.
        forgiving: Whether one failure among many good answers starts no rest.
        registry: The registry, for events and health checks.
    """

    failover: FailoverState
    function: str
    chooser: Chooser
    interval: float
    most: int
    forgiving: bool
    registry: StateStore


class SelectedCall(Protocol):
    """What a selection needs to know about its call."""

    def must_not_repeat(self) -> bool:
        """Whether the call must not run twice: it moves on only if the error proves that it was not processed."""
        ...

    def used_up(self) -> str | None:
        """Why the call cannot be repeated, in words (an argument that can be read only once); None if it can."""
        ...

    def is_own_error(self, error: Exception) -> bool:
        """Whether an error comes from a function in the user's settings, and tells nothing about an endpoint."""
        ...

    def was_left(self, error: Exception) -> bool:
        """Whether the error means that an endpoint was left while the caller's deadline allowed asking another one."""
        ...


class EndpointSelection:
    """
    Selects the endpoints of a call whose first choice was not available, or has failed.

    Every endpoint is asked at most once: first the available ones, as the strategy says; if none is left, the resting
    ones, the one due soonest first.

    Attributes:
        tried: Names of the endpoints that were asked, in order.
    """

    __slots__ = ("_answers", "_bug", "_call", "_failures", "_forced", "_rules", "_suspects", "_untried", "tried")

    def __init__(self, rules: SelectionRules, candidates: Sequence[Candidate], call: SelectedCall) -> None:
        self._rules = rules
        self._untried = list(candidates)
        self._call = call
        self._forced = False  # a resting endpoint has been asked: the next one must be paid for with a token
        self._failures: list[Failure] = []
        # Endpoints whose error may be the function's own fault; they are blamed if another endpoint answers.
        self._suspects: list[tuple[Candidate, Ticket, Verdict, float]] = []
        self._bug: Exception | None = None  # a bug, or a malformed answer: one other endpoint is asked
        self._answers = 0  # answers that were paid for and did not fit
        self.tried: tuple[str, ...] = ()

    def begin(self, now: float) -> Admission:
        """The first endpoint; raises `AllEndpointsFailedError` if there is none."""
        admission = self._available(now, None) or self._soonest(now)
        if admission is None:
            raise self.all_failed(now)
        return admission

    def mark_tried(self, candidate: Candidate) -> None:
        """Note a candidate that was chosen without the selection."""
        self._untried.remove(candidate)
        self.tried += (candidate.name,)

    def another(self, now: float, left: float) -> Admission | None:
        """One more endpoint to ask alongside the first; None if no other is likely to answer within `left` seconds."""
        return self._available(now, None, left)

    def after(
        self, candidate: Candidate, ticket: Ticket, started: float, now: float, error: Exception
    ) -> Admission | Literal[_After.RAISE] | None:
        """
        Where to go after a failure.

        Returns:
            The next endpoint; `RAISE` if no other endpoint could do better; None if none is left. Never the
            error itself: error -> traceback -> frame -> error would be a reference cycle.
        """
        admission: Admission | None = None
        try:
            if self._call.is_own_error(error):
                candidate.shared.released(ticket)
                return self._end_here()
            verdict = self._verdict(candidate, ticket, error)
            self._failures.append((candidate, error, verdict))
            if not _refused(error):
                self._rules.failover.attempt_lost()
            had_a_bug, answers = self._bug is not None, self._answers
            may_go_on = self._judge(candidate, ticket, started, now, error, verdict)
            if had_a_bug or (self._answers > answers and self._answers >= answers_left.get()):
                return None
            if not may_go_on or (self._call.must_not_repeat() and not unsent(error, verdict)):
                return self._end_here()
            # A call that our own side refused has not used up its arguments.
            if not _refused(error) and (used_up := self._call.used_up()) is not None:
                error.add_note(f"resilient_ai: no other endpoint was asked, because {used_up}")
                return self._end_here()
            admission = self._available(now, candidate) or self._soonest(now)
            if admission is not None:
                self._moved(candidate, verdict, admission[0], now - started)
        except BaseException:  # from a function of the user: give back what is held
            if admission is not None:
                admission[0].shared.released(admission[1])
            self.abandon()
            raise
        return admission

    def _end_here(self) -> Literal[_After.RAISE]:
        self.abandon()
        self._tell_watcher()
        self._failures.clear()  # as in `answered`
        return RAISE

    def _moved(self, candidate: Candidate, verdict: Verdict, to: Candidate, seconds: float) -> None:
        failover, registry = self._rules.failover, self._rules.registry
        failover.moved()
        if registry.hears(FailedOver):
            registry.emit(FailedOver(failover.name, candidate.name, verdict.error_type.value, to.name, seconds))

    def beaten(self) -> None:
        """Count an endpoint that is no longer waited for, because another one has answered."""
        self._rules.failover.attempt_lost()

    def broke(self, candidate: Candidate, ticket: Ticket, started: float, now: float, error: Exception) -> None:
        """Take in a stream that failed after its first item: no other endpoint can finish it."""
        self._rules.failover.attempt_lost()
        verdict = self._verdict(candidate, ticket, error)
        spared = ERROR_TYPES[verdict.error_type].endpoint == "spared"
        if spared or verdict.blame in ("request", "program") or not verdict.endpoint_fault:
            candidate.shared.released(ticket)
        else:
            self._blame(candidate, ticket, now, verdict, now - started)

    def commit(self, now: float, candidate: Candidate) -> None:
        """Bind a stream to this endpoint: its first item has been delivered, or it was empty."""
        self.answered(now)
        self._tell_watcher(candidate)

    def answered(self, now: float) -> None:
        """Blame the suspects for their errors, because another endpoint has answered."""
        try:
            while self._suspects:
                candidate, ticket, verdict, seconds = self._suspects.pop()
                self._blame(candidate, ticket, now, verdict, seconds)
        finally:
            self.abandon()  # the remaining ones, if a listener raised
        self._bug = None
        self._failures.clear()  # exception -> traceback -> frame -> self -> exception would be a reference cycle

    def abandon(self) -> None:
        """Give back what is held, because the call ends without an answer."""
        for candidate, ticket, *_ in self._suspects:
            candidate.shared.released(ticket)
        self._suspects.clear()

    # -- inside

    def _verdict(self, candidate: Candidate, ticket: Ticket, error: Exception) -> Verdict:
        try:
            return classify(error)
        except BaseException:  # from the user's own classifier: it tells nothing about the endpoint
            candidate.shared.released(ticket)
            raise

    def _judge(
        self, candidate: Candidate, ticket: Ticket, started: float, now: float, error: Exception, verdict: Verdict
    ) -> bool:
        """Report the failure to the endpoint's health; False if no other endpoint could do better."""
        shared, row = candidate.shared, ERROR_TYPES[verdict.error_type]
        if self._call.was_left(error):
            shared.released(ticket)  # left because of the caller's deadline, which tells nothing about the endpoint
        elif row.endpoint == "refused":
            # Refused on our side, without asking the provider. No rest while the circuit's probes are in flight.
            self._forced = False
            shared.refused(ticket, now, None if probes_in_flight(error) else verdict.retry_after)
        elif isinstance(error, LimitReachedError):
            self._forced = False
            shared.released(ticket)
        elif refuses_parameter(error, verdict):
            shared.released(ticket)
        elif not verdict.endpoint_fault:
            shared.released(ticket)
            return False
        elif (fits := _FITS.get(row.next_endpoint)) is not None:
            shared.released(ticket)
            self._untried = [each for each in self._untried if fits(each.endpoint, candidate.endpoint)]
            return any(each.health.state is not EndpointState.MARKED_DOWN for each in self._untried)
        elif row.endpoint == "spared":
            self._answers += invalid_answers(error)
            shared.released(ticket)
        elif verdict.blame == "program":
            self._bug = self._bug or error
            self._suspects.append((candidate, ticket, verdict, now - started))
        elif verdict.blame == "unknown" or row.doubtful:
            self._suspects.append((candidate, ticket, verdict, now - started))
        else:
            self._blame(candidate, ticket, now, verdict, now - started)
        return True

    def _blame(self, candidate: Candidate, ticket: Ticket, now: float, verdict: Verdict, seconds: float) -> None:
        rules = self._rules
        candidate.shared.failed(ticket, now, verdict, seconds, interval=rules.interval, forgiving=rules.forgiving)
        self._watch(candidate)

    def _tell_watcher(self, answered: Candidate | None = None) -> None:
        if (seen := watching()) is not None:
            seen.endpoint = answered.name if answered is not None else seen.endpoint
            seen.endpoints_tried += self.tried

    def _watch(self, candidate: Candidate) -> None:
        if candidate.check is not None:
            watch_over(candidate, self._rules.interval, self._rules.registry)

    def _available(self, now: float, failed: Candidate | None, left: float = math.inf) -> Admission | None:
        if len(self.tried) >= self._rules.most:
            return None
        ready = []
        for candidate in self._untried:
            if not candidate.available(now):
                self._watch(candidate)
            elif candidate.health.answers_within(left):
                ready.append(candidate)
        while ready:
            candidate = self._rules.chooser.select(ready, now, failed)
            if (ticket := candidate.admit(now)) is not None:
                self.mark_tried(candidate)
                return candidate, ticket
            ready.remove(candidate)  # another thread has just changed its state
        return None

    def _soonest(self, now: float) -> Admission | None:
        """
        A resting endpoint, if there is no better one: the one that is due soonest.

        The first one in a call is free; further ones are paid for by good answers. So calls are answered if all
        endpoints fail occasionally, and if all are down, each is asked at most once per call.
        """
        if len(self.tried) >= self._rules.most:
            return None
        for candidate in sorted(self._untried, key=lambda candidate: candidate.health.due):
            if candidate.health.state is EndpointState.MARKED_DOWN:
                continue
            if self.tried and candidate.health.denied_within(self._rules.interval, now):
                continue  # it refuses until a person has acted: who asks it too often learns nothing
            if self._forced and not self._rules.failover.may_force():
                return None
            if (ticket := candidate.shared.admit(now, forced=True)) is not None:
                self._forced = True
                self.mark_tried(candidate)
                return candidate, ticket
        return None

    def all_failed(self, now: float) -> Exception:
        """The error to raise when no endpoint is left."""
        self.abandon()
        self._tell_watcher()
        self._rules.failover.failed()
        failures, self._failures = self._failures, []  # as in `answered`
        bug, self._bug = self._bug, None
        if bug is not None:
            return bug
        return all_failed(self._rules.function, self.tried, failures, self._untried, now)


@dataclass(slots=True)
class Answer:
    """The answer of an endpoint, whose ticket is still held."""

    value: Any
    candidate: Candidate
    ticket: Ticket
    started: float
    hedged: bool = False


async def ask_in_turn(
    selection: EndpointSelection,
    admission: Admission | None,
    attempt: Callable[[Candidate], Awaitable[Any]],
    now: Callable[[], float],
) -> Answer:
    """
    Ask one endpoint after the other until one answers.

    Raises:
        AllEndpointsFailedError: None is left.
        Exception: The caller's own mistake, unchanged.
    """
    while admission is not None:
        candidate, ticket = admission
        started = now()
        try:
            return Answer(await attempt(candidate), candidate, ticket, started)
        except Exception as error:
            after = selection.after(candidate, ticket, started, now(), error)
            if after is RAISE:
                raise
            await close_replaced(error, after, selection)
            admission = after
        except BaseException:
            candidate.shared.released(ticket)
            selection.abandon()
            raise
    raise selection.all_failed(now())


def _refused(error: Exception) -> bool:
    return isinstance(error, CircuitOpenError | LimitReachedError)


async def close_replaced(error: Exception, admission: Admission | None, selection: EndpointSelection) -> None:
    """Close a rejected result, if another endpoint is asked instead."""
    if admission is None or not (unwanted := rejections(error)):
        return
    try:
        await dispose_rejected(unwanted)
    except BaseException:  # the call ends here, so the admission is not used
        admission[0].shared.released(admission[1])
        selection.abandon()
        raise


def _may_hold_more(other: object, than: object) -> bool:
    mine, theirs = getattr(than, "context_window", None), getattr(other, "context_window", None)
    if isinstance(mine, int | float) and isinstance(theirs, int | float):
        return theirs > mine
    return _other_model(other, than)


def _other_model(other: object, than: object) -> bool:
    """Whether two endpoints are known to differ in model or provider."""
    pairs = [(getattr(than, name, None), getattr(other, name, None)) for name in ("model", "provider")]
    return any(mine is not None and theirs is not None and theirs != mine for mine, theirs in pairs)


# For error types after which only some other endpoints may do better: which ones.
_FITS: dict[str, Callable[[object, object], bool]] = {
    "larger context": _may_hold_more,
    "other model": _other_model,
}
