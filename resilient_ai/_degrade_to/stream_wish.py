"""Decide whether the caller of a function expects a stream, before there is an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_origin

if TYPE_CHECKING:
    import inspect

    from resilient_ai._core.policy import Site

    from .config import DegradeConfig
    from .contract import FailedCall

_STREAM = re.compile(r"\bAsync(?:Iterator|Iterable|Generator|Stream)\b")
_PLAIN_STREAM = re.compile(r"\b(?:Iterator|Generator|Stream)\b")
_SEVERAL = re.compile(r"\||\bUnion\b|\bOptional\b")


class StreamWish:
    """
    Decides whether the calls of one function expect a stream.

    Args:
        signature: Signature of the function; None when Python cannot tell.
        always: Whether every call expects one.
        plain: Whether the function is a plain one.
    """

    __slots__ = ("_always", "_annotated", "_seen")

    def __init__(self, signature: inspect.Signature | None, *, always: bool, plain: bool = False) -> None:
        self._always = always
        self._annotated = _says_stream(signature, plain=plain)
        self._seen: dict[object, bool] = {}  # by value of the argument `stream`: whether the latest answer was a stream

    @property
    def certain(self) -> bool:
        """Whether every call expects one."""
        return self._always

    @property
    def doubts(self) -> bool:
        """Whether an answer that is not a stream is news, because streams have been seen or are expected."""
        return not self._always and (self._annotated or bool(self._seen))

    def learn(self, argument: object, *, streamed: bool) -> None:
        """Take in whether an answer was a stream."""
        self._seen[argument if isinstance(argument, bool) else None] = streamed

    def of(self, call: FailedCall) -> bool:
        """Whether this call expects one."""
        if self._always:
            return True
        argument = stream_argument(call.arguments, call.kwargs)
        if (seen := self._seen.get(argument if isinstance(argument, bool) else None)) is not None:
            return seen
        return argument if isinstance(argument, bool) else self._annotated


def stream_argument(arguments: Mapping[str, Any], kwargs: Mapping[str, Any]) -> object:
    """The argument `stream`; None without one."""
    return kwargs["stream"] if "stream" in kwargs else arguments.get("stream")


def may_stream(site: Site, config: DegradeConfig) -> bool:
    """Whether a call of the function may expect a stream."""
    if site.streaming or config.stream or site.signature is None or _says_stream(site.signature, plain=site.plain):
        return True
    parameters = site.signature.parameters.values()
    return any(each.name == "stream" or each.kind is each.VAR_KEYWORD for each in parameters)


def _says_stream(signature: inspect.Signature | None, *, plain: bool) -> bool:
    """Whether the return annotation is that of a stream only."""
    annotation = signature.return_annotation if signature is not None else None
    if isinstance(annotation, str):
        return bool((_PLAIN_STREAM if plain else _STREAM).search(annotation)) and not _SEVERAL.search(annotation)
    origin = get_origin(annotation) or annotation
    return origin not in (Union, UnionType) and hasattr(origin, "__next__" if plain else "__aiter__")
