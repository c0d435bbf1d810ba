"""Copies of exceptions: one for each of several callers."""

from __future__ import annotations

import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def own_copy(error: E) -> E:
    """
    An exception of the same type, message, cause and traceback; the same one if it cannot be copied.

    One object raised in many tasks would collect the frames and notes of all of them.
    """
    # SDK errors refuse copy.copy, because their __init__ asks for more than their args; OSError refuses __new__.
    for make in (_made_anew, copy.copy):
        try:
            twin = make(error)
            if (
                type(twin) is not type(error)
                or twin is error
                or twin.args != error.args
                or str(twin) != str(error)
                or twin.__dict__.keys() != error.__dict__.keys()
            ):
                continue
        except Exception:  # noqa: BLE001, S112 - an exception that cannot be copied this way
            continue
        if (notes := error.__dict__.get("__notes__")) is not None:
            twin.__dict__["__notes__"] = list(notes)
        twin.__cause__ = error.__cause__
        twin.__context__ = error.__context__
        twin.__suppress_context__ = error.__suppress_context__
        return twin.with_traceback(error.__traceback__)
    return error


def _made_anew(error: E) -> E:
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
