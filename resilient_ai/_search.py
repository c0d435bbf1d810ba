"""One call's search for an endpoint that answers: what was tried, what it means, and where to go next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._classify import Verdict, classify
from ._endpoint_health import EndpointState, Ticket
from ._errors import AllEndpointsFailedError, EndpointRestingError, ErrorType
from ._events import FailedOver
from ._watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._registry import Registry
    from ._strategy import Among, Lane

Step = tuple["Lane", Ticket]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a search needs to know of its failover."""

    name: str
    function: str
    among: Among
    interval: float  # seconds of a first rest
    most: int  # endpoints asked in one call
    registry: Registry
    moved: Callable[[], None]
    failed: Callable[[], None]


class Search:
    """
    Begins where a first choice is not to be had or has failed.

    Every endpoint is asked once at most: the available ones as the strategy says, then, if none is left, the
    resting one that is due soonest.
    """

    __slots__ = ("_failures", "_forced", "_rules", "_suspects", "_untried", "tried")

    def __init__(self, rules: Rules, lanes: Sequence[Lane]) -> None:
        self._rules = rules
        self._untried = list(lanes)
        self._forced = False
        self._failures: list[tuple[Lane, Exception, Verdict]] = []
        # Failed with an error that may as well be the function's own; held against them once another has answered.
        self._suspects: list[tuple[Lane, Ticket, Verdict]] = []
        self.tried: tuple[str, ...] = ()

    def begin(self, now: float) -> Step | Exception:
        """The first endpoint, or the reason why there is none."""
        return self._pick(now, None) or self._all_failed(now)

    def adopt(self, lane: Lane) -> None:
        """Count a lane that was taken without asking."""
        self._untried.remove(lane)
        self.tried += (lane.name,)

    def after(self, lane: Lane, ticket: Ticket, now: float, error: Exception) -> Step | Exception:
        """
        Where to go after a failure.

        Returns:
            The next endpoint; or the exception to raise, which is `error` itself when it is the caller's own.
        """
        verdict = classify(error)
        self._failures.append((lane, error, verdict))
        if not self._judge(lane, ticket, now, verdict):
            self.abandon()
            return error
        step = self._pick(now, lane)
        if step is None:
            return self._all_failed(now)
        self._rules.moved()
        registry = self._rules.registry
        if registry.listening:
            registry.emit(FailedOver(self._rules.name, lane.name, verdict.error_type.value, step[0].name))
        return step

    def broke(self, lane: Lane, ticket: Ticket, now: float, error: Exception) -> None:
        """A stream failed after its first item: nobody else can finish it."""
        verdict = classify(error)
        if verdict.blame == "request" or not verdict.endpoint_fault:
            lane.handle.released(ticket)
        else:
            lane.handle.failed(ticket, now, verdict.error_type, verdict.retry_after, self._rules.interval)

    def commit(self, now: float, lane: Lane) -> None:
        """A stream's first item is out, or it was empty: from here on it is this endpoint's."""
        self.answered(now)
        if (seen := watching()) is not None:
            seen.endpoint = lane.name
            seen.endpoints_tried += self.tried

    def answered(self, now: float) -> None:
        """Another endpoint gave what the suspects did not: it was them."""
        for lane, ticket, verdict in self._suspects:
            lane.handle.failed(ticket, now, verdict.error_type, verdict.retry_after, self._rules.interval)
        self._suspects.clear()
        self._failures.clear()  # exceptions know the frames they passed through, and this one among them

    def abandon(self) -> None:
        """The call ends without an answer."""
        for lane, ticket, _ in self._suspects:
            lane.handle.released(ticket)
        self._suspects.clear()

    # -- inside

    def _judge(self, lane: Lane, ticket: Ticket, now: float, verdict: Verdict) -> bool:
        """Tell the endpoint's health; False when no other endpoint could do better."""
        handle, kind = lane.handle, verdict.error_type
        if kind is ErrorType.CIRCUIT_OPEN or verdict.evidence == "LimitReachedError":
            # Refused on our side, without asking the provider.
            handle.refused(ticket, now, verdict.retry_after if kind is ErrorType.CIRCUIT_OPEN else None)
        elif not verdict.endpoint_fault:
            handle.released(ticket)
            return False
        elif kind in (ErrorType.CONTEXT_LENGTH, ErrorType.CONTENT_FILTER):
            handle.released(ticket)
            fits = _larger if kind is ErrorType.CONTEXT_LENGTH else _other_provider
            self._untried = [each for each in self._untried if fits(each.endpoint, lane.endpoint)]
            return any(each.health.state is not EndpointState.MARKED_DOWN for each in self._untried)
        elif verdict.blame == "unknown" or kind is ErrorType.NOT_FOUND:
            self._suspects.append((lane, ticket, verdict))
        else:
            handle.failed(ticket, now, kind, verdict.retry_after, self._rules.interval)
        return True

    def _pick(self, now: float, failed: Lane | None) -> Step | None:
        if len(self.tried) >= self._rules.most:
            return None
        ready = [lane for lane in self._untried if lane.health.available(now)]
        while ready:
            lane = self._rules.among(ready, now, failed)
            ticket = lane.handle.admit(now)
            if ticket is not None:
                self.adopt(lane)
                return lane, ticket
            ready.remove(lane)  # another thread was faster
        if self._forced:
            return None
        self._forced = True
        for lane in sorted(self._untried, key=lambda lane: lane.health.due):
            ticket = lane.handle.admit(now, forced=True)
            if ticket is not None:
                self.adopt(lane)
                return lane, ticket
        return None

    def _all_failed(self, now: float) -> Exception:
        self._rules.failed()
        self.abandon()
        if self._failures and all(verdict.blame == "unknown" for _, _, verdict in self._failures):
            # What nothing recognises, wherever it was asked: a programming error goes to whoever made it.
            error = self._failures[-1][1]
            error.add_note(f"resilient_ai: asked {', '.join(self.tried)}; each raised an error that nothing recognises")
            return error
        errors: dict[str, BaseException] = {lane.name: error for lane, error, _ in self._failures}
        types = {lane.name: verdict.error_type for lane, _, verdict in self._failures}
        hopes = [
            (0.0 if verdict.retry_after is None else verdict.retry_after, -number, verdict.error_type)
            for number, (_, _, verdict) in enumerate(self._failures)
            if verdict.retryable
        ]
        rests: list[tuple[float, int, ErrorType]] = [
            (lane.health.resting_for(now), 0, verdict.error_type)
            for lane, _, verdict in self._failures
            if not verdict.retryable
        ]
        for lane in self._untried:
            if (resting := _resting(lane, now)) is not None:
                errors[lane.name], types[lane.name] = resting, resting.error_type
                if resting.retry_after is not None:
                    hope = resting.retry_after, 1, resting.error_type
                    (hopes if classify(resting).retryable else rests).append(hope)
        wait, _, error_type = min(hopes or rests or [(0.0, 0, ErrorType.MODEL_OVERLOADED)])
        return AllEndpointsFailedError(
            self._rules.function, errors, error_types=types, error_type=error_type, retry_after=wait or None
        )


def _resting(lane: Lane, now: float) -> EndpointRestingError | None:
    health = lane.health
    if health.state is EndpointState.MARKED_DOWN:
        return EndpointRestingError(lane.name, error_type=health.last_error_type, marked_down=True)
    if health.state is EndpointState.RESTING:
        rest = health.resting_for(now)
        return EndpointRestingError(lane.name, error_type=health.last_error_type, retry_after=rest)
    return None


def _larger(other: object, than: object) -> bool:
    mine, theirs = getattr(than, "context_window", None), getattr(other, "context_window", None)
    return mine is not None and theirs is not None and theirs > mine


def _other_provider(other: object, than: object) -> bool:
    mine, theirs = getattr(than, "provider", None), getattr(other, "provider", None)
    return mine is not None and theirs is not None and theirs != mine
