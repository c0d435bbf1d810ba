"""What a function is: async or streaming, a method or not, its name and its signature."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def unwrapped(fn: Any) -> list[Any]:
    """The function itself, and what it stands for: partials, methods and well-behaved decorators opened."""
    found: list[Any] = []
    while fn is not None and len(found) < 50:
        found.append(fn)
        if isinstance(fn, classmethod | staticmethod) or inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(fn, functools.partial):
            fn = fn.func
        else:
            fn = getattr(fn, "__wrapped__", None)
    return found


def is_stream(fn: Any, kind: str) -> bool:
    """
    Whether a function is an async generator function.

    Args:
        fn: What was decorated.
        kind: The decorator, for the message.

    Raises:
        TypeError: It is neither that nor an async function.
    """
    if inspect.isclass(fn):
        raise TypeError(f"@{kind} needs an async function, got the class {fn.__qualname__}; decorate its methods")
    for layer in unwrapped(fn):
        call = layer if inspect.isroutine(layer) else getattr(type(layer), "__call__", None)  # noqa: B004 - the method itself is wanted
        if inspect.iscoroutinefunction(layer) or inspect.iscoroutinefunction(call):
            return False
        # A method of an aiobotocore client is a plain function that hands out this one's coroutine.
        if inspect.iscoroutinefunction(getattr(getattr(layer, "__self__", None), "_make_api_call", None)):
            return False
        if inspect.isasyncgenfunction(layer) or inspect.isasyncgenfunction(call):
            return True
    shown = f"the plain function {fn.__qualname__}" if inspect.isroutine(fn) else f"a {type(fn).__qualname__}"
    raise TypeError(
        f"@{kind} needs an async function, got {shown};"
        " make it `async def`, and call blocking code with `await anyio.to_thread.run_sync(...)`"
    )


def signature_of(fn: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn)
    except (TypeError, ValueError):
        return None


def is_method(fn: Any) -> bool:
    """Whether a function was written in a class body, so that its first parameter is `self`."""
    parts = getattr(fn, "__qualname__", "").split(".")
    return inspect.isfunction(fn) and len(parts) > 1 and parts[-2] != "<locals>"


_homes: dict[str, str] = {}  # qualified name → the module that used it first


def unique_name(fn: Any) -> str:
    """The qualified name; with the module in front if another module has one of the same name."""
    named = next((layer for layer in unwrapped(fn) if getattr(layer, "__qualname__", None)), type(fn))
    name, module = str(named.__qualname__), str(getattr(named, "__module__", None) or "")
    return name if _homes.setdefault(name, module) == module else f"{module}.{name}"


def headline(fn: Any, name: str) -> str:
    """Name and signature as people read them; defaults are left out, because one of them may be a key."""
    name = getattr(fn, "__qualname__", None) or name  # a partial has none of its own
    try:
        signature = fn.__signature__
    except (TypeError, ValueError):
        return name

    def bare(annotation: Any) -> Any:
        return _Bare(annotation) if isinstance(annotation, str) else annotation

    shown = [
        each.replace(annotation=bare(each.annotation), default=each.empty if each.default is each.empty else _Bare("…"))
        for each in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=shown, return_annotation=bare(signature.return_annotation))}"


class _Bare(str):
    """Text that a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
