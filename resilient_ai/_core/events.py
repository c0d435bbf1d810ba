"""
Events: one frozen dataclass per kind of event, sent to listeners after it happened and outside locks.

Fields are plain values, never prompts, answers or keys; error messages are scrubbed.
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
    Base of all events; `log_name` and `level` are used for the log line.

    Attributes:
        name: Name of the policy's state: the decorated function, or the name given to the decorator; for one state
            among several, with the endpoint or the key in brackets.
    """

    log_name: ClassVar[str] = "resilient_ai.event"
    level: ClassVar[Level] = "info"
    logged_once: ClassVar[bool] = False  # repeats are logged only after a time without any

    name: str


@public("events")
@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """
    A call was refused before it was made: by a circuit or a limit, or because a queue is full.

    Attributes:
        reason: "open", "half_open_full", "forced_open", "limit_reached", "spent" or "queue_full".
        retry_after: Seconds until it is worth asking again; None if unknown.
    """

    log_name: ClassVar[str] = "resilient_ai.call_rejected"
    level: ClassVar[Level] = "debug"

    reason: str
    retry_after: float | None


@public("events")
@dataclass(frozen=True, slots=True)
class SettingsChanged(Event):
    """
    Settings of a call site were changed at run time.

    Attributes:
        kind: The decorator.
        before: The old values of the settings that changed.
        after: The new values.
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
    A person has acted on a state from the live page; the result is an event of its own.

    Attributes:
        kind: Kind of the state: the decorator's name, or "endpoint".
        action: The action, such as "force_open".
        by: The person, as given by the page's `act=` or `view=`.
    """

    log_name: ClassVar[str] = "resilient_ai.operator_acted"
    level: ClassVar[Level] = "warning"

    kind: str
    action: str
    by: str


@lru_cache
def severity(level: Level) -> int:
    """The number of a level in the standard library's logging."""
    return int(logging.getLevelName(level.upper()))
