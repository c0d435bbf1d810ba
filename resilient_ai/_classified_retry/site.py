"""Where a retry stands: one decorated function, and what its calls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tenacity

    from resilient_ai._core.state_store import StateStore

    from .rules import RetryChoices, RetryConfig
    from .state import RetryState


@dataclass(frozen=True, slots=True)
class RetrySite:
    """One decorated function: its settings, and the numbers that it shares with others of its name."""

    function: str
    name: str  # of the state
    state: RetryState
    config: RetryConfig
    max_attempts: tenacity.stop_after_attempt
    choices: RetryChoices
    has_conditions: bool  # whether there are tenacity conditions of the user's among them
    registry: StateStore
    endpoint: str | None = None  # that it is below
