"""The latest events, for the page: many events of one kind are one line with a count."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.printable import printable

if TYPE_CHECKING:
    from resilient_ai.events import Event

MOST = 200
_TOGETHER = 2.0  # an event joins the line of the latest one of its kind for so many seconds


@dataclasses.dataclass(slots=True)
class _Line:
    number: int
    version: int  # rises with each change
    at: float
    shown: dict[str, Any]
    times: int = 1


class EventLines:
    """The latest 200 lines. Thread-safe; a signal handler may interrupt any method and cause another event."""

    def __init__(self) -> None:
        self._after_fork()
        start_over_after_fork(self)
        self._lines: OrderedDict[tuple[Any, ...], _Line] = OrderedDict()
        self._versions = count(1)
        self.why: dict[str, str] = {}  # by state: why it is not normal

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    def hear(self, event: Event) -> None:
        """Keep an event."""
        fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
        name, kind = fields.pop("name"), event.log_name.rpartition(".")[2]
        key = (kind, name, fields.get("endpoint"), fields.get("error_type"))
        now = time.time()  # noqa: TID251 - for people to read
        with self._lock:
            version = next(self._versions)
            last = self._lines.get(key)
            if last is not None and now - last.at < _TOGETHER:
                last.at, last.version, last.times = now, version, last.times + 1
                return
            about = ", ".join(
                f"{field.replace('_', ' ')} {_shown(value)}"
                for field, value in fields.items()
                if value is not None and value != name and field not in _NOT_SHOWN
            )
            shown = {"kind": kind, "name": printable(str(name)), "level": event.level, "about": about}
            # An older line of the same kind is kept under a unique key.
            if last is not None:
                self._lines[(*key, last.number)] = self._lines.pop(key, last)
                self._lines.move_to_end((*key, last.number), last=False)
            self._lines[key] = _Line(version, version, now, shown)
            while len(self._lines) > MOST:
                oldest, _ = min(list(self._lines.items()), key=lambda each: each[1].number)
                self._lines.pop(oldest, None)
            if (reason := fields.get("reason") or fields.get("error_type")) and kind in _REASONS:
                if len(self.why) >= 10_000:
                    self.why.clear()
                self.why[str(name)] = printable(str(reason))
            elif kind == "operator_acted":
                self.why[str(name)] = printable(f"{fields['action']} by {fields['by']}")

    def since(self, version: int) -> list[dict[str, Any]]:
        """Lines that are new or have changed since a version, the oldest first."""
        with self._lock:
            lines = sorted(
                (each for each in list(self._lines.values()) if each.version > version), key=lambda each: each.number
            )
            return [
                {"number": each.number, "version": each.version, "at": each.at, "times": each.times, **each.shown}
                for each in lines
            ]


# Left out: an error's text may contain anything. The log has it, scrubbed.
_NOT_SHOWN = ("args_hash", "error", "error_message", "function")
_REASONS = ("circuit_opened", "circuit_would_open", "endpoint_down", "endpoint_denied", "limit_lowered")


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else printable(str(value))
