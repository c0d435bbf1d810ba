"""What a fallback tells its listeners."""

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
        rung: The one that answered.
        error_type: The value of the `ErrorType` that made it necessary.
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
        doing: "recall": the next rung is asked; "remember": one answer is not kept; "mark": marking its answer
            failed, and the answer is not given.
        error: The type and text of what it raised, scrubbed.
    """

    log_name: ClassVar[str] = "resilient_ai.rung_failed"
    level: ClassVar[Level] = "error"

    rung: str
    doing: str
    error: str
