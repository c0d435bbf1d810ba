"""A hashable key of a value: two keys are equal exactly if types and contents are equal."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from .kinds import with_article

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_DEEPEST: Final = 20
_MOST: Final = 10_000  # most members of all containers together: about 3 ms
_ATOMS: Final = frozenset((str, bytes, int, float, bool, type(None)))
_CONTAINERS: Final = (OrderedDict, dict, list, tuple, set, frozenset)
_POINTER: Final = 8  # bytes of a slot
_BY_IDENTITY: Final[Any] = object.__hash__
_THE_SAME: Final[Any] = object.__eq__


class UnkeyableError(TypeError):
    """A value cannot be compared with others: it is too large, nested too deeply, or its content cannot be read."""


def frozen(value: Any, opaque: Callable[[Any], Hashable] | None = None) -> Hashable:
    """
    A key that is equal for values of equal types and contents, so that `1`, `1.0` and `True` differ.

    Lists, tuples, sets and dicts are read, up to 20 levels and 10,000 members (160,000 in lists of plain values of one
    type). Other objects count by equality if they can be hashed, otherwise by their fields (and members, if they are
    containers). An object whose class does not define equality counts by identity; the key does not keep it alive.

    Args:
        value: Any value.
        opaque: Makes the key of an object that can be neither hashed nor read. Default: such an object is an error.

    Raises:
        UnkeyableError: The value is nested too deeply, contains itself, is too large, or contains an opaque object.
    """
    if type(value) is str:
        return value
    return text if (text := _as_text(value)) is not None else _Freezer(opaque).twin(value, 0)


def _as_text(value: Any) -> str | None:
    """The text of an object of a `str` subclass that counts as its text; None for anything else."""
    return str(value) if isinstance(value, str) and getattr(value, "counts_as_text", False) else None


class _Freezer:
    """Makes the key of one value; counts the members read."""

    __slots__ = ("_left", "_opaque")

    def __init__(self, opaque: Callable[[Any], Hashable] | None) -> None:
        self._left = _MOST
        self._opaque = opaque

    def twin(self, value: Any, depth: int) -> Hashable:
        kind = type(value)
        if kind in _ATOMS:
            return kind, value
        if (text := _as_text(value)) is not None:
            return str, text
        if depth > _DEEPEST:
            raise UnkeyableError("a value is nested too deeply to be compared")
        if kind is list or kind is tuple:
            return self._sequence(kind, value, depth + 1)
        if kind is dict:
            self._count(2 * len(value))
            return kind, frozenset([(self.twin(name, depth + 1), self.twin(value[name], depth + 1)) for name in value])
        if kind is set or kind is frozenset:
            self._count(len(value))
            return kind, frozenset([self.twin(each, depth + 1) for each in value])
        return self._object(kind, value, depth + 1)

    def _sequence(self, kind: type, value: list[Any] | tuple[Any, ...], depth: int) -> Hashable:
        kinds = set(map(type, value)) if len(value) > 1 else set()
        if any(each is not str and issubclass(each, str) for each in kinds):
            value = [text if (text := _as_text(each)) is not None else each for each in value]
            kinds = set(map(type, value))
        if len(kinds) == 1 and (only := kinds.pop()) in _ATOMS:  # such as token ids, a vector, a list of texts
            self._count(len(value) // 16)
            return kind, only, tuple(value)
        self._count(len(value))
        return kind, tuple([self.twin(each, depth) for each in value])

    def _object(self, kind: type, value: Any, depth: int) -> Hashable:
        if kind.__hash__ is _BY_IDENTITY:
            try:
                return weakref.ref(value)
            except TypeError:
                return kind, value
        try:
            hash(value)
        except TypeError:
            slots = _slots(kind) if kind.__eq__ is not _THE_SAME else None
            if slots is not None:  # a dataclass, a model, a subclass of list or dict
                fields = {name: getattr(value, name) for name in slots if hasattr(value, name)}
                self._count(1)
                return kind, self._members(value, depth), self.twin({**fields, **getattr(value, "__dict__", {})}, depth)
        except RecursionError:
            pass
        else:
            return kind, value
        if self._opaque is not None:
            return self._opaque(value)
        raise UnkeyableError(f"{with_article(kind.__qualname__)} can be neither hashed nor looked into")

    def _members(self, value: Any, depth: int) -> Hashable:
        """The key of the members of an instance of a container's subclass."""
        if isinstance(value, OrderedDict):
            return self.twin(list(value.items()), depth)
        for container in (dict, list, tuple):
            if isinstance(value, container):
                return self.twin(container(value), depth)
        return self.twin(set(value), depth) if isinstance(value, set | frozenset) else None

    def _count(self, members: int) -> None:
        self._left -= members
        if self._left < 0:
            raise UnkeyableError("a value is too large to be compared")


def _slots(kind: type) -> list[str] | None:
    """
    The fields of a class outside the `__dict__` of its objects; None if its objects may hold content that is not
    visible.

    Objects of a class written in C, such as an array, are larger than their fields need. Two such objects may have
    equal fields but different content. (`pickle` recognises them by their size too.)
    """
    base = next((each for each in kind.__mro__ if each in _CONTAINERS), object)
    own = kind.__mro__[: kind.__mro__.index(base)]
    slots = [name for each in own for name, what in vars(each).items() if type(what) is MemberDescriptorType]
    size = base.__basicsize__ + _POINTER * len(slots)
    size += _POINTER * sum(
        bool(getattr(kind, offset)) and not getattr(base, offset) for offset in ("__dictoffset__", "__weakrefoffset__")
    )
    return [name for name in slots if not name.startswith("__")] if kind.__basicsize__ <= size else None
