"""When two calls are the same call: by the values of their arguments, and by identity where a class has no values."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .contract import FailedCall

_DEEPEST = 20
_BY_IDENTITY: Any = object.__hash__


class UnkeyableError(TypeError):
    """An argument has no value that could be compared."""


def call_key(call: FailedCall) -> Hashable:
    """
    A key that is equal for calls of one function on equal instances with equal arguments.

    `1`, `1.0` and `True` differ. Objects count by identity unless their class says when they are equal; they are
    not kept alive by the key.

    Raises:
        UnkeyableError: An argument can be neither hashed nor looked into, or is nested too deeply.
    """
    arguments = frozenset((name, frozen(value)) for name, value in call.arguments.items())
    return call.function, frozen(call.instance), arguments


def frozen(value: Any, depth: int = 0) -> Hashable:
    """A hashable twin of a value."""
    kind = type(value)
    if kind in (str, bytes, int, float, bool, type(None)):
        return kind, value
    if depth > _DEEPEST:
        raise UnkeyableError("arguments are nested too deeply to be compared")
    if kind in (list, tuple):
        return kind, tuple(frozen(each, depth + 1) for each in value)
    if kind in (set, frozenset):
        return kind, frozenset(frozen(each, depth + 1) for each in value)
    if kind is dict:
        return kind, frozenset((frozen(name, depth + 1), frozen(each, depth + 1)) for name, each in value.items())
    if kind.__hash__ is _BY_IDENTITY:
        try:
            return weakref.ref(value)
        except TypeError:
            return kind, value
    try:
        hash(value)
    except TypeError:
        if not hasattr(value, "__dict__"):
            raise UnkeyableError(f"a {kind.__qualname__} can be neither hashed nor looked into") from None
        return kind, frozen(vars(value), depth + 1)  # equal by its fields: dataclasses, models
    return kind, value
