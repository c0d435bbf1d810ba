"""Remove keys, prompts and answers from the texts in events."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import deque
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .known_secrets import known_secrets
from .plain_form import plain_form, plain_signs
from .printable import printable
from .secrets import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WITHHELD = "[message withheld]"
_MESSAGE_LIMIT = 200
_LOOKED_AT = 1_000
_PRIVATE_LIMIT = 20_000
_LONGEST_SECRET = 4_096
_MOST_MEMBERS = 200
_MOST_VALUES = 5_000
_WITHOUT_STRINGS = frozenset({bool, int, float, complex, type(None)})
_PIECE = 12
_SHORTEST = 4
_RUN = 6
_MOST_WORK = 50_000
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{20}")
# UTF-8 that was read as Latin-1, which happens to bodies without a charset.
_MISREAD = re.compile("[\xc2-\xf4][\x80-\xbf]")


def scrub(text: str, *, private: tuple[object, ...] = ()) -> str:
    """
    Make an error message safe for a log: no keys, no text of the request, one line, at most 200 characters.

    Args:
        text: The message; its first 1,000 characters are used.
        private: Values of the request. Every string of at least 4 characters among or inside them is removed, and
            every piece of at least 12 characters of one, because providers cut what they quote. They are found in any
            case, and if they are escaped, joined or encoded (JSON, Python, URL, HTML, base64). Pieces are searched
            in 20,000 characters of the request: short strings in full, long ones from their beginning.
    """
    if len(text) > _LOOKED_AT:
        text = text[:_LOOKED_AT].rpartition(" ")[0] or text[:_LOOKED_AT]  # no part of a key at the end
    try:
        strings = sorted(set(_strings(private)), key=len)
    except Exception:  # noqa: BLE001 - an argument that cannot be read, so nobody knows what of it is quoted
        return _WITHHELD
    # Keys and requests are searched in the original text: a word of the request may be in the middle of a key.
    marks = [""] * len(text)
    try:
        for start, end in (*secrets_in(text), *_known_in(text)):
            marks[start:end] = ["[secret]"] * (end - start)
        for start, end in _quoted(text, strings):
            marks[start:end] = ["[request]"] * (end - start)
    except _TooMuchInCommonError:
        return _WITHHELD
    runs = groupby(zip(marks, text, strict=True), key=itemgetter(0))
    text = "".join([mark or "".join([character for _, character in run]) for mark, run in runs])
    text = printable(" ".join(text.split()))
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def _strings(private: tuple[object, ...]) -> Iterator[str]:
    """Iterate over the strings of a request, the outer ones first; a tool's result is about ten levels deep."""
    queue: deque[Any] = deque(private)
    left = _MOST_VALUES
    seen: set[int] = set()
    while queue and left:
        thing, left = queue.popleft(), left - 1
        if isinstance(thing, bytes | bytearray):
            thing = bytes(thing[:_PRIVATE_LIMIT]).decode(errors="ignore")
        if isinstance(thing, str):
            if len(thing) >= _SHORTEST:
                yield str(thing[:_PRIVATE_LIMIT])
        elif type(thing) not in _WITHOUT_STRINGS and id(thing) not in seen:
            seen.add(id(thing))
            queue.extend(islice(_members(thing), 2 * _MOST_MEMBERS))


def _members(thing: Any) -> Iterator[Any]:
    if isinstance(thing, dict):
        yield from (each for each in islice(thing, _MOST_MEMBERS) if isinstance(each, str) and len(each) >= _PIECE)
        yield from islice(thing.values(), _MOST_MEMBERS)
    elif isinstance(thing, list | tuple):
        half = _MOST_MEMBERS // 2  # the error is usually about the end of a long conversation
        yield from thing if len(thing) <= _MOST_MEMBERS else (*thing[:half], *thing[-half:])
    elif isinstance(thing, set | frozenset):
        yield from islice(thing, _MOST_MEMBERS)
    else:  # such as a message object of an SDK
        yield from islice(_attributes(thing), _MOST_MEMBERS)


def _attributes(thing: Any) -> Iterator[Any]:
    if isinstance(thing, type):
        return
    attributes = getattr(thing, "__dict__", None)
    if isinstance(attributes, dict):
        yield from attributes.values()
    for cls in type(thing).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(thing, name, None)


class _TooMuchInCommonError(Exception):
    """A message resembles the request in so many places that checking all would take too long."""


def _quoted(text: str, strings: list[str]) -> Iterator[tuple[int, int]]:
    """Iterate over the places of the strings in the text, whole or in pieces, plain or encoded."""
    encoded, misread = _BASE64.search(text) is not None, _MISREAD.search(text) is not None
    left = _PRIVATE_LIMIT
    parts = []
    for number, value in enumerate(strings):
        start = value[: left // (len(strings) - number)]  # what short strings do not use is available to long ones
        left -= len(start)
        forms = _forms(start, encoded=encoded)
        if misread and not start.isascii():
            forms = (*forms, plain_form(start.encode(errors="replace").decode("latin-1")))
        parts.append((value if len(value) < _PIECE else start, forms))
    return _places(text, parts)


def _known_in(text: str) -> Iterator[tuple[int, int]]:
    encoded = _BASE64.search(text) is not None
    return _places(text, [(value, _forms_of_secret(value[:_LONGEST_SECRET], encoded)) for value in known_secrets()])


def _places(text: str, parts: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[int, int]]:
    """Iterate over the places of these strings in the text, in their original or a plain form."""
    if not parts:
        return
    signs = plain_signs(text)
    exact, decoded = _Quotes(text), _Quotes("".join([sign for sign, _, _ in signs]))
    for value, forms in parts:
        exact.look_for(value)
        for form in forms:
            decoded.look_for(form)
    yield from exact.spans()
    for start_sign, end_sign in decoded.spans():
        yield signs[start_sign][1], signs[end_sign - 1][2]


def _forms(value: str, *, encoded: bool) -> tuple[str, ...]:
    return plain_form(value), *(_in_base64(value) if encoded else ())


@lru_cache(maxsize=4096)
def _forms_of_secret(value: str, encoded: bool) -> tuple[str, ...]:
    return _forms(value, encoded=encoded)


class _Quotes:
    """
    Finds the parts that a text has in common with other texts.

    Two texts that share 12 characters share a run of 6 characters that begins at a multiple of 7 in the second text. So
    only few runs are looked up.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._covered = bytearray(len(text))
        self._places: dict[str, list[int]] = {}
        self._work = _MOST_WORK
        for at in range(len(text) - _RUN + 1):
            self._places.setdefault(text[at : at + _RUN], []).append(at)

    def look_for(self, value: str) -> None:
        """Mark the parts of the text that come from a value: all of a short one, pieces of 12 or more of a long one."""
        if _SHORTEST <= len(value) < _PIECE:
            at = self._text.find(value)
            while at >= 0:
                self._cover(at, at + len(value))
                at = self._text.find(value, at + 1)
            return
        for at in range(0, len(value) - _RUN + 1, _PIECE - _RUN + 1):
            run = value[at : at + _RUN]
            if places := self._places.get(run):
                for place in places:
                    self._extend(place, value, at)
                self._places[run] = [place for place in places if not self._covered[place]]

    def _extend(self, place: int, value: str, at: int) -> None:
        text, start, end = self._text, place, place + _RUN
        while start > 0 and at > place - start and text[start - 1] == value[at - (place - start) - 1]:
            start -= 1
        while end < len(text) and at + end - place < len(value) and text[end] == value[at + end - place]:
            end += 1
        self._work -= end - start
        if self._work < 0:
            raise _TooMuchInCommonError
        if end - start >= _PIECE:
            self._cover(start, end)

    def _cover(self, start: int, end: int) -> None:
        self._covered[start:end] = b"\1" * (end - start)

    def spans(self) -> Iterator[tuple[int, int]]:
        for match in re.finditer(rb"\x01+", self._covered):
            yield match.span()


def _in_base64(text: str) -> Iterator[str]:
    """Iterate over the plain forms of a text in base64, which depend on the number of bytes before it."""
    raw = text.encode(errors="replace")
    for offset in range(3):
        whole = raw[offset : len(raw) - (len(raw) - offset) % 3]  # an incomplete last group is encoded differently
        yield plain_form(base64.b64encode(whole).decode())


_SALT = os.urandom(16)


def args_hash(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """Eight hex digits that are equal for equal arguments in this process, and have no meaning outside it."""
    digest = hashlib.blake2b(key=_SALT, digest_size=4)
    for part in (args, sorted(kwargs.items())):
        try:
            digest.update(repr(part).encode(errors="replace"))
        except Exception:  # noqa: BLE001 - a repr of the user's; the hash is only a hint
            digest.update(b"?")
    return digest.hexdigest()
