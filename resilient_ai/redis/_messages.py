"""
Strict parsing of what comes from the server, which anyone with write access may have written.

Anything of the wrong size, type or value is dropped.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ErrorType

from ._vote_messages import Question, decision_of, is_key, is_number, question_of

if TYPE_CHECKING:
    from resilient_ai._fleet.votes import Decision

_LONGEST = 2_000
_WORKER = re.compile(r"[0-9a-z]{1,32}")
_TYPES = {each.value: each for each in ErrorType}


@dataclass(frozen=True, slots=True)
class News:
    """
    A fact from a worker.

    Attributes:
        key: What it is about.
        error_type: Why it was refused; None: it was answered again.
        seconds: For how long that holds.
        confirmed: Whether two workers have seen it.
        by: The worker that reported it.
    """

    key: str
    error_type: ErrorType | None
    seconds: float
    confirmed: bool
    by: str


def news_of(message: object) -> News | Decision | Question | str | None:
    """Parse a message: news, or the worker that says hello; None if it is invalid."""
    if not isinstance(message, str) or len(message) > _LONGEST:
        return None
    try:
        told = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    if set(told) == {"hi"}:
        return told["hi"] if _is_worker(told["hi"]) else None
    if "e" in told:
        return decision_of(told)
    if "q" in told:
        return question_of(told)
    return _news(told.get("k"), told.get("f"), told.get("r"), told.get("by"), told.get("c"))


def news_of_row(row: object) -> News | None:
    """Parse a row of the facts; None if it is invalid."""
    if not isinstance(row, list | tuple) or len(row) != 5:
        return None
    return _news(*row)


def _news(key: Any, kind: Any, millis: Any, by: Any, confirmed: Any) -> News | None:
    fits = (
        is_key(key)
        and isinstance(kind, str)
        and (kind == "" or kind in _TYPES)
        and is_number(millis)
        and confirmed in (0, 1)
        and type(confirmed) is int
        and _is_worker(by)
    )
    return News(key, _TYPES.get(kind), millis / 1000, bool(confirmed), by) if fits else None


def _is_worker(name: object) -> bool:
    return isinstance(name, str) and _WORKER.fullmatch(name) is not None
