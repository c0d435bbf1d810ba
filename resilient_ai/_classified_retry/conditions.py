"""What users of tenacity bring along: their `stop=`, `wait=` and `retry=`, and the call state that these look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tenacity

from resilient_ai._core.errors import RejectedResultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rules import RetryChoices, RetryRule


class UnwantedResultError(RejectedResultError):
    """A result that the call site's own `retry=` wants to try again for."""


class TenacityConditions:
    """
    The conditions of one call; all times are those of the registry's clock.

    Args:
        max_attempts: Calls in all.
        choices: Settings of the call site, the user's conditions among them.
        started: When the first attempt began.
        request: The call's arguments.
        roll: Gives a number in [0, 1), for the jitter of the rules.
    """

    __slots__ = ("_attempts_used_up", "_choices", "_roll", "state")

    def __init__(
        self,
        max_attempts: int,
        choices: RetryChoices,
        started: float,
        request: tuple[tuple[Any, ...], dict[str, Any]],
        roll: Callable[[], float],
    ) -> None:
        self._attempts_used_up = tenacity.stop_after_attempt(max_attempts)
        self._choices = choices
        self._roll = roll
        self.state = tenacity.RetryCallState(None, None, *request)  # type: ignore[arg-type]
        self.state.start_time = started

    def note(self, attempts: int, error: Exception, now: float) -> None:
        """Show the conditions how an attempt has ended."""
        state, choices = self.state, self._choices
        state.attempt_number = attempts
        if choices.stop is not None or choices.wait is not None or choices.retry is not None:
            # Only for them, because an outcome is a future with a lock of its own.
            if isinstance(error, UnwantedResultError):
                state.set_result(error.result)
            else:
                state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = now  # last, because setting an outcome reads tenacity's own clock

    def forget_outcome(self) -> None:
        """Let the error go: exception -> traceback -> frame -> state -> exception is a reference cycle."""
        self.state.outcome = None

    def attempts_used_up(self) -> bool:
        return self._attempts_used_up(self.state)

    def wants_retry(self) -> bool:
        return self._choices.retry is not None and self._choices.retry(self.state)

    def backoff(self, rule: RetryRule, times: int) -> float:
        """Seconds to wait before the retry of that number, as the user's `wait=` or else the rule has it."""
        return rule.delay(times, self._roll()) if self._choices.wait is None else self._choices.wait(self.state)

    def stops(self, delay: float) -> bool:
        """Whether the user's `stop=` ends the attempts, knowing the wait that would come."""
        self.state.upcoming_sleep = delay
        return self._choices.stop is not None and self._choices.stop(self.state)


def wants_another(retry: Callable[[tenacity.RetryCallState], bool], result: Any, attempt: int) -> bool:
    """Whether a `retry=` wants to try again for a result, which the attempt of that number gave."""
    state = tenacity.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = attempt
    state.set_result(result)
    return retry(state)
