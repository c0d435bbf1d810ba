"""Tenacity conditions of the user: `stop=`, `wait=` and `retry=`, and the call state that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tenacity

from resilient_ai._core.errors import RejectedResultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .decision import GiveUp
    from .rules import RetryRule
    from .site import RetrySite


class UnwantedResultError(RejectedResultError):
    """A result for which the call site's own `retry=` wants another attempt."""


class CallState(tenacity.RetryCallState):
    """
    The state of one call for tenacity's conditions; all times are those of the registry's clock.

    Args:
        site: The call site with the conditions.
        started: When the first attempt began, in seconds.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
    """

    def __init__(self, site: RetrySite, started: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(None, None, args, kwargs)  # type: ignore[arg-type]  # neither tenacity's loop nor a function
        self.start_time = started
        self._site = site

    def note(self, attempts: int, error: Exception, now: float) -> None:
        """Record how an attempt has ended."""
        self.attempt_number = attempts
        if isinstance(error, UnwantedResultError):
            self.set_result(error.result)
        else:
            self.set_exception((type(error), error, error.__traceback__))
        self.outcome_timestamp = now  # set last, because setting an outcome reads tenacity's own clock

    def forget(self, answer: float | GiveUp) -> None:
        """Forget the error: exception -> traceback -> frame -> state -> exception is a reference cycle."""
        self.outcome = None
        if isinstance(answer, float | int):
            self.idle_for += answer

    def wants_retry(self) -> bool:
        retry = self._site.choices.retry
        return retry is not None and retry(self)

    def backoff(self, rule: RetryRule, times: int) -> float:
        """Seconds to wait before retry number `times`: the user's `wait=`, or else the rule's backoff."""
        wait = self._site.choices.wait
        return rule.delay(times, self._site.registry.rng.random()) if wait is None else wait(self)

    def stops(self, delay: float) -> bool:
        """Whether the user's `stop=` ends the attempts, given the wait before the next one."""
        self.upcoming_sleep = delay
        stop = self._site.choices.stop
        return stop is not None and stop(self)


def wants_another(retry: Callable[[tenacity.RetryCallState], bool], result: Any, attempt: int) -> bool:
    """Whether a `retry=` wants another attempt after the result of attempt number `attempt`."""
    state = tenacity.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = attempt
    state.set_result(result)
    return retry(state)
