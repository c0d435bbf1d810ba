"""What an event may say of an error and of a request: no keys, no prompt, no answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
from itertools import groupby, islice
from operator import itemgetter
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
_MOST_MEMBERS = 200
_PIECE = 12


def scrub(text: str, *, private: tuple[object, ...] = ()) -> str:
    """
    Make an error message fit for a log: no keys, no text of the request, one line, at most 200 characters.

    Args:
        text: The message.
        private: Values of the request; every string of 4 characters or more among or inside them is taken out, and
            every piece of 12 characters or more of one, since providers cut what they quote. Pieces are looked for
            in 20,000 characters of the request: short strings in full, long ones from their beginning.
    """
    text = text[:_LOOKED_AT]
    try:
        strings = sorted(set(_strings(private, 0)), key=len)
    except Exception:  # noqa: BLE001 - an argument that cannot be read, so nobody knows what of it is quoted
        return "[message withheld]"
    # Both are looked for in the text as it came: a word of the request may stand in the middle of a key.
    marks = [""] * len(text)
    for match in _SECRETS.finditer(text):
        marks[match.start() : match.end()] = ["[secret]"] * len(match[0])
    for quoted in _quoted(text, strings):
        at = text.find(quoted)
        while at >= 0:
            marks[at : at + len(quoted)] = ["[request]"] * len(quoted)
            at = text.find(quoted, at + 1)
    runs = groupby(zip(marks, text, strict=True), key=itemgetter(0))
    text = "".join([mark or "".join([character for _, character in run]) for mark, run in runs])
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def _strings(thing: Any, depth: int) -> Iterator[str]:
    if isinstance(thing, str):
        if len(thing) >= 4:
            yield thing[:_PRIVATE_LIMIT]
    elif depth < 6:
        if isinstance(thing, dict):
            inner: Any = thing.values()
        elif isinstance(thing, list | tuple):
            half = _MOST_MEMBERS // 2  # the end of a long conversation is what the error is about
            inner = thing if len(thing) <= _MOST_MEMBERS else (*thing[:half], *thing[-half:])
        elif isinstance(thing, set | frozenset):
            inner = thing
        else:  # a message object of an SDK's, say
            attributes = getattr(thing, "__dict__", None)
            inner = attributes.values() if isinstance(attributes, dict) and not isinstance(thing, type) else ()
        for each in islice(inner, _MOST_MEMBERS):
            yield from _strings(each, depth + 1)


def _quoted(text: str, strings: list[str]) -> set[str]:
    """The strings that stand in the text, as they are or escaped, and the pieces of strings that do."""
    pieces = {text[at : at + _PIECE] for at in range(len(text) - _PIECE + 1)}
    found: set[str] = set()
    left = _PRIVATE_LIMIT
    for number, value in enumerate(strings):
        found.update(form for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1]) if form in text)
        start = value[: left // (len(strings) - number)]  # what the short ones leave goes to the long ones
        left -= len(start)
        found.update(pieces.intersection([start[at : at + _PIECE] for at in range(len(start) - _PIECE + 1)]))
    return found


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
