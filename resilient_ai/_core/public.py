"""The name under which users know a class or a function, wherever the file that holds its code lies."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def public(module: str = "") -> Callable[[T], T]:
    """
    Say where users import a class or function from, for tracebacks, reprs and pickles.

    Args:
        module: A public module of the package, `"types"` say; default the front door.
    """
    home = f"resilient_ai.{module}" if module else "resilient_ai"

    def say(thing: T) -> T:
        if isinstance(thing, type):
            _evaluate_annotations(thing)
        thing.__module__ = home
        return thing

    return say


def _evaluate_annotations(cls: Any) -> None:
    # `typing.get_type_hints`, and pydantic for the fields of a dataclass, look up annotations that are strings in the
    # module that a class names, and there they would find nothing.
    annotations = inspect.get_annotations(cls, eval_str=True, locals={**vars(cls), cls.__name__: cls})
    if not annotations:
        return
    cls.__annotations__ = annotations
    for name, field in getattr(cls, "__dataclass_fields__", {}).items():
        if name in annotations:
            field.type = annotations[name]
