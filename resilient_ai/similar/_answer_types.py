"""`AnswerTypes`: the classes that a memory may build for a call site; a file or a server cannot add others."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
import typing
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from resilient_ai._core.forks import hold_while_forking

_MOST_CLASSES = 256  # most classes of one call site; annotations may refer to themselves
_MOST_SITES = 1_000


def name_of(kind: type) -> str:
    """The name of a class in a store."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_model(kind: Any) -> bool:
    """Whether a class is a pydantic model."""
    return isinstance(kind, type) and callable(getattr(kind, "model_validate", None)) and hasattr(kind, "model_fields")


def is_buildable(kind: Any) -> bool:
    """Whether answers of this class can be kept."""
    return isinstance(kind, type) and (is_model(kind) or dataclasses.is_dataclass(kind))


class AnswerTypes:
    """
    Classes by name, per call site: those given as `types=`, those of the site's return annotation, and those of
    answers that the site itself has returned in this process. Thread-safe.

    Args:
        types: Classes that every call site may get.

    Raises:
        ValueError: One of them is neither a dataclass nor a pydantic model.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        self._given: dict[str, type] = {}
        for kind in types:
            if not is_buildable(kind):
                raise ValueError(f"types must be dataclasses or pydantic models, got {kind!r}")
            self._given |= buildable(kind)
        self._lock = threading.RLock()
        hold_while_forking(self, self._lock, rank=8)
        self._annotated: weakref.WeakKeyDictionary[Any, dict[str, type]] = weakref.WeakKeyDictionary()
        self._returned: dict[str, weakref.WeakValueDictionary[str, type]] = {}

    def of(self, function: str, target: Any) -> Mapping[str, type]:
        """
        The classes of one call site.

        Args:
            function: Its name.
            target: The function itself, whose return annotation counts; None if unknown.
        """
        with self._lock:
            returned = self._returned.get(function)
            return {**self._given, **self._annotation(target), **(returned if returned is not None else {})}

    def _annotation(self, target: Any) -> dict[str, type]:
        if target is None:
            return {}
        # The function of a bound method, which is a new object for every call.
        target = getattr(target, "__func__", target)
        try:
            known = self._annotated.get(target)
            if known is None:
                known = self._annotated[target] = buildable(return_annotation(target))
        except TypeError:  # not hashable, or not weakly referenceable
            known = buildable(return_annotation(target))
        return known

    def note(self, function: str, kinds: Iterable[type]) -> None:
        """Add the classes of an answer that the call site has returned."""
        with self._lock:
            for kind in kinds:
                if function not in self._returned and len(self._returned) >= _MOST_SITES:
                    return
                mine = self._returned.setdefault(function, weakref.WeakValueDictionary())
                if len(mine) < _MOST_CLASSES:
                    mine[name_of(kind)] = kind


def return_annotation(target: Any) -> Any:
    """The return annotation of a function, with names resolved; None if there is none, or they cannot be resolved."""
    while isinstance(target, functools.partial):
        target = target.func
    function = inspect.unwrap(getattr(target, "__func__", target))
    if not hasattr(function, "__annotations__"):  # an object with an async __call__
        function = inspect.unwrap(type(function).__call__)
    annotation = getattr(function, "__annotations__", {}).get("return")
    if not isinstance(annotation, str):
        return annotation
    holder = type("Holder", (), {"__annotations__": {"answer": annotation}})
    try:
        return typing.get_type_hints(holder, getattr(function, "__globals__", None), {})["answer"]
    except Exception:  # noqa: BLE001 - a name that exists for type checkers only
        return None


def buildable(annotation: Any) -> dict[str, type]:
    """Dataclasses and pydantic models in an annotation, including those in the fields of such dataclasses."""
    found: dict[str, type] = {}
    left = [annotation]
    seen: set[int] = set()
    while left and len(seen) < 4 * _MOST_CLASSES and len(found) < _MOST_CLASSES:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        left += typing.get_args(each)
        left += [inner for name in ("__supertype__", "__value__") if (inner := getattr(each, name, None)) is not None]
        if is_buildable(each):
            found[name_of(each)] = each
            if not is_model(each):
                left += _field_types(each)
    return found


def _field_types(kind: Any) -> list[Any]:
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - a name that exists for type checkers only
        hints = {}
    return [hints.get(field.name, field.type) for field in dataclasses.fields(kind)]
