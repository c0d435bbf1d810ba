"""What an event may say of an error and of a request: no keys, no prompt, no answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRETS = re.compile(
    r"""(?ix)
    \b(?:sk|pk|rk|gsk|xai|AIza|hf|ghp|AKIA|ya29)[-_.]?[A-Za-z0-9_\-*]{8,}   # keys by their well-known prefixes
    | \beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*                                  # JSON web tokens
    | \b(?:bearer|basic)\s+[\w\-.=+/~]+
    | (?:api[-_ ]?key|authorization|token|password|secret)["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?[^\s"',;]+
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)                                  # credentials in a URL
    | (?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{32,}   # what looks like nothing but a key
    """
)
_MESSAGE_LIMIT = 200
_LOOKED_AT = 1_000
_PRIVATE_LIMIT = 20_000
_PIECE = 12


def scrub(text: str, *, private: tuple[object, ...] = ()) -> str:
    """
    Make an error message fit for a log: no keys, no text of the request, one line, at most 200 characters.

    Args:
        text: The message.
        private: Values of the request; every string of 4 characters or more among or inside them is taken out, and
            every piece of 12 characters or more of one, since providers cut what they quote.
    """
    text = text[:_LOOKED_AT]
    try:
        strings = sorted(set(_strings(private, 0)), key=len, reverse=True)
    except Exception:  # noqa: BLE001 - an argument that cannot be read, so nobody knows what of it is quoted
        return "[message withheld]"
    for value in strings:
        for written in {value, json.dumps(value)[1:-1], repr(value)[1:-1]}:
            text = text.replace(written, "[request]")
    text = _without_pieces(text, strings)
    text = " ".join(_SECRETS.sub("[secret]", text).split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def _strings(thing: Any, depth: int) -> Iterator[str]:
    if isinstance(thing, str):
        if len(thing) >= 4:
            yield thing[:_PRIVATE_LIMIT]
    elif depth < 6:
        if isinstance(thing, dict):
            inner: Any = thing.values()
        elif isinstance(thing, list | tuple | set | frozenset):
            inner = thing
        else:  # a message object of an SDK's, say
            attributes = getattr(thing, "__dict__", None)
            inner = attributes.values() if isinstance(attributes, dict) and not isinstance(thing, type) else ()
        for each in islice(inner, 200):
            yield from _strings(each, depth + 1)


def _without_pieces(text: str, strings: list[str]) -> str:
    """Cuts out what the text shares with the strings."""
    pieces: set[str] = set()
    for value in strings:
        for start in range(len(value) - _PIECE + 1):
            pieces.add(value[start : start + _PIECE])
            if len(pieces) > _PRIVATE_LIMIT:
                break
    if not pieces:
        return text
    kept, start = [], 0
    while start < len(text):
        end = start
        while text[end : end + _PIECE] in pieces:
            end += 1
        if end > start:
            kept.append("[request]")
            start = end + _PIECE - 1
        else:
            kept.append(text[start])
            start += 1
    return "".join(kept)


_SALT = os.urandom(16)


def args_hash(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """Eight hex digits that are equal for equal arguments within this process and mean nothing outside it."""
    digest = hashlib.blake2b(key=_SALT, digest_size=4)
    for part in (args, sorted(kwargs.items())):
        try:
            digest.update(repr(part).encode(errors="replace"))
        except Exception:  # noqa: BLE001 - a repr of the user's; the hash is only a hint
            digest.update(b"?")
    return digest.hexdigest()
