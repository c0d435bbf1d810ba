"""
Events: one frozen dataclass per thing that happened, told to listeners after the fact and outside locks.

Fields are plain values. Prompts, answers and keys never get in; error messages are scrubbed first.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from .public import public
from .state_name import Identified

Level = Literal["debug", "info", "warning", "error", "critical"]


@public("events")
@dataclass(frozen=True, slots=True)
class Event(Identified):
    """
    Base of all events; `log_name` and `level` say how structlog shows one.

    Attributes:
        name: Of the policy's state: the decorated function, or the name that the decorator was given; of one state
            among several, that and the endpoint or the key in brackets.
    """

    log_name: ClassVar[str] = "resilient_ai.event"
    level: ClassVar[Level] = "info"
    logged_once: ClassVar[bool] = False  # repeats are not logged until it has been quiet for a while

    name: str


@public("events")
@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """
    A call was refused before it was made: by a circuit, by a limit, or because a queue is full.

    Attributes:
        reason: "open", "half_open_full", "forced_open", "limit_reached", "spent" or "queue_full".
        retry_after: Seconds until it is worth asking again; None when nobody knows.
    """

    log_name: ClassVar[str] = "resilient_ai.call_rejected"
    level: ClassVar[Level] = "debug"

    reason: str
    retry_after: float | None


@public("events")
@dataclass(frozen=True, slots=True)
class SettingsChanged(Event):
    """
    Settings of a call site were changed while the program runs.

    Attributes:
        kind: The decorator.
        before: The values until now, of those settings that changed.
        after: The values from now on.
    """

    log_name: ClassVar[str] = "resilient_ai.settings_changed"
    level: ClassVar[Level] = "warning"

    kind: str
    before: dict[str, Any]
    after: dict[str, Any]


@public("events")
@dataclass(frozen=True, slots=True)
class OperatorActed(Event):
    """
    Somebody has acted on a state from the live page; what came of it is an event of its own.

    Attributes:
        kind: Of the state: the decorator's name, or "endpoint".
        action: What was done, "force_open" say.
        by: Who did it, as the page's `act=` or `view=` says.
    """

    log_name: ClassVar[str] = "resilient_ai.operator_acted"
    level: ClassVar[Level] = "warning"

    kind: str
    action: str
    by: str


@lru_cache
def severity(level: Level) -> int:
    """The number that the standard library's logging has for a level."""
    return int(logging.getLevelName(level.upper()))
