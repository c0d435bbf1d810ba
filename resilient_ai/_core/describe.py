"""`describe`: the stack of a decorated function, for people."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from .callables import headline
from .public import public
from .wrapper import wrapper_of


@public("types")
@dataclass(frozen=True, slots=True)
class Layer:
    """One policy of a stack, as `describe` shows it."""

    kind: str
    settings: dict[str, Any]
    status: str


@public("types")
@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """The stack of a decorated function, outermost first."""

    function: str
    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        lines = [self.function]
        for layer in self.layers:
            lines.append(f"  {layer.kind} {layer.status}".rstrip())
            settings = ", ".join(f"{name}={_brief(value)}" for name, value in layer.settings.items())
            if settings:
                lines.append(f"      {settings}")
        return "\n".join(lines)


@public()
def describe(fn: Callable[..., Any]) -> Description:
    """
    The stack of a decorated function: kinds, settings and live state, outermost first.

    Args:
        fn: A decorated function or method.

    Raises:
        TypeError: `fn` carries none of our decorators.
    """
    wrapper = wrapper_of(fn)
    if wrapper is None:
        raise TypeError(f"{getattr(fn, '__qualname__', type(fn).__qualname__)} has none of our decorators on it")
    stack = wrapper._self_stack
    return Description(
        headline(wrapper, stack.name),
        tuple(Layer(policy.kind, _settings(policy.config), policy.status()) for policy in stack.policies),
    )


def _settings(config: Any) -> dict[str, Any]:
    if not is_dataclass(config):
        return {}
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.repr}
    return {name: value for name, value in values.items() if value is not None}


def _brief(value: Any) -> str:
    text = _plain(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _plain(value: Any) -> str:
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(value.__qualname__)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    return repr(value)
