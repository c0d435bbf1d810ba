"""The events of a batcher."""

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class BatchSent(Event):
    """
    A batch was sent to the provider.

    Attributes:
        size: Number of items in it.
        waited: Seconds since its first item came.
    """

    log_name: ClassVar[str] = "resilient_ai.batch_sent"
    level: ClassVar[Level] = "debug"

    size: int
    waited: float
