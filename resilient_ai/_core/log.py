"""
The library's log: the standard library's logger `resilient_ai`, or structlog if an application has configured it.

It never breaks a call, even if the disk is full or the pipe is closed, and never writes to standard output by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from .events import severity
from .printable import printable
from .table import as_shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event, Level

_NAME = "resilient_ai"
_standard = logging.getLogger(_NAME)
_rendered = structlog.wrap_logger(
    _standard,
    processors=[structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False)],
    wrapper_class=structlog.stdlib.BoundLogger,
    context_class=dict,
)

_INTERVAL = 1.0  # seconds between two lines of one kind about one call site
_QUIET = 60.0  # seconds without a repeat after which an event that is logged once is logged again
_MOST_KEYS = 10_000


def enabled(number: int) -> bool:
    """Whether a line of this severity would be written."""
    return structlog.is_configured() or _standard.isEnabledFor(number)


def log(level: Level, name: str, /, **fields: object) -> None:
    """
    Write one line.

    Args:
        level: How severe it is.
        name: Dotted name of what happened, such as `resilient_ai.circuit_opened`.
        fields: Plain values.
    """
    try:
        logger: Any = structlog.get_logger(_NAME) if structlog.is_configured() else _rendered
        getattr(logger, level)(name, **fields)
    except Exception as broken:  # noqa: BLE001 - whatever the application's log raises
        with contextlib.suppress(Exception):  # standard error may be missing too
            sys.stderr.write(f"{name} could not be logged: {type(broken).__name__}\n")


@dataclasses.dataclass(slots=True)
class _Lines:
    """The log lines of one kind about one call site."""

    written: float  # time of the latest line
    seen: float  # time of the latest event
    left_out: int = 0


class EventLog:
    """
    Logs events, at most one line a second for one kind and call site; a later line gives the number of omitted ones.

    Args:
        now: The registry's clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: dict[tuple[type[Event], str], _Lines] = {}

    def __call__(self, event: Event) -> None:
        if not enabled(severity(event.level)):
            return
        now, key = self._now(), (type(event), event.name)
        lines = self._lines.get(key)
        left_out = 0
        if lines is None:
            if len(self._lines) >= _MOST_KEYS:
                self._lines.clear()
            self._lines[key] = _Lines(now, now)
        elif now - lines.written < _INTERVAL or (event.logged_once and now - lines.seen < _QUIET):
            lines.seen = now
            lines.left_out += 1
            return
        else:
            left_out, self._lines[key] = lines.left_out, _Lines(now, now)
        log_event(event, **({"left_out": left_out} if left_out else {}))


def log_event(event: Event, **more: object) -> None:
    """Log one event. As a listener of a registry, it is replaced by an `EventLog` with the registry's clock."""
    fields: dict[str, Any] = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
    # "name" is already used by logging records and other tools.
    fields = {"call_site": as_shown(fields.pop("name")), **fields, **more}
    fields = {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
    log(event.level, event.log_name, **fields)
