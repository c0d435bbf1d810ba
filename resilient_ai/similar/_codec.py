"""Answers as typed JSON: a decoded answer equals the encoded one, and decoding builds only allowed classes."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import json
import uuid
from typing import TYPE_CHECKING, Any

from resilient_ai._core.kinds import with_article
from resilient_ai._core.usage import Usage
from resilient_ai._usage.reply import Reply, ToolCall

from ._answer_types import is_buildable, is_model, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TYPE = "$type"
_FACTS = ("finish_reason", "parsed", "model", "endpoint")
_NONE: Mapping[str, type] = {}


class NotStorable(TypeError):  # noqa: N818 - the name is the message
    """An answer of a kind that has no typed JSON form."""


def encode(answer: Any, classes: set[type] | None = None) -> str:
    """
    Encode an answer as JSON.

    Text, `Reply`, numbers, None, lists, tuples, dicts, bytes, dates, decimals, UUIDs, dataclasses and pydantic models,
    nested to any depth.

    Args:
        answer: The answer.
        classes: A set to which the dataclasses and models in the answer are added.

    Raises:
        NotStorable: The answer contains anything else.
    """
    try:
        return json.dumps(_Encoder(classes).plain(answer), ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise NotStorable("an answer that is nested too deeply") from None


def decode(text: str, types: Mapping[str, type] = _NONE) -> Any:
    """
    Decode a text into a new copy of the answer.

    Names in the text are never imported.

    Args:
        text: The result of `encode`.
        types: Classes that may be built, by name.

    Raises:
        NotStorable: The text was not written by `encode`, or contains a class that is not in `types` or has changed.
    """
    try:
        return _Decoder(types).restored(json.loads(text))
    except NotStorable:
        raise
    except Exception as error:  # noqa: BLE001 - a file may hold anything
        raise NotStorable(f"an answer that cannot be read back: {type(error).__name__}") from None


class _Encoder:
    def __init__(self, classes: set[type] | None) -> None:
        self._classes = classes

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if kind is str or kind is int or kind is float or kind is bool or value is None:
            return value
        if kind is list:
            return [self.plain(each) for each in value]
        if kind is dict:
            if _TYPE not in value and all(type(key) is str for key in value):
                return {key: self.plain(each) for key, each in value.items()}
            return _typed("dict", [[self.plain(key), self.plain(each)] for key, each in value.items()])
        if kind is tuple:
            return _typed("tuple", [self.plain(each) for each in value])
        if kind is bytes:
            return _typed("bytes", base64.b64encode(value).decode())
        if kind in _WRITTEN:
            return _typed(kind.__name__, value.isoformat() if hasattr(value, "isoformat") else str(value))
        if kind is Reply:
            return _typed("Reply", [str(value), self._facts(value)])
        return self._object(kind, value)

    def _facts(self, reply: Reply) -> dict[str, Any]:
        facts = {name: self.plain(getattr(reply, name)) for name in _FACTS if getattr(reply, name) is not None}
        if reply.usage is not None:
            facts["usage"] = dataclasses.asdict(reply.usage)
        if reply.tool_calls:
            facts["tool_calls"] = [[each.id, each.name, self.plain(each.arguments)] for each in reply.tool_calls]
        return facts

    def _object(self, kind: type, value: Any) -> dict[str, Any]:
        if not is_buildable(kind):
            raise NotStorable(with_article(name_of(kind)))
        if self._classes is not None:
            self._classes.add(kind)
        if is_model(kind):
            return _typed("model", [name_of(kind), value.model_dump(mode="json")])
        fields: Any = dataclasses.fields(value)
        return _typed(
            "dataclass",
            [name_of(kind), {each.name: self.plain(getattr(value, each.name)) for each in fields if each.init}],
        )


def _typed(name: str, value: Any) -> dict[str, Any]:
    return {_TYPE: name, "value": value}


_WRITTEN = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
}
_READERS: dict[str, Callable[[str], Any]] = {kind.__name__: read for kind, read in _WRITTEN.items()}


class _Decoder:
    def __init__(self, types: Mapping[str, type]) -> None:
        self._types = types

    def restored(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.restored(each) for each in value]
        if not isinstance(value, dict):
            return value
        name = value.get(_TYPE)
        if name is None:
            return {key: self.restored(each) for key, each in value.items()}
        inner = value["value"]
        if name == "dict":
            return {self.restored(key): self.restored(each) for key, each in inner}
        if name == "tuple":
            return tuple([self.restored(each) for each in inner])
        if name == "bytes":
            return base64.b64decode(inner)
        if name in _READERS:
            return _READERS[name](inner)
        known, content = inner
        return self._reply(known, content) if name == "Reply" else self._object(name, known, content)

    def _reply(self, text: str, facts: dict[str, Any]) -> Reply:
        known = {name: self.restored(facts[name]) for name in _FACTS if name in facts}
        calls = [ToolCall(key, name, self.restored(arguments)) for key, name, arguments in facts.get("tool_calls", ())]
        usage = Usage(**facts["usage"]) if "usage" in facts else None
        return Reply(str(text), **known, usage=usage, tool_calls=calls)

    def _object(self, name: str, known: str, content: Any) -> Any:
        kind: Any = self._types.get(known)
        if kind is None:
            raise NotStorable("an answer of a class that the call site does not name")
        if name == "model" and is_model(kind):
            # Validated as JSON: only then does a strict model accept a date as a string.
            return kind.model_validate_json(json.dumps(content))
        if name == "dataclass" and dataclasses.is_dataclass(kind) and not is_model(kind):
            build: Any = kind
            return build(**{str(key): self.restored(each) for key, each in content.items()})
        raise NotStorable(f"{with_article(known)}, which is no {name} any more")
