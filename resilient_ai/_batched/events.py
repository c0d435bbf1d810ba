"""What a batcher tells its listeners."""

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class BatchSent(Event):
    """
    A batch left for the provider.

    Attributes:
        size: Items in it.
        waited: Seconds since its first item came.
    """

    log_name: ClassVar[str] = "resilient_ai.batch_sent"
    level: ClassVar[Level] = "debug"

    size: int
    waited: float
