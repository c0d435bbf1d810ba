"""`digest`: everything of a call but its question, in one digest. Calls with equal digests may share answers."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import itertools
import os
import pathlib
import threading
import uuid
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROCESS: Final = uuid.uuid4().hex
_PLAIN = (int, float, complex, bool, type(None), bytes, bytearray)
_NAMED = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)


class NoScope(Exception):  # noqa: N818 - never reaches a user
    """Something in the call cannot be compared with others; such a call shares no answers."""


class Tokens:
    """Names for objects without a value to compare; each object has its own while it lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._count = itertools.count()

    def of(self, thing: object) -> str:
        """A name that no other object has, in this process or in another."""
        with self._lock:
            known = self._by_id.get(id(thing))
            if known is None or known[0]() is not thing:
                try:
                    reference = weakref.ref(thing, self._forget(id(thing)))
                except TypeError:
                    raise NoScope(type(thing).__qualname__) from None
                known = self._by_id[id(thing)] = (reference, next(self._count))
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


def digest(*parts: object, blank: str | None = None) -> str:
    """
    32 hex digits that are equal exactly for equal values, across processes.

    Types count (1, 1.0, True and "1" are four values), so do the order of a list and the keys of a dict; a set and a
    dict have no order. Objects without a value of their own (a client, a function) equal only themselves.

    Args:
        parts: The values.
        blank: The question. The first string that equals it is left out, so that calls that differ in it alone
            come out equal; all others count, equal or not.

    Raises:
        NoScope: A value can neither be compared nor told apart.
    """
    encoder = _Encoder(blank)
    try:
        return hashlib.blake2b(b"".join(encoder.encode(parts)), digest_size=16).hexdigest()
    except RecursionError:
        raise NoScope("nested too deeply") from None


class _Encoder:
    """Encodes values so that different values give different bytes: each piece has its type and its length."""

    def __init__(self, blank: str | None) -> None:
        self._blank = blank

    def encode(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        if kind is str:
            if self._blank is not None and value == self._blank:
                self._blank = None
                yield b"?"
            else:
                yield from _piece("str", value.encode("utf-8", "surrogatepass"))
        elif kind in _PLAIN:
            yield from _piece(kind.__name__, repr(value).encode())
        elif isinstance(value, list | tuple):
            yield from _piece(_name(kind), str(len(value)).encode())
            for each in value:
                yield from self.encode(each)
        elif isinstance(value, set | frozenset):
            # The question is never looked for in a set: which member is left out must not depend on the set's order.
            yield from _piece(_name(kind), b"".join(sorted(_piece_of(each) for each in value)))
        elif isinstance(value, Mapping):
            yield from _piece(_name(kind), str(len(value)).encode())
            for key, each in sorted(((_piece_of(key), each) for key, each in value.items()), key=lambda pair: pair[0]):
                yield key
                yield from self.encode(each)
        elif isinstance(value, enum.Enum):
            yield from _piece(_name(kind), value.name.encode())
        elif isinstance(value, str | int | float | bytes) and "<locals>" not in kind.__qualname__:
            yield from _piece(_name(kind), b"")  # a class of the user's over a plain value
            yield from self.encode(_plain(value))
        elif isinstance(value, _NAMED):
            yield from _piece(_name(kind), repr(value).encode())
        elif isinstance(value, type) and "<locals>" not in value.__qualname__:
            yield from _piece("type", _name(value).encode())
        elif dataclasses.is_dataclass(value) and "<locals>" not in kind.__qualname__:
            yield from _piece(_name(kind), b"dataclass")
            yield from self.encode({each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)})
        elif callable(getattr(value, "model_dump", None)) and hasattr(kind, "model_fields"):
            yield from _piece(_name(kind), b"model")
            model: Any = value
            yield from self.encode(model.model_dump())
        elif _has_no_state(value):
            yield from _piece("sentinel", _name(kind).encode())
        else:
            yield from _piece("object", TOKENS.of(value).encode())


def _piece(kind: str, body: bytes) -> Iterator[bytes]:
    yield f"{kind}:{len(body)}:".encode()
    yield body


def _piece_of(value: Any) -> bytes:
    return b"".join(_Encoder(None).encode(value))


def _plain(value: str | float | bytes) -> object:
    """The value without its class."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def _has_no_state(value: object) -> bool:
    """
    Whether an object of a Python class has no fields at all, like the SDKs' "not given" defaults.

    A class written in C may have state that Python does not show, but then its objects are larger.
    """
    kind = type(value)
    written_in_python = bool(kind.__flags__ & 1 << 9) and kind.__basicsize__ <= object.__basicsize__ + 16
    slots = any(getattr(each, "__slots__", ()) for each in kind.__mro__)
    return (
        written_in_python and not slots and not getattr(value, "__dict__", None) and "<locals>" not in kind.__qualname__
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
