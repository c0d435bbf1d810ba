"""The events of a fallback."""

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class Degraded(Event):
    """
    A fallback answered.

    Attributes:
        rung: Name of the rung that answered.
        error_type: The value of the `ErrorType` of the failure.
        similarity: Cosine similarity of the recalled question, from -1 to 1; None for other answers.
        age: Seconds since the provider gave a recalled answer; None for other answers.
    """

    log_name: ClassVar[str] = "resilient_ai.degraded"

    rung: str
    error_type: str
    similarity: float | None = None
    age: float | None = None


@public("events")
@dataclass(frozen=True, slots=True)
class RungFailed(Event):
    """
    A rung of a fallback raised.

    Attributes:
        rung: Its name.
        doing: "recall": the next rung is asked; "remember": one answer is not kept; "mark": its answer could not be
            marked, and is not used.
        error: The type and text of its error, scrubbed.
    """

    log_name: ClassVar[str] = "resilient_ai.rung_failed"
    level: ClassVar[Level] = "error"

    rung: str
    doing: str
    error: str
