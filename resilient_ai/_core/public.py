"""Give classes and functions the module from which users import them, independent of the file with the code."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def public(module: str = "") -> Callable[[T], T]:
    """
    Set the module from which users import a class or function, for tracebacks, reprs and pickles.

    Args:
        module: A public module of the package, such as `"types"`; default: the package itself.
    """
    home = f"resilient_ai.{module}" if module else "resilient_ai"

    def say(thing: T) -> T:
        if isinstance(thing, type):
            _evaluate_annotations(thing)
        thing.__module__ = home
        return thing

    return say


def _evaluate_annotations(cls: Any) -> None:
    # `typing.get_type_hints`, and pydantic for the fields of a dataclass, look up string annotations in the module of a
    # class, where they would not find these names.
    annotations = inspect.get_annotations(cls, eval_str=True, locals={**vars(cls), cls.__name__: cls})
    if not annotations:
        return
    cls.__annotations__ = annotations
    for name, field in getattr(cls, "__dataclass_fields__", {}).items():
        if name in annotations:
            field.type = annotations[name]
