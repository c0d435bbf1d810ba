"""The call site of a retry: one decorated function, and what its calls share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient_ai._core.errors import ErrorType, ResilienceError

from .decision import Failure, Plan, plan_for

if TYPE_CHECKING:
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.state_store import StateStore
    from resilient_ai._core.waiting import Waiting

    from .rules import RetryChoices, RetryConfig
    from .sdk_retries import OwnRetries
    from .state import RetryState


@dataclass(frozen=True, slots=True)
class RetrySite:
    """One decorated function: its settings, and the state that it shares with others of its name."""

    function: str
    name: str  # of the state
    state: RetryState
    config: RetryConfig
    choices: RetryChoices
    has_conditions: bool  # whether the choices include tenacity conditions
    registry: StateStore
    waiting: Waiting
    own_retries: OwnRetries
    endpoint: str | None = None  # the endpoint that it is below
    # Failures with nothing but a type and whether it is retryable, cached with their plans.
    _usual: dict[tuple[ErrorType, bool], tuple[Failure, Plan]] = field(default_factory=dict, init=False)

    def plan(self, error: Exception, verdict: Verdict) -> tuple[Failure, Plan, float]:
        """
        The facts of a failure, the rule for its retries, and the seconds until the caller's deadline.

        The deadline is infinite if it is further off than any retry of that rule.
        """
        if verdict.retry_after is not None or self.choices.unsent_only or isinstance(error, ResilienceError):
            failure, left = Failure.of(error, verdict, self.choices), self.waiting.seconds_left()
            return failure, plan_for(failure, self.config, self.choices, left), left
        key = verdict.error_type, verdict.retryable
        if (known := self._usual.get(key)) is None:
            failure = Failure(*key)
            known = self._usual[key] = failure, plan_for(failure, self.config, self.choices, math.inf)
        failure, plan = known
        # The user's own wait may be longer than the rule's.
        left = self.waiting.seconds_left(math.inf if self.has_conditions else plan.rule.max_delay)
        return failure, plan, left
