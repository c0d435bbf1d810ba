"""Strict parsing of decisions and questions from the server: anything invalid is dropped."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeGuard

from resilient_ai._fleet.votes import Decision

_MOST = 2**53
_KEY = re.compile(r"[0-9a-f]{24}")
_STATE = re.compile(r"(\d{1,16})\|([oc])" + r"\|(\d{1,16})" * 8)
_NUMBERS = "ernqfcba"  # the fields of a decision that are numbers


class Question(NamedTuple):
    """A question to all workers about one state."""

    key: str
    number: int


def is_number(value: object) -> TypeGuard[int]:
    """Return whether it is a whole number that a script can have counted."""
    return type(value) is int and 0 <= value < _MOST


def question_of(told: dict[str, Any]) -> Question | None:
    """Parse a message that asks; None if it is invalid."""
    key, number = told.get("k"), told.get("q")
    return Question(key, number) if is_key(key) and is_number(number) else None


def question_of_pair(key: object, number: object) -> Question | None:
    """Parse a stored question; None if it is invalid."""
    if not isinstance(number, str) or not number.isdecimal() or len(number) > 16:
        return None
    return question_of({"k": key, "q": int(number)})


def decision_of(told: dict[str, Any]) -> Decision | None:
    """Parse a message with a decision; None if it is invalid."""
    if set(told) != {"k", "s", *_NUMBERS} or not is_key(told["k"]) or told["s"] not in ("o", "c"):
        return None
    if not all(is_number(told[each]) for each in _NUMBERS):
        return None
    key, state, (epoch, millis, *rest) = told["k"], told["s"], (told[each] for each in _NUMBERS)
    return Decision(key, epoch, state == "o", millis / 1000, *rest)


def decision_of_row(row: object) -> Decision | None:
    """Parse the row that a script returns; None if it is invalid."""
    if not isinstance(row, list | tuple) or len(row) != 2 + len(_NUMBERS):
        return None
    key, epoch, state, *rest = row
    return decision_of({"k": key, "s": state, **dict(zip(_NUMBERS, (epoch, *rest), strict=True))})


def decision_of_state(key: object, value: object, now: int) -> Decision | None:
    """Parse a stored state at the server's time `now`; None if it is invalid."""
    found = _STATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not is_key(key):
        return None
    epoch, until, question, probes, _since, *counts = (int(each) for each in found.group(1, *range(3, 11)))
    left = max(0, until - now)
    return decision_of(
        {"k": key, "s": found[2], **dict(zip(_NUMBERS, (epoch, left, probes, question, *counts), strict=True))}
    )


def pairs_of(flat: object) -> list[tuple[object, object]]:
    """Return the pairs of a hash, which each version of the protocol gives in its own way."""
    if isinstance(flat, dict):
        return list(flat.items())
    if isinstance(flat, list | tuple) and len(flat) % 2 == 0:
        return list(zip(flat[::2], flat[1::2], strict=True))
    return []


def is_key(key: object) -> TypeGuard[str]:
    """Return whether it is a hash that a worker can have made."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None
