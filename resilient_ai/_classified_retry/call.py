"""The course of a call after a failed attempt: count it, report it, decide, pay for the retry, and wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import rejection
from resilient_ai._classification.error_text import error_message
from resilient_ai._classification.paid_answers import MOST_ANSWERS, answers_left, invalid_answers, note_answers
from resilient_ai._core.call_facts import watching
from resilient_ai._core.errors import (
    AIServiceError,
    AllEndpointsFailedError,
    ErrorType,
    RejectedResultError,
    is_wrong_call,
)
from resilient_ai._core.measurements import RETRY_DELAY, Series
from resilient_ai._core.scrub import args_hash, scrub
from resilient_ai._core.state_name import part_of

from .conditions import CallState, UnwantedResultError, wants_another
from .decision import GiveUp, decide
from .events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.read_once import ReadOnce
    from resilient_ai._core.streams import Broken

    from .site import RetrySite

# Looking a member up in an enumeration takes as long as a bare await.
_INVALID_OUTPUT, _QUOTA_EXCEEDED = ErrorType.INVALID_OUTPUT, ErrorType.QUOTA_EXCEEDED
# The error is not recognised, or it is a bug of the program.
_NOBODYS = frozenset(("unknown", "program"))


class RetriedCall:
    """One call that has failed at least once."""

    __slots__ = (
        "_attempt_started",
        "_conditions",
        "_once",
        "_request",
        "_started",
        "_times",
        "answers",
        "attempts",
        "price",
        "site",
    )

    def __init__(
        self,
        site: RetrySite,
        started: float,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        once: ReadOnce | None = None,
    ) -> None:
        self._once = once  # arguments that an attempt uses up
        self.site = site
        self.attempts = 0
        self.price = 0.0  # price of the retry in progress
        self.answers = 0  # answers paid for that did not fit, including those of a failover's endpoints
        self._started = self._attempt_started = started
        self._request = args, kwargs
        self._times: dict[str, int] = {}  # failures by reason, as the decision counts them
        self._conditions = CallState(site, started, args, kwargs) if site.has_conditions else None

    async def attempt(self, inner: Callable[..., Awaitable[Any]], *call: Any) -> Any:
        """Make an attempt, and tell a failover below how many more answers may be paid for."""
        rule, outer = self.site.config.rule(ErrorType.INVALID_OUTPUT), answers_left.get()
        most = rule.max_retries + 1 if rule is not None else MOST_ANSWERS
        answers_left.set(max(1, most - self.answers))
        try:
            return await inner(*call)
        finally:
            answers_left.set(outer)

    def wait_before_next(self, broken: Broken) -> float:
        """
        Seconds to wait before the next attempt. Call `waited` or `left_waiting` after the wait.

        Raises:
            Exception: There is no next attempt: the last error, or an `AIServiceError` from it.
        """
        delay, kind = self._delay(broken)
        site, registry = self.site, self.site.registry
        try:
            if (measurements := registry.measurements) is not None:
                measurements.add(Series(RETRY_DELAY, part_of(site.name, "call_site")), delay)
            if registry.hears(RetryScheduled):
                registry.emit(RetryScheduled(site.name, self.attempts, kind.value, delay))
        except BaseException:
            self.left_waiting()
            raise
        return delay

    def waited(self) -> None:
        """Note that the next attempt begins."""
        self._attempt_started = self.site.registry.clock.now()
        if (seen := watching()) is not None:
            seen.retries += 1

    def left_waiting(self) -> None:
        """Take back the retry, because the caller has left during the wait."""
        self.site.state.retry_abandoned(self.site.registry.clock.now(), self.price)

    def end_midway(self, error: Exception) -> None:
        """Count a stream that broke after its commit point; a retry would repeat what the consumer has seen."""
        verdict, now = self._count(error)
        if verdict.blame not in _NOBODYS:
            self._tell_end(verdict, now, "the stream had begun")
        self.site.state.call_given_up()

    def _delay(self, broken: Broken) -> tuple[float, ErrorType]:
        """Seconds until the next attempt, and the error type that causes it; raises if there is no next attempt."""
        site, error = self.site, broken.error
        try:
            verdict, now = self._count(error)
            wrong = verdict.blame in _NOBODYS and not verdict.retryable and site.choices.retry is None
            answer = None if wrong or is_wrong_call(error) else self._decide(error, verdict, now)
            if answer is not None and not isinstance(answer, GiveUp):
                del broken.error  # exception -> traceback -> frame of the layer -> exception is a reference cycle
                return answer, verdict.error_type
            site.state.call_given_up()
            if answer is not None:  # otherwise a programming error, which is raised unchanged
                self._tell_end(verdict, now, answer.reason)
                broken.error = self._last_error(error, verdict, now, answer.reason)
        finally:
            del error
        return broken.throw()

    def _count(self, error: Exception) -> tuple[Verdict, float]:
        self.attempts += 1
        site, verdict = self.site, classify(error)
        kind = verdict.error_type
        site.state.attempt_failed(kind)
        if kind is _INVALID_OUTPUT or isinstance(error, AllEndpointsFailedError):
            self.answers += invalid_answers(error)
        if not site.own_retries.told:
            site.own_retries.look(error, site.function)
        if (seen := watching()) is not None:
            seen.attempts += 1
        now = site.registry.clock.now()
        event = QuotaExceeded if kind is _QUOTA_EXCEEDED else AttemptFailed
        if site.registry.hears(event):
            self._tell_failure(event, error, verdict, now)
        return verdict, now

    def _decide(self, error: Exception, verdict: Verdict, now: float) -> float | GiveUp:
        site = self.site
        failure, plan, left = site.plan(error, verdict)
        kind, refused = failure.kind, failure.refused
        if refused:  # so the retry that led to it was never sent
            site.state.refund(now, self.price)
            self.price = 0.0
        if not plan.is_attempt:
            self.attempts -= 1
        times = self._times[plan.reason] = self._times.get(plan.reason, 0) + 1
        if kind is _INVALID_OUTPUT:
            times = self.answers
        if (conditions := self._conditions) is not None:
            conditions.note(self.attempts, error, now)
        chance, obstacle, elapsed = site.registry.rng.random, site.waiting.obstacle(), now - self._started
        # Arguments by keyword would take as long as a bare await more.
        answer = decide(
            failure, plan, site.config, site.choices, conditions, chance, self.attempts, times, elapsed, left, obstacle
        )
        if conditions is not None:
            conditions.forget(answer)
        if isinstance(answer, GiveUp):
            return answer
        # A call that our own side refused has not used up its arguments.
        if self._once is not None and not refused and (used_up := self._once.used_up()) is not None:
            return GiveUp(used_up)
        # Trying again what our own side refused sends no extra request, so it costs the same as waiting for a circuit.
        price = site.state.pay_for_retry(now, ErrorType.CIRCUIT_OPEN if refused else kind)
        if price is None:
            return GiveUp("the retry budget is empty")
        self.price = price
        return answer

    def _last_error(self, error: Exception, verdict: Verdict, now: float, reason: str) -> Exception:
        elapsed = now - self._started
        if self.site.choices.reraise:
            calls = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
            error.add_note(f"resilient_ai: {calls} in {elapsed:.1f} s; {reason}")
            note_answers(error, self.answers)
            return error
        failed = AIServiceError(
            self.site.function,
            error,
            error_type=verdict.error_type,
            attempts=self.attempts,
            elapsed=elapsed,
            retry_after=verdict.retry_after,
            reason=reason,
        )
        note_answers(failed, self.answers)
        return failed

    def _tell_end(self, verdict: Verdict, now: float, reason: str) -> None:
        site = self.site
        if site.registry.hears(RetriesExhausted):
            kind, elapsed = verdict.error_type.value, now - self._started
            site.registry.emit(RetriesExhausted(site.name, self.attempts, elapsed, kind, reason))

    def _tell_failure(self, event: type[AttemptFailed], error: Exception, verdict: Verdict, now: float) -> None:
        self.site.registry.emit(
            event(
                self.site.name,
                self.site.function,
                self.attempts,
                verdict.error_type.value,
                scrub(error_message(error, verdict), private=self._request),
                args_hash(*self._request),
                self.site.endpoint,
                now - self._attempt_started,
            )
        )


def answered(site: RetrySite, call: RetriedCall | None) -> None:
    """Count a call that was answered, at once or after failed attempts."""
    if call is None:
        site.state.good.one_more()
    else:
        site.state.call_recovered(call.price)
    if (seen := watching()) is not None:
        seen.attempts += 1


def judge_of(site: RetrySite) -> Callable[[Any, RetriedCall | None], None] | None:
    """A function that raises for results that count as failures; None if no result does."""
    reject, retry, function = site.choices.reject, site.choices.retry, site.function
    if reject is None and retry is None:
        return None

    def judged(result: Any, call: RetriedCall | None) -> None:
        if reject is not None and (error_type := rejection(reject, result, function)) is not None:
            raise RejectedResultError(result, error_type, function=function)
        if retry is not None and wants_another(retry, result, 1 if call is None else call.attempts + 1):
            raise UnwantedResultError(result, ErrorType.INTERNAL_ERROR, function=function)

    return judged
