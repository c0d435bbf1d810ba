"""Functions that return a context manager: they send the request when its block is entered, outside all policies."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any


def gives_context_manager(fn: Any) -> bool:
    """Whether a plain function is known to return an async context manager, or one made by `contextlib`."""
    function = fn.__func__ if inspect.ismethod(fn) else fn
    if type(function) is not FunctionType or inspect.iscoroutinefunction(function):
        return False
    if function.__globals__.get("__name__") == "contextlib":
        return True
    if inspect.isasyncgenfunction(function):
        return False
    if "__wrapped__" not in vars(function):  # otherwise the annotations are those of the wrapped function
        returned = function.__annotations__.get("return")
        named = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
        if named.partition("[")[0].rpartition(".")[2].endswith(("ContextManager", "StreamManager")):
            return True
    return any(
        name.endswith("ContextManager") and hasattr(function.__globals__.get(name), "__aenter__")
        for name in function.__code__.co_names
    )


def refuse_context_manager(fn: Any, kind: str) -> None:
    """Raise an error that says what to write instead."""
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    raise TypeError(
        f"@{kind} needs a function that sends its request when it is awaited; {name} returns a context manager, which"
        " sends it when the block is entered; decorate an async generator function instead, whose body is"
        " `async with ... as stream:` and then `async for item in stream: yield item`"
    )
