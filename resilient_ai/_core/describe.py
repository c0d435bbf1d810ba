"""`describe`: show the stack of a decorated function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from .callables import headline
from .printable import printable
from .public import public
from .wrapper import wrapper_of

if TYPE_CHECKING:
    from .policy import Policy

_WRITTEN = ("default", "decorator")  # origins in the program; changes since then are shown


@public("types")
@dataclass(frozen=True, slots=True)
class Layer:
    """
    One policy of a stack, as `describe` shows it.

    Attributes:
        kind: The decorator.
        settings: Its present settings.
        status: Its live state in a few words.
        origins: The origin of each setting: "default", "decorator", or "configure" or the name of a file with the
            call site or pattern for which it was set there, such as "configure summar*".
    """

    kind: str
    settings: dict[str, Any]
    status: str
    origins: dict[str, str]


@public("types")
@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """The stack of a decorated function, outermost first."""

    function: str
    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        lines = [self.function]
        for layer in self.layers:
            lines.append(f"  {layer.kind} {printable(layer.status)}".rstrip())
            settings = ", ".join(
                f"{name}={brief(value)}" + ("" if (origin := layer.origins[name]) in _WRITTEN else f" ({origin})")
                for name, value in layer.settings.items()
            )
            if settings:
                lines.append(f"      {printable(settings)}")
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
    return Description(headline(wrapper, stack.name), tuple(_layer(policy, stack.name) for policy in stack.policies))


def _layer(policy: Policy[Any], function: str) -> Layer:
    set_here = policy.registry.book.of(policy.kind, policy.name or function)
    origins = {each.name.partition(".")[0]: f"{each.origin} {each.pattern}" for each in set_here}
    values = _settings(policy.config)
    settings = {name: value for name, value in values.items() if value is not None or name in origins}
    declared, default = _settings(policy.declared), _settings(policy.default_config()) if policy.changeable else {}
    written = {
        name: "default" if name in default and default[name] == declared[name] else "decorator" for name in values
    }
    return Layer(policy.kind, settings, policy.status(), {name: (written | origins)[name] for name in settings})


def _settings(config: Any) -> dict[str, Any]:
    if not is_dataclass(config):
        return {}
    return {field.name: getattr(config, field.name) for field in fields(config) if field.repr}


def brief(value: Any) -> str:
    """A setting's value in at most 60 characters."""
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
