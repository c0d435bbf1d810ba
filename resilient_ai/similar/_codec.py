"""Answers as typed JSON: a decoded answer equals the encoded one, and decoding imports nothing."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import json
import sys
import uuid
from typing import Any

_TYPE = "$type"


class NotStorable(TypeError):  # noqa: N818 - the name is the message
    """An answer of a kind that has no typed JSON form."""


def encode(answer: Any) -> str:
    """
    An answer as JSON.

    Text, numbers, None, lists, tuples, dicts, bytes, dates, decimals, UUIDs, dataclasses and pydantic models, nested
    to any depth.

    Raises:
        NotStorable: Anything else in it.
    """
    try:
        return json.dumps(_plain(answer), ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise NotStorable("an answer that is nested too deeply") from None


def decode(text: str) -> Any:
    """
    A new copy of the answer.

    Raises:
        NotStorable: Not written by `encode`, or of a class that this process has not imported, or that changed.
    """
    try:
        return _restored(json.loads(text))
    except NotStorable:
        raise
    except Exception as error:  # noqa: BLE001 - a file may hold anything
        raise NotStorable(f"an answer that cannot be read back: {type(error).__name__}") from None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if kind is list:
        return [_plain(each) for each in value]
    if kind is dict:
        if _TYPE not in value and all(type(key) is str for key in value):
            return {key: _plain(each) for key, each in value.items()}
        return _typed("dict", [[_plain(key), _plain(each)] for key, each in value.items()])
    if kind is tuple:
        return _typed("tuple", [_plain(each) for each in value])
    if kind is bytes:
        return _typed("bytes", base64.b64encode(value).decode())
    if kind in _WRITTEN:
        return _typed(kind.__name__, value.isoformat() if hasattr(value, "isoformat") else str(value))
    if _is_model(kind) or dataclasses.is_dataclass(kind):
        if _known_class(kind.__module__, kind.__qualname__) is not kind:
            raise NotStorable(f"a {kind.__module__}.{kind.__qualname__}, which cannot be found by its name")
        if _is_model(kind):
            return _typed("model", [kind.__module__, kind.__qualname__, value.model_dump(mode="json")])
        fields = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(kind) if each.init}
        return _typed("dataclass", [kind.__module__, kind.__qualname__, fields])
    raise NotStorable(f"a {kind.__module__}.{kind.__qualname__}")


def _typed(name: str, value: Any) -> dict[str, Any]:
    return {_TYPE: name, "value": value}


_WRITTEN = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
}
_READERS = {kind.__name__: read for kind, read in _WRITTEN.items()}


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(each) for each in value]
    if not isinstance(value, dict):
        return value
    name = value.get(_TYPE)
    if name is None:
        return {key: _restored(each) for key, each in value.items()}
    inner = value["value"]
    if name == "dict":
        return {_restored(key): _restored(each) for key, each in inner}
    if name == "tuple":
        return tuple(_restored(each) for each in inner)
    if name == "bytes":
        return base64.b64decode(inner)
    if name in _READERS:
        return _READERS[name](inner)
    module, qualname, fields = inner
    kind = _known_class(module, qualname)
    if name == "model" and _is_model(kind):
        return kind.model_validate(fields)
    if name == "dataclass" and dataclasses.is_dataclass(kind):
        build: Any = kind
        return build(**{key: _restored(each) for key, each in fields.items()})
    raise NotStorable(f"a {module}.{qualname}, which is no {name} any more")


def _is_model(kind: Any) -> bool:
    return callable(getattr(kind, "model_validate", None)) and hasattr(kind, "model_fields")


def _known_class(module: str, qualname: str) -> Any:
    """A class that is imported already. A file must not be able to make this process import anything."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise NotStorable(f"a {module}.{qualname}, which is not imported")
    return found
