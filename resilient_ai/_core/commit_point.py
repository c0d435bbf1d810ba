"""
The commit point of a stream: its first item with content, which a consumer could show.

Before it, another provider can still take over, because nothing has been delivered. The known chunk types are
recognised by their fields, as objects or as dictionaries; no SDK is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .fields import field_of

Commits = Callable[[Any], bool]

MOST_HELD: Final = 64  # most items without content that are held back

_NO_CONTENT = frozenset({"role", "name", "id", "index", "type", "object"})  # fields of a delta that are not content
_CONVERSE_PREAMBLE = frozenset({"messageStart", "contentBlockStop", "messageStop", "metadata"})
_PREAMBLE = frozenset(
    {
        "ping",
        "keepalive",
        "error",
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_stop",
        "message-start",
        "message-end",
        "content-start",
        "content-end",
        "stream-start",
        "stream-end",
    }
)


def has_content(item: Any) -> bool:
    """Whether an item is more than a preamble; unknown items count as content."""
    if isinstance(item, str | bytes):
        return bool(item)
    kind = field_of(item, "type")
    if isinstance(kind, str):
        if (of_type := _by_type(kind, item)) is not None:
            return of_type
    elif isinstance(item, Mapping) and len(item) == 1 and (found := _converse(item)) is not None:
        return found
    if isinstance(choices := field_of(item, "choices"), list | tuple):
        return any(_choice_has_content(each) for each in choices)
    if (found := _candidates(item)) is not None:
        return found
    data = field_of(item, "data")
    if data is not None and isinstance(field_of(data, "choices"), list | tuple):  # an event with the chunk inside
        return has_content(data)
    return True


def _by_type(kind: str, item: Any) -> bool | None:
    if kind in _PREAMBLE:
        return False
    if kind.startswith("response."):
        if kind.endswith(".delta"):
            return bool(field_of(item, "delta"))
        return kind.endswith((".done", ".partial_image"))
    if kind == "content_block_start":
        block = field_of(item, "content_block")
        begins_empty = field_of(block, "type") in ("text", "thinking")
        return not begins_empty or bool(field_of(block, "text") or field_of(block, "thinking"))
    if kind == "content_block_delta":
        return _says_something(field_of(item, "delta"))
    return None


def _choice_has_content(choice: Any) -> bool:
    return (
        bool(field_of(choice, "text"))
        or _says_something(field_of(choice, "delta"))
        or field_of(choice, "message") is not None
    )


def _says_something(delta: Any) -> bool:
    return any(value and name not in _NO_CONTENT for name, value in _fields(delta))


def _candidates(item: Any) -> bool | None:
    """Whether a chunk of Google has content; None for any other item."""
    candidates = field_of(item, "candidates")
    if isinstance(candidates, list | tuple):
        parts = [part for each in candidates for part in field_of(field_of(each, "content"), "parts") or ()]
        return any(_says_something(part) for part in parts)
    usage = any(field_of(item, name) is not None for name in ("usage_metadata", "usageMetadata"))
    return False if usage and candidates is None else None


def _converse(item: Mapping[Any, Any]) -> bool | None:
    """Whether an event of Bedrock has content; None for any other item."""
    name, value = next(iter(item.items()))
    if name in _CONVERSE_PREAMBLE:
        return False
    if name == "contentBlockStart":
        return bool(field_of(value, "start"))
    return None


def _fields(thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        return list(thing.items())
    own = getattr(thing, "__dict__", None)
    extra = getattr(thing, "model_extra", None)  # fields that a vendor has added to a pydantic model
    found = list(own.items()) if isinstance(own, dict) else []
    return found + (list(extra.items()) if isinstance(extra, Mapping) else [])
