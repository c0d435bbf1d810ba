"""Digests of values: equal for equal values, and never equal for two different clients, sessions or tenants."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import itertools
import numbers
import os
import pathlib
import re
import sys
import types
import uuid
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

_PROCESS: Final = uuid.uuid4().hex
_DEEPEST: Final = 20
_MOST: Final = 20_000  # most values in one digest: about 10 ms; 16 times as many if all are numbers
_SCALARS: Final = frozenset((int, float, complex, bool, type(None)))
_NAMED: Final = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    numbers.Number,
    range,
    slice,
    types.EllipsisType,
    types.NotImplementedType,
)
_OF_NUMBERS: Final = ({int}, {float})
_HEAP_TYPE: Final = 1 << 9  # a class made by a `class` statement, or by C code that imitates one


class NoScope(Exception):  # noqa: N818 - never leaves the package
    """Something in the call can neither be compared by value nor identified; such a call shares no answers."""


class Tokens:
    """Unique names for objects that cannot be compared by value: each is a scope of its own while it lives."""

    def __init__(self) -> None:
        # No lock, which a fork could leave locked for ever. Single dict operations are atomic; at worst, two threads
        # give one object two names, so that one answer is not found again.
        self._by_id: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._count = itertools.count()

    def of(self, thing: object) -> str:
        """
        A name that no other object has, in this or another process.

        Raises:
            NoScope: The object does not support weak references, so a reuse of its id would go unnoticed.
        """
        known = self._by_id.get(id(thing))
        if known is not None and known[0]() is not thing:
            self._by_id.pop(id(thing), None)
            known = None
        if known is None:
            try:
                reference = weakref.ref(thing, self._forget(id(thing)))
            except TypeError:
                raise NoScope(type(thing).__qualname__) from None
            known = self._by_id.setdefault(id(thing), (reference, next(self._count)))
        return f"{_PROCESS}:{os.getpid()}:{known[1]}"

    def _forget(self, number: int) -> Any:
        mine = weakref.ref(self)

        def forget(gone: weakref.ref[Any]) -> None:
            tokens = mine()
            if tokens is not None:
                known = tokens._by_id.get(number)
                if known is not None and known[0] is gone:
                    del tokens._by_id[number]

        return forget


TOKENS: Final = Tokens()


def digest(*parts: object, blank: str | None = None, key: bytes = b"") -> str:
    """
    32 hex digits that are equal exactly for equal values, in any process.

    Types count (1, 1.0, True and "1" are four values), and so do the order of a list and the keys of a dict; a set and
    a dict have no order. An object whose class defines equality counts with all its fields, whether its `==` compares
    them or not. Objects without a value (a client, a function) are equal only to themselves.

    Args:
        parts: The values.
        blank: The question. The first string equal to it is left out, so that calls that differ only in the question
            get equal digests; all other strings count.
        key: Secret key, without which texts cannot be tried against the digest.

    Raises:
        NoScope: A value can neither be compared nor identified, is nested too deeply, or is too large.
    """
    writer = Writer(blank)
    writer.write(parts)
    return writer.digest(key)


class Writer:
    """
    Writes values so that different values never give the same bytes: each piece carries its type and its length.

    Attributes:
        by_identity: Classes of the objects written by identity, which is valid in this process only.
    """

    __slots__ = ("_blank", "_depth", "_left", "_pieces", "by_identity")

    def __init__(self, blank: str | None = None) -> None:
        self._blank = blank
        self._depth = 0
        self._left = _MOST
        self._pieces: list[bytes] = []
        self.by_identity: list[str] = []

    def digest(self, key: bytes = b"") -> str:
        """The digest of everything written."""
        return hashlib.blake2b(b"".join(self._pieces), key=key, digest_size=16).hexdigest()

    def piece(self, kind: str, body: bytes) -> None:
        self._pieces.append(b"%b:%d:%b" % (kind.encode(), len(body), body))

    def write(self, value: Any) -> None:
        kind = type(value)
        if kind is str:
            self._text(value)
        elif kind in _SCALARS:
            self._pieces.append(f"{kind.__name__} {value!r};".encode())
        elif kind is bytes or kind is bytearray:
            self.piece(kind.__name__, value)
        else:
            self._deeper()
            if kind is dict:
                self._dict(value)
            elif kind is list or kind is tuple:
                self._sequence(kind, value)
            else:
                self._count(1)
                self._write_object(kind, value)
            self._depth -= 1

    def _text(self, value: str) -> None:
        if self._blank is not None and value == self._blank:
            self._blank = None
            self._pieces.append(b"?")
        else:
            body = value.encode("utf-8", "surrogatepass")
            self._pieces.append(b"str:%d:%b" % (len(body), body))

    def _dict(self, value: dict[Any, Any]) -> None:
        self._count(len(value))
        self._pieces.append(b"dict %d;" % len(value))
        if set(map(type, value)) <= {str}:
            for key in sorted(value):
                self.piece("key", key.encode("utf-8", "surrogatepass"))
                self.write(value[key])
        else:
            self._pairs(value)

    def _sequence(self, kind: type, value: list[Any] | tuple[Any, ...]) -> None:
        self._pieces.append(b"list %d;" % len(value) if kind is list else b"tuple %d;" % len(value))
        if len(value) > 16 and set(map(type, value)) in _OF_NUMBERS:  # token ids, a vector
            self._count(len(value) // 16)
            self.piece("numbers", repr([*value]).encode())
        else:
            self._count(len(value))
            for each in value:
                self.write(each)

    def _pairs(self, value: Mapping[Any, Any]) -> None:
        for key, each in sorted(((self._apart(key), each) for key, each in value.items()), key=_first):
            self._pieces.append(key)
            self.write(each)

    def _deeper(self) -> None:
        """Go one level down. After an error, a caller that goes on writing must reset `_depth`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NoScope("nested too deeply")

    def _count(self, members: int) -> None:
        self._left -= members
        if self._left < 0:
            raise NoScope("too large")

    def _write_object(self, kind: type, value: Any) -> None:
        if isinstance(value, enum.Enum):
            self.class_piece(kind, repr(value.name or value.value).encode())
        elif isinstance(value, list | tuple | deque | set | frozenset | Mapping):
            self._write_members(kind, value)
        elif isinstance(value, str | int | float | bytes):
            if not getattr(kind, "counts_as_text", False):  # the user's own subclass of a plain type
                self.class_piece(kind, b"")
                self._write_rest(kind, value)
            self.write(_bare(value))
        elif isinstance(value, _NAMED):
            self.class_piece(kind, repr(value).encode())
        elif isinstance(value, re.Pattern):
            self.class_piece(kind, repr(value.flags).encode())
            self.write(value.pattern)
        elif isinstance(value, type):
            self.write_class(value)
        elif isinstance(value, types.FunctionType | types.BuiltinFunctionType) and found_by_name(value):
            self.piece("function", name_of(value).encode())
        elif isinstance(value, types.MethodType):
            self.class_piece(kind, b"")
            self.write(value.__self__)
            self.write(value.__func__)
        else:
            self._write_fields(kind, value)

    def _write_members(self, kind: type, value: Any) -> None:
        self.class_piece(kind, str(len(value)).encode())
        self._count(len(value))
        if isinstance(value, Mapping):
            self._pairs(value)
        elif isinstance(value, set | frozenset):
            # A member of a set never counts as the question: what is left out must not depend on the order of a set.
            self._pieces.extend(sorted(map(self._apart, value)))
        else:
            for each in value:
                self.write(each)
        self._write_rest(kind, value)

    def _write_rest(self, kind: type, value: Any) -> None:
        """Write what an object of a user's subclass carries besides its text, number or members."""
        fields = getattr(value, "__dict__", None) if kind.__flags__ & _HEAP_TYPE else None
        if fields and isinstance(fields, dict):
            self.write(dict(fields))

    def _write_fields(self, kind: type, value: Any) -> None:
        if callable(getattr(kind, "model_dump", None)) and hasattr(kind, "model_fields"):  # a pydantic model
            self.class_piece(kind, b"model")
            extra, private = (getattr(value, f"__pydantic_{name}__", None) for name in ("extra", "private"))
            self.write([dict(vars(value)), extra, private])
        elif dataclasses.is_dataclass(value) or (_has_own_equality(kind) and is_open(kind)):
            self.class_piece(kind, b"fields")
            self.write(fields_of(value))
        elif isinstance(value, types.SimpleNamespace):
            self.class_piece(kind, b"fields")
            self.write(dict(vars(value)))
        elif _has_no_state(value):
            self.class_piece(kind, b"sentinel")
        elif is_changing(kind):  # compared by content that may change, like an array
            raise NoScope(kind.__qualname__)
        else:
            self.write_identity(value)

    def write_identity(self, value: Any) -> None:
        self.piece("object", TOKENS.of(value).encode())
        self.by_identity.append(type(value).__qualname__)

    def write_class(self, cls: type) -> None:
        """Write a class, by name if the name is unique."""
        if _has_own_name(cls):
            self.piece("type", name_of(cls).encode())
        else:
            self.write_identity(cls)

    def class_piece(self, kind: type, body: bytes) -> None:
        self.write_class(kind)
        self.piece("", body)

    def _apart(self, value: Any) -> bytes:
        """The bytes of a value, which are not written yet."""
        pieces, blank = self._pieces, self._blank
        self._pieces, self._blank = [], None
        try:
            self.write(value)
            return b"".join(self._pieces)
        finally:
            self._pieces, self._blank = pieces, blank


def _first(pair: tuple[bytes, Any]) -> bytes:
    return pair[0]


def _bare(value: str | float | bytes) -> object:
    """The value as its plain builtin type."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def fields_of(value: Any) -> dict[str, Any]:
    """All fields of an object of a Python class, in its dict and its slots, without cached properties."""
    kind = type(value)
    fields = dict(getattr(value, "__dict__", {}))
    for name in [name for name in fields if isinstance(getattr(kind, name, None), functools.cached_property)]:
        del fields[name]
    for each in kind.__mro__:
        for name, slot in vars(each).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    fields[f"{each.__qualname__}.{name}"] = slot.__get__(value)
                except AttributeError:  # not set
                    continue
    return fields


def _has_own_equality(kind: type) -> bool:
    equal: Any = kind.__eq__
    return equal is not object.__eq__


def is_value(kind: type) -> bool:
    """Whether objects of a class are compared and hashed by value."""
    return _has_own_equality(kind) and kind.__hash__ is not None


def is_changing(kind: type) -> bool:
    """Whether objects of a class are compared by value, but are mutable."""
    return _has_own_equality(kind) and kind.__hash__ is None


def is_open(kind: type) -> bool:
    """Whether Python code made the class: a class written in C is larger, and may hold state that is not visible."""
    slots = sum(isinstance(slot, types.MemberDescriptorType) for each in kind.__mro__ for slot in vars(each).values())
    word = object.__basicsize__ // 2
    return bool(kind.__flags__ & _HEAP_TYPE) and kind.__basicsize__ <= object.__basicsize__ + (2 + slots) * word


def _has_no_state(value: object) -> bool:
    """Whether it is an object of a Python class without any state, like the SDKs' "not given" markers."""
    kind = type(value)
    slots = any(getattr(each, "__slots__", ()) for each in kind.__mro__)
    return is_open(kind) and not slots and not getattr(value, "__dict__", None) and _has_own_name(kind)


def found_by_name(thing: Any) -> bool:
    """Whether a class or function can be found in its module under its name."""
    if isinstance(thing, type) and not thing.__flags__ & _HEAP_TYPE:
        return True  # written in C
    return _found_under_name_of(thing) is thing


def _has_own_name(cls: type) -> bool:
    """
    Whether the name of a class is unique: it was not made in a function, and no other class has that name.

    The name need not lead to the class: some packages give classes a module that does not contain them.
    """
    if not cls.__flags__ & _HEAP_TYPE:
        return True
    return "<locals>" not in cls.__qualname__ and _found_under_name_of(cls) in (cls, None)


def _found_under_name_of(thing: Any) -> Any:
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None) if name != "<locals>" else None
    return found


def name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
