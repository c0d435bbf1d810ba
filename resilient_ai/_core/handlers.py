"""The type of a bound layer: a function that runs a call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

# (bound function, instance or None, positional arguments, keyword arguments) -> coroutine.
# The instance is the object that a method is bound to; the bound function already has it.
Handler = Callable[[Callable[..., Any], Any, "tuple[Any, ...]", "dict[str, Any]"], Coroutine[Any, Any, Any]]
