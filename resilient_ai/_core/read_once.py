"""
Arguments that can be read only once: generators, open files, sockets.

A second attempt would send only the rest of them, which is nothing. Files that can seek are reset to their position, or
to their beginning after a first attempt on the fast path, which does not check arguments. With other such arguments the
call is not repeated.
"""

from __future__ import annotations

import inspect
import io
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from .kinds import kind_of

_MOST: Final = 50  # most parts of a list or a dictionary that are checked
_FIRST_YIELD: Final = 6  # least bytecode position of the first yield of an async generator
_RECORDS: Final = ("__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__")
_OF_READERS: Final = ("readline", "readinto", "readany", "__iter__", "__aiter__")  # a response has none of them
_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})


class ReadOnce:
    """
    The arguments of one call that can be read only once.

    Args:
        found: Each argument with its name for messages, and the position of a file that can be reset.
    """

    __slots__ = ("_found",)

    def __init__(self, found: list[tuple[str, Any, int | None]]) -> None:
        self._found = found

    @classmethod
    def among(cls, args: tuple[Any, ...], kwargs: dict[str, Any], *, begun: bool = False) -> ReadOnce | None:
        """
        Find the arguments of a call that can be read only once; None without any.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            begun: Whether the function has already been called without a note of its files' positions. Then they are
                reset to their beginning. Default False.
        """
        if _PLAIN.issuperset(map(type, args)) and (not kwargs or _PLAIN.issuperset(map(type, kwargs.values()))):
            return None
        found: list[tuple[str, Any, int | None]] = []
        for name, argument in _named(args, kwargs):
            if type(argument) not in _PLAIN:
                try:
                    found += [each for part in _parts(argument) for each in _read_once(name, part, begun=begun)]
                except Exception:  # noqa: BLE001, S112 - a proxy outside of its context, say, and no file
                    continue
        return cls(found) if found else None

    def used_up(self) -> str | None:
        """Reset files for another attempt. Returns what cannot be read again, in words; None if everything can."""
        for name, argument, position in self._found:
            if position is not None:
                try:
                    argument.seek(position)
                except Exception:  # noqa: BLE001 - closed meanwhile, or a seek of somebody else's
                    return _words(name, argument)
            elif not _is_fresh(argument):
                return _words(name, argument)
        return None


def _words(name: str, argument: Any) -> str:
    return f"{name}, {kind_of(argument)}, can be read only once"


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for number, argument in enumerate(args, 1):
        yield f"argument {number}", argument
    for name, argument in kwargs.items():
        yield f"argument {name!r}", argument


def _parts(argument: Any, depth: int = 2) -> Iterator[Any]:
    """Iterate over the argument itself, or the members of a list, tuple, dictionary or record of files."""
    inner = _held_by(argument) if depth else None
    if inner is not None:
        for part in islice(inner, _MOST):
            if type(part) not in _PLAIN:
                yield from _parts(part, depth - 1)
    else:
        yield argument


def _held_by(argument: Any) -> Iterable[Any] | None:
    """The members of a list, tuple or dictionary, or the fields of a record; None for anything else."""
    if isinstance(argument, list | tuple):
        return argument
    if isinstance(argument, dict):
        return argument.values()
    if isinstance(argument, type):
        return None
    fields = next((names for mark in _RECORDS if (names := getattr(argument, mark, None)) is not None), None)
    if fields is None:
        return None
    return (getattr(argument, str(getattr(each, "name", each)), None) for each in fields)


def _read_once(name: str, part: Any, *, begun: bool) -> list[tuple[str, Any, int | None]]:
    kind = type(part)
    if isinstance(part, type) or kind.__module__ == "unittest.mock":
        return []
    if (file := _file_of(part)) is not None:
        try:
            return [(name, file, 0 if begun else file.tell())]
        except Exception:  # noqa: BLE001 - closed, or it only looks like a file
            return [(name, file, None)]
    once = hasattr(kind, "__next__") or hasattr(kind, "__anext__") or isinstance(part, io.IOBase | socket.socket)
    reads = hasattr(kind, "read") and any(hasattr(kind, each) for each in _OF_READERS)
    once = once or (reads and not isinstance(part, Mapping))  # a parser of settings has these methods too
    return [(name, part, None)] if once else []


def _file_of(part: Any) -> Any:
    """The file behind an object, if it can seek; None for anything else."""
    if not all(callable(getattr(part, each, None)) for each in ("read", "seek")):
        return None
    if inspect.iscoroutinefunction(part.seek):  # an upload object of a web framework around a file
        part = getattr(part, "file", None)
    try:
        return part if callable(getattr(part, "tell", None)) and part.seekable() else None
    except Exception:  # noqa: BLE001 - closed, or without `seekable`
        return None


def _is_fresh(argument: Any) -> bool:
    """Whether reading has not begun, as far as Python can tell."""
    if inspect.isgenerator(argument):
        return inspect.getgeneratorstate(argument) == inspect.GEN_CREATED
    if inspect.isasyncgen(argument):
        frame = argument.ag_frame
        return frame is not None and frame.f_lasti < _FIRST_YIELD and not argument.ag_running
    return False
