"""Which calls may share a batch: those with equal other arguments, given or defaulted."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from typing import Any

from resilient_ai._core.frozen import UnkeyableError, frozen

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Grouping:
    """
    Computes the group of a call, using the function's signature.

    Args:
        signature: Signature of the function as written; None when Python cannot tell.
        leading: How many parameters come before the item (self, an injected endpoint).

    Attributes:
        item_name: The keyword by which the item may be given; None if there is none.
        default: The group of a call with nothing but an item.
    """

    def __init__(self, signature: inspect.Signature | None, leading: int) -> None:
        self.item_name: str | None = None
        parameters = list(signature.parameters.values()) if signature is not None else []
        if len(parameters) > leading and parameters[leading].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            self.item_name = parameters[leading].name
        # Positional-only parameters go by their number: **kwargs may have another argument of the same name.
        names: dict[str, Any] = {
            each.name: number if each.kind is inspect.Parameter.POSITIONAL_ONLY else each.name
            for number, each in enumerate(parameters)
        }
        others = [each for each in parameters[leading + 1 :] if each.kind not in _STARRED]
        self._template: dict[Any, Any] = {names[each.name]: each.default for each in others}
        self._positional = [names[each.name] for each in others if each.kind in _POSITIONAL]
        self.default = self.key((), {})

    def key(self, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """
        The group of a call: equal for calls that may share a batch.

        Args:
            rest: Positional arguments after the item.
            kwargs: Keyword arguments without the item.

        Raises:
            TypeError: An argument is given twice.
        """
        values = {**self._template, **kwargs}
        names = self._positional
        if rest:
            twice = kwargs.keys() & names[: len(rest)] if kwargs else None
            if twice:
                raise TypeError(f"{sorted(twice)[0]!r} is given twice, by position and by name")
            values.update(zip(names, rest, strict=False))
        key: Hashable
        if len(values) > len(self._template):
            extra = sorted(values.keys() - self._template.keys())
            named = [(name, comparable(values[name])) for name in extra]
            key = (*[comparable(values[name]) for name in self._template], *named)
        else:
            key = tuple([value if type(value) is str else comparable(value) for value in values.values()])
        return (key, comparable(rest[len(names) :])) if len(rest) > len(names) else key


def comparable(value: Any) -> Hashable:
    """A key that is equal for values of equal type and content; if these cannot be read, for the same object only."""
    try:
        return frozen(value, opaque=_Itself)
    except UnkeyableError:
        return _Itself(value)


class _Itself:
    """Equal for the same object only. Keeps the object alive, so that no later object gets its identity."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Itself and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
