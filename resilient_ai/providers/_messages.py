"""
Parse messages in OpenAI's form for all APIs: roles, parts, tool calls and tool results.

Parts of chat completions and of Responses are both accepted. Parts in the form of another vendor are kept unchanged,
for the API that knows them.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from resilient_ai._core.kinds import kind_of
from resilient_ai._usage.reply import ToolCall

JSON: TypeAlias = dict[str, Any]
Prompt: TypeAlias = str | Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Media:
    """
    An image, a document or a sound in a message, by address or as bytes in base64.

    Attributes:
        kind: "image", "file" or "audio".
        mime: Its MIME type, if known.
        url: Address; None if it has bytes.
        data: Bytes in base64; empty if it has an address.
        name: Name of a file.
        own: The original part.
    """

    kind: str
    mime: str
    url: str | None = None
    data: str = ""
    name: str | None = None
    own: JSON = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.data)


@dataclass(frozen=True, slots=True)
class Own:
    """A part in the form of one vendor."""

    part: JSON


Part: TypeAlias = str | Media | Own


@dataclass(slots=True)
class Turn:
    """
    One message.

    Attributes:
        role: "system", "user", "assistant" or "tool"; "" for an item in a vendor's own form.
        parts: Its content.
        calls: Tool calls of the assistant.
        call_id: Id of the tool call whose result this is.
        extra: Data that a vendor needs back, by vendor.
        own: The original message.
    """

    role: str
    parts: list[Part] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    own: JSON = field(default_factory=dict)

    @property
    def text(self) -> str | None:
        """Its text; None if it has other parts."""
        texts = [each for each in self.parts if isinstance(each, str)]
        return "\n".join(texts) if len(texts) == len(self.parts) else None


Wrong: TypeAlias = Callable[[str], Exception]

_ROLES = {"developer": "system", "model": "assistant", "function": "tool"}


def turns_of(prompt: Prompt, wrong: Wrong) -> list[Turn]:
    """
    The messages of a prompt.

    Args:
        prompt: A text, or messages.
        wrong: Makes the error that is raised for a prompt that cannot be read.
    """
    if isinstance(prompt, str):
        if not prompt:
            raise wrong("the prompt is empty")
        return [Turn("user", [str(prompt)], own={"role": "user", "content": str(prompt)})]
    if not isinstance(prompt, list | tuple) or not prompt:
        kind = "an empty one" if prompt == [] else kind_of(prompt)
        raise wrong(f"a prompt is a text or a list of messages, got {kind}")
    return [_turn(each, number, wrong) for number, each in enumerate(prompt)]


def _turn(message: object, number: int, wrong: Wrong) -> Turn:
    def problem(what: str) -> NoReturn:
        raise wrong(f"message {number} {what}")

    if not isinstance(message, Mapping):
        if type(message).__module__.partition(".")[0] == "google":
            return Turn("", own={"content": message})
        problem("must be a mapping with 'role' and 'content'")
    own = dict(message)
    if "parts" in own or ("type" in own and "role" not in own):
        return Turn("", own=own)
    said_by = own.get("role")
    if not isinstance(said_by, str) or ("content" not in own and not own.get("tool_calls")):
        problem("must be a mapping with 'role' and 'content'")
    role = _ROLES.get(said_by, said_by)
    if role == "system" and not _is_text(own["content"]):
        raise wrong("a system message must be a text")
    turn = Turn(role, _parts(own.get("content"), problem), own=own, extra=own.get("extra_content") or {})
    turn.calls = [_call(each, problem) for each in own.get("tool_calls") or ()]
    if role == "tool":
        turn.call_id = str(own.get("tool_call_id") or own.get("name") or "")
        if not turn.call_id:
            problem("must have a 'tool_call_id'")
    if own.get("refusal") and not turn.parts:
        turn.parts = [str(own["refusal"])]
    return turn


def _is_text(content: object) -> bool:
    if isinstance(content, list | tuple):
        return all(isinstance(each, Mapping) and isinstance(each.get("text"), str) for each in content)
    return isinstance(content, str)


def _parts(content: object, problem: Callable[[str], NoReturn]) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [str(content)]
    if not isinstance(content, list | tuple):
        problem(f"has {kind_of(content)} as content; it must be a text or a list of parts")
    return [_part(each, problem) for each in content]


def _part(part: object, problem: Callable[[str], NoReturn]) -> Part:
    if isinstance(part, str):
        return str(part)
    if not isinstance(part, Mapping):
        problem(f"has {kind_of(part)} among its parts; a part is a text or a mapping")
    own = dict(part)
    kind = own.get("type")
    if (
        kind in ("text", "input_text", "output_text")
        and isinstance(own.get("text"), str)
        and "cache_control" not in own
    ):
        return str(own["text"])
    if kind == "refusal":
        return str(own.get("refusal", ""))
    try:
        return _media(kind, own)
    except (KeyError, TypeError, ValueError):
        problem(f"has a part of type {kind!r} that cannot be read")


def _media(kind: object, own: JSON) -> Part:
    if kind == "image_url":
        given = own["image_url"]
        return _located("image", given if isinstance(given, str) else given["url"], own)
    if kind == "input_image" and own.get("image_url"):
        return _located("image", own["image_url"], own)
    if kind == "input_audio":
        sound = own["input_audio"]
        return Media("audio", f"audio/{sound['format']}", data=_base64(sound["data"]), own=own)
    if kind in ("file", "input_file"):
        about = own["file"] if kind == "file" else own
        if about.get("file_data"):
            found = _located("file", about["file_data"], own)
            return Media("file", found.mime, found.url, found.data, about.get("filename"), own)
        if about.get("file_url"):
            return _located("file", about["file_url"], own)
    return Own(own)


def _located(kind: str, url: str, own: JSON) -> Media:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        mime, _, coding = head.removeprefix("data:").partition(";")
        if coding != "base64":
            raise ValueError(coding)
        return Media(kind, mime, data=_base64(data), own=own)
    if "://" not in url:  # bytes without a `data:` prefix
        return Media(kind, "application/pdf" if kind == "file" else "image/jpeg", data=_base64(url), own=own)
    guessed, _ = mimetypes.guess_type(url.partition("?")[0])
    return Media(kind, guessed or ("application/pdf" if kind == "file" else "image/jpeg"), url=url, own=own)


def _base64(data: str) -> str:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error
    return data


def _call(call: object, problem: Callable[[str], NoReturn]) -> ToolCall:
    try:
        function = call["function"]  # type: ignore[index]
        arguments = function.get("arguments") or {}
        arguments = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
        if not isinstance(arguments, dict):
            raise TypeError
        return ToolCall(str(call.get("id") or function["name"]), str(function["name"]), arguments)  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError):
        problem("has a tool call that cannot be read; it wants 'id' and 'function' with 'name' and 'arguments'")


def system_text(turns: list[Turn], system: object, wrong: Wrong) -> tuple[str, list[Turn]]:
    """The joined system texts, and the other messages, for APIs with a separate system text."""
    texts = [system, *(each.text for each in turns if each.role == "system")]
    rest = [each for each in turns if each.role != "system"]
    if not rest:
        raise wrong("there is no message but system messages")
    return "\n\n".join(str(each) for each in texts if each), rest
