"""Which calls may share a batch: those whose other arguments are equal, given or defaulted."""

from __future__ import annotations

import inspect
from collections.abc import Hashable
from typing import Any

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Grouping:
    """
    Makes the key of a call from a function's signature.

    Args:
        signature: Of the function as written; None when Python cannot tell.
        leading: How many parameters come before the item (self, an injected endpoint).
    """

    def __init__(self, signature: inspect.Signature | None, leading: int) -> None:
        self.item_name: str | None = None
        self._signature = signature
        self._leading = leading
        parameters = list(signature.parameters.values()) if signature is not None else []
        if len(parameters) > leading and parameters[leading].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            self.item_name = parameters[leading].name
        others = parameters[leading + 1 :]
        named = [each for each in others if each.kind in _NAMED]
        self._template = {each.name: each.default for each in named}
        self._positional = [each.name for each in named if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        # Names given by position only may be given again in **kwargs, with another meaning.
        self._plain = all(each.kind is not inspect.Parameter.POSITIONAL_ONLY for each in others)
        self.default = self.key((), {}) if self._plain else None

    def key(self, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """
        Equal for calls that may share a batch.

        Args:
            rest: Positional arguments after the item.
            kwargs: Keyword arguments without the item.

        Raises:
            TypeError: An argument is given twice.
        """
        if not self._plain:
            return self._bound(rest, kwargs)
        values = {**self._template, **kwargs}
        names = self._positional
        if rest:
            if kwargs and not kwargs.keys().isdisjoint(names[: len(rest)]):
                return self._bound(rest, kwargs)
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

    def _bound(self, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        signature = self._signature
        if signature is None:  # pragma: no cover - only a signature can say that names are positional
            return hashable((rest, kwargs))
        bound = signature.bind_partial(*(None,) * (self._leading + 1), *rest, **kwargs)
        bound.apply_defaults()
        return hashable(dict(bound.arguments))


def _typed(value: Any) -> Any:
    return value if type(value) is str else (type(value), value)


def hashable(value: Any) -> Hashable:
    """The value itself if it can be hashed; else an equal key for lists, sets and dicts of equal content."""
    try:
        hash(value)
    except TypeError:
        return _frozen(value)
    return value  # type: ignore[no-any-return]


def _frozen(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return type(value), tuple([_frozen(each) for each in value])
    if isinstance(value, dict):
        return type(value), frozenset([(_frozen(name), _frozen(each)) for name, each in value.items()])
    if isinstance(value, set | frozenset):
        return type(value), frozenset([_frozen(each) for each in value])
    try:
        hash(value)
    except TypeError:
        # Equal only to itself. The batch holds the object while the key is in use, so that nothing else gets its id.
        return type(value), id(value)
    return type(value), value
