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

    def plan(self, error: Exception, verdict: Verdict, seconds_left: float) -> tuple[Failure, Plan]:
        """The facts of a failure, and the rule for its retries."""
        if verdict.retry_after is not None or self.choices.unsent_only or isinstance(error, ResilienceError):
            failure = Failure.of(error, verdict, self.choices)
            return failure, plan_for(failure, self.config, self.choices, seconds_left)
        key = verdict.error_type, verdict.retryable
        if (known := self._usual.get(key)) is None:
            failure = Failure(*key)
            known = self._usual[key] = failure, plan_for(failure, self.config, self.choices, math.inf)
        return known
