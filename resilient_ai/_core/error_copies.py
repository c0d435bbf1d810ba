"""Copies of exceptions: one for each of several callers, and one that is pickled for another process."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Self, TypeVar

from .kinds import kind_of
from .stand_in import StandIn, stand_in

E = TypeVar("E", bound=BaseException)


def own_copy(error: E) -> E:
    """
    A copy of an exception, with the same message, cause and traceback; the same object if it cannot be copied.

    One object raised in many tasks would collect the frames and notes of all of them.
    """
    # copy.copy fails for SDK errors, because their __init__ needs more than their args; __new__ fails for OSError.
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


class CopyableError(Exception):
    """An exception that can be copied and pickled with all its attributes, for any arguments of its class."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take other arguments than the message, so rebuild them without calling __init__.
        # __cause__ is not part of __dict__, so it is passed separately.
        travelling = _Travelling()
        attributes = {name: travelling.of(value) for name, value in _attributes_of(self).items()}
        args, cause = travelling.of(self.args), travelling.of(self.__cause__)
        return _rebuilt, (type(self), args, attributes, cause)

    def __copy__(self) -> Self:
        return _with_causes_of(self, _rebuilt(type(self), self.args, _attributes_of(self), self.__cause__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        attributes = {name: _deep_copy(value, memo) for name, value in _attributes_of(self).items()}
        args, cause = _deep_copy(self.args, memo), _deep_copy(self.__cause__, memo)
        return _with_causes_of(self, _rebuilt(type(self), args, attributes, cause))


def _attributes_of(error: CopyableError) -> dict[str, Any]:
    state: Any = object.__getstate__(error)  # with slots, a pair of dicts
    return {**(state[0] or {}), **state[1]} if isinstance(state, tuple) else dict(state or {})


C = TypeVar("C", bound="CopyableError")


def _rebuilt(cls: type[C], args: tuple[Any, ...], attributes: dict[str, Any], cause: BaseException | None) -> C:
    error = cls.__new__(cls, *args)
    error.args = args
    for name, value in attributes.items():
        setattr(error, name, value)
    error.__cause__ = cause
    return error


def _with_causes_of(error: CopyableError, twin: C) -> C:
    twin.__context__ = error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin


class _Travelling:
    """
    Replaces the attributes of an error for a pickle.

    Errors of SDKs hold requests and clients, and most of them can be pickled but not unpickled: stand-ins replace them.
    """

    def __init__(self) -> None:
        self._stand_ins: dict[int, StandIn] = {}  # one for each error, even if several attributes hold it

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, str | int | float | CopyableError | StandIn):
            return value
        if isinstance(value, BaseException):
            if id(value) not in self._stand_ins:
                self._stand_ins[id(value)] = stand_in(value)
            return self._stand_ins[id(value)]
        if type(value) is dict:
            return {key: self.of(each) for key, each in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self.of, value))
        try:
            pickle.loads(pickle.dumps(value))  # noqa: S301 - what was dumped this moment
        except Exception:  # noqa: BLE001 - whatever a user's object raises when it is pickled
            return f"<{kind_of(value)}, which does not pickle>"
        return value


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy as far as possible; errors of SDKs are copied without copying their attributes."""
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, BaseException) and not isinstance(value, CopyableError):
        made: Any = own_copy(value).with_traceback(None)
    elif type(value) is dict:
        made = {key: _deep_copy(each, memo) for key, each in value.items()}
    elif type(value) is list:
        made = [_deep_copy(each, memo) for each in value]
    elif type(value) is tuple:
        made = tuple(_deep_copy(each, memo) for each in value)
    else:
        try:
            made = copy.deepcopy(value, memo)
        except Exception:  # noqa: BLE001 - whatever a user's object raises when it is copied
            made = value
    memo[id(value)] = made
    return made
