"""Which calls may share a batch: those whose other arguments are equal, given or defaulted."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Grouping:
    """
    Makes the key of a call from a function's signature.

    Args:
        signature: Of the function as written; None when Python cannot tell.
        leading: How many parameters come before the item (self, an injected endpoint).
    """

    def __init__(self, signature: inspect.Signature | None, leading: int) -> None:
        self.item_name: str | None = None
        parameters = list(signature.parameters.values()) if signature is not None else []
        if len(parameters) > leading and parameters[leading].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            self.item_name = parameters[leading].name
        # A name that is given by position only goes by its number: **kwargs may hold the same name, for another thing.
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
        Equal for calls that may share a batch.

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
            key = (*(_typed(values[name]) for name in self._template), *((n, _typed(values[n])) for n in extra))
        else:
            key = tuple([value if type(value) is str else (type(value), value) for value in values.values()])
        if len(rest) > len(names):
            key = key, rest[len(names) :]
        return hashable(key)


def _typed(value: Any) -> Any:
    return value if type(value) is str else (type(value), value)


def hashable(value: Any) -> Hashable:
    """The value itself if it can be hashed; else an equal key for lists, sets and dicts of equal content."""
    try:
        hash(value)
    except TypeError:
        return frozen(value)
    return value  # type: ignore[no-any-return]


def frozen(value: Any) -> Hashable:
    """A key that is equal for values of equal types and content, so that `(1,)` and `(True,)` differ."""
    if isinstance(value, list | tuple):
        return type(value), tuple([frozen(each) for each in value])
    if isinstance(value, dict):
        return type(value), frozenset([(frozen(name), frozen(each)) for name, each in value.items()])
    if isinstance(value, set | frozenset):
        return type(value), frozenset([frozen(each) for each in value])
    try:
        hash(value)
    except TypeError:
        # Equal only to itself. The batch holds the object while the key is in use, so that nothing else gets its id.
        return type(value), id(value)
    return type(value), value
