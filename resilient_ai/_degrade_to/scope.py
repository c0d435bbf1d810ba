"""The scope of a decorated function: what it carries besides its arguments, which decides who shares answers."""

from __future__ import annotations

import functools
import itertools
import os
import types
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resilient_ai._core.methods import ResilientMethod
from resilient_ai._core.wrapper import ResilientFunction

from .digest import NoScope, Writer, fields_of, found_by_name, is_open, is_value, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Path = tuple[str | int, ...]  # names of cells and fields, and numbers of the functions in them

# Types in which a program counts, switches and collects.
_CHANGING: Final = frozenset((int, float, complex, bool, type(None), bytearray))
_CONTAINERS: Final = (list, dict, set, deque)
_CONSTANT: Final = frozenset((str, bytes, int, float, complex, bool, type(None)))
_METHODS: Final = (types.MethodType, classmethod, staticmethod)
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, functools.partial, property, *_METHODS)
_OURS: Final = (ResilientFunction, ResilientMethod)
_MOST_KEYS: Final = 100
_MOST_PLACES: Final = 1_000
_MISSING: Final = "a missing key"

_process: Final = os.urandom(8).hex()
_numbers: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Scope:
    """
    Who may share answers: only calls with equal scopes.

    Attributes:
        digest: Equal for functions that carry the same; across processes too, unless `by_identity` names something.
        by_identity: The things that are compared by identity only, in words.
    """

    digest: str
    by_identity: tuple[str, ...] = ()


class Carried:
    """
    What one decorated function carries besides its arguments: closure cells, partial arguments, fields, an instance.

    Plain data counts by value: text by its present value; numbers, flags and containers by the value when they were
    first seen, because programs count and collect in them. Functions and classes count by their contents, so that
    decorators in between make no difference. Anything else counts by identity.

    Args:
        function: The function as it was decorated; None if unknown.
    """

    __slots__ = ("_constant", "_first", "_function", "_kept")

    def __init__(self, function: Any = None) -> None:
        self._function = function
        self._constant: Scope | None = None
        self._first: dict[Path, Any] = {}
        self._kept: dict[Path, tuple[object, int]] = {}

    @property
    def function(self) -> Any:
        """The function as it was decorated; None if unknown."""
        return self._function

    def scope(self, instance: Any = None) -> Scope:
        """
        The present scope.

        Args:
            instance: The instance that a method is bound to.

        Raises:
            NoScope: The instance can neither be compared by value nor identified.
        """
        scope = self._constant or self._without_instance()
        if instance is None:
            return scope
        writer = _ScopeWriter(self)
        writer.piece("function", scope.digest.encode())
        writer.instance(instance)
        return Scope(writer.digest(), (*scope.by_identity, *writer.by_identity))

    def _without_instance(self) -> Scope:
        writer = _ScopeWriter(self)
        if self._function is not None:
            try:
                writer.function(self._function, ())
            except Exception:  # noqa: BLE001 - too much to look at, or an object that raises when it is looked at
                writer = _ScopeWriter(self)
                writer.write_kept(self._function, ())
        scope = Scope(writer.digest(), tuple(writer.by_identity))
        if _carries_nothing(self._function):
            self._constant = scope
        return scope

    def first(self, path: Path, see: Callable[[], Any]) -> Any:
        """The value that was first seen at a path."""
        if path not in self._first:
            if len(self._first) >= _MOST_PLACES:
                self._first.clear()  # the parts of the function are made anew all the time
            self._first.setdefault(path, see())
        return self._first[path]

    def number(self, path: Path, thing: object) -> int:
        """A number for the thing at a path. The thing is kept alive while it is there, so that its id is not reused."""
        known = self._kept.get(path)
        if known is None or known[0] is not thing:
            known = self._kept[path] = thing, next(_numbers)
        return known[1]


class _ScopeWriter(Writer):
    """Writes what a function carries. `by_identity` gives the path of each thing that has no value."""

    __slots__ = ("_carried", "_path", "_seen")

    def __init__(self, carried: Carried) -> None:
        super().__init__()
        self._carried = carried
        self._path: Path = ()
        self._seen: dict[int, tuple[int, object]] = {}

    def function(self, fn: Any, path: Path) -> None:
        """Write a function, or a callable object in its place."""
        self._count(1)
        if self._has_seen(fn):
            return
        if isinstance(fn, types.FunctionType):
            self._plain_function(fn, path)
            if type(fn) is not types.FunctionType and not isinstance(fn, _OURS):  # a wrapper made with wrapt
                self._wrapped(fn, path)
        elif isinstance(fn, functools.partial | functools.partialmethod):
            self.piece("partial", b"")
            self._values({**{str(number): value for number, value in enumerate(fn.args)}, **fn.keywords}, path)
            self.function(fn.func, path)
        elif isinstance(fn, _METHODS):
            self.piece("method", str(type(fn).__name__).encode())
            if isinstance(fn, types.MethodType):
                self.instance(fn.__self__)
            self.function(fn.__func__, path)
        elif isinstance(fn, property):
            self._values({"get": fn.fget}, path)
        elif isinstance(fn, types.BuiltinFunctionType):
            self.piece("builtin", str(fn.__qualname__).encode())
            self.value(fn.__self__, (*path, "self"))
        else:  # a callable object
            self.class_piece(type(fn), b"callable")
            self._values(fields_of(fn), path)
            self._wrapped(fn, path)

    def _wrapped(self, fn: Any, path: Path) -> None:
        for name in ("__wrapped__", "_self_wrapper"):
            # Not getattr() alone: a mock object has every attribute.
            if hasattr(type(fn), name) or name in getattr(fn, "__dict__", {}):
                self.function(getattr(fn, name), (*path, name))

    def _plain_function(self, fn: types.FunctionType, path: Path) -> None:
        self.piece("function", name_of(fn).encode())
        if "<" in fn.__qualname__:  # `<locals>` or `<lambda>`: other functions have the same name
            self._code(fn.__code__)
        self._values(_cells_of(fn), path)
        defaults = {str(number): value for number, value in enumerate(fn.__defaults__ or ())}
        self._values({**defaults, **(fn.__kwdefaults__ or {})}, (*path, "defaults"))
        self._values(vars(fn), path)

    def _code(self, code: types.CodeType) -> None:
        self.piece("code", code.co_code)
        self.write(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.write(constant)

    def _values(self, values: Any, path: Path) -> None:
        self.piece("values", str(len(values)).encode())
        for name in sorted(values):
            self.piece("name", name.encode())
            self.value(values[name], (*path, name))

    def value(self, value: Any, path: Path) -> None:
        """Write one value that a function carries."""
        self._path, left, depth = path, self._left, self._depth
        try:
            self._deeper()
            if type(value) is dict and len(value) <= _MOST_KEYS and all(type(key) is str for key in value):
                keys = self._carried.first((*path, "keys"), lambda: sorted(value))
                self._values({key: value.get(key, _MISSING) for key in keys}, path)
            elif type(value) in _CHANGING or isinstance(value, _CONTAINERS):
                self._changing(value, path)
            elif isinstance(value, types.ModuleType):
                self.piece("module", value.__name__.encode())
            elif type(value) is object:  # a marker object
                self.piece("object", b"")
            elif isinstance(value, type):
                self.write_class(value)
            elif isinstance(value, _FUNCTIONS):
                # If another function comes to this path, its first-seen values start over.
                self.function(value, (*path, self._carried.number((*path, "function"), value)))
            else:
                self.write(value)
        except Exception:  # noqa: BLE001 - as above
            self._left = left - 1
            self.write_kept(value, path)
        self._depth = depth

    def _changing(self, value: Any, path: Path) -> None:
        def see() -> tuple[str, list[str]]:
            writer = Writer()
            writer.write(value)
            return writer.digest(), writer.by_identity

        found, by_identity = self._carried.first(path, see)
        self.piece("first", found.encode())
        self.by_identity.extend(self._in_words(kind) for kind in by_identity)

    def write_kept(self, value: Any, path: Path) -> None:
        """Write a thing that can neither be compared by value nor weakly referenced."""
        self._path = path
        self.by_identity.append(self._in_words(type(value).__qualname__))
        self.piece("kept", f"{_process}:{os.getpid()}:{self._carried.number(path, value)}".encode())

    def instance(self, value: Any) -> None:
        """
        Write the instance of a method: by all its fields if it is a value, else by identity.

        An object that can be compared but not hashed may change, such as a dataclass service that counts its calls.
        """
        self._path = ("self",)
        if isinstance(value, type):
            self.write_class(value)
        elif is_value(type(value)):
            self.write(value)
        else:
            try:
                self.write_identity(value)
            except NoScope:
                if not is_open(type(value)):
                    raise
                self.class_piece(type(value), b"fields")
                self.write(fields_of(value))

    def write_identity(self, value: Any) -> None:
        super().write_identity(value)
        self.by_identity[-1] = self._in_words(type(value).__qualname__)

    def write_class(self, cls: type) -> None:
        if found_by_name(cls):
            super().write_class(cls)
        elif not self._has_seen(cls):
            self.piece("class", name_of(cls).encode())
            self._values({name: each for name, each in vars(cls).items() if _is_carried(name, each)}, ("class",))
            for base in cls.__bases__:
                self.write_class(base)

    def _has_seen(self, thing: Any) -> bool:
        """Whether a function or class was written before; if so, its number is written."""
        if (seen := self._seen.get(id(thing))) is None:
            self._seen[id(thing)] = len(self._seen), thing
            return False
        self.piece("again", str(seen[0]).encode())
        return True

    def _in_words(self, kind: str) -> str:
        kind = kind.rpartition(".")[2]
        where = ".".join(name for name in self._path if isinstance(name, str) and name != "defaults")
        return f"{where} ({kind})" if where else kind


def _carries_nothing(fn: Any) -> bool:
    """Whether a function carries nothing that may differ."""
    if fn is None:
        return True
    if type(fn) is not types.FunctionType:
        return False
    defaults = (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values())
    return not fn.__closure__ and not vars(fn) and all(type(each) in _CONSTANT for each in defaults)


def _cells_of(fn: types.FunctionType) -> dict[str, Any]:
    """
    The cells of a closure, without flags.

    A flag does not identify a tenant. Programs change flags between runs (`down`, `debug`), and would lose the
    answers of the previous run.
    """
    cells = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            contents = cell.cell_contents
        except ValueError:  # the cell is still empty
            continue
        if type(contents) is not bool:
            cells[name] = contents
    return cells


def _is_carried(name: str, member: Any) -> bool:
    """Whether a member of a class counts as something that the class carries."""
    if name.startswith("__") and not isinstance(member, _FUNCTIONS):
        return False
    return not isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType)
