"""A normal form of a text, independent of its encoding, in which common parts of two texts can be found."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

# Each alternative is one encoded character or a run of encoded bytes. Double encoding is common: JSON within JSON.
# No run is possessive: nothing follows it that could make it shorter, and before Python 3.11.5 possessive groups fail.
_ENCODED = re.compile(
    r"""(?xi)
    (?P<bytes>(?:\\{1,8}x[0-9a-f]{2})+)
    | (?P<percent>(?:%(?:25){0,4}[0-9a-f]{2})+)
    | (?P<long>\\{1,8}(?-i:U)[0-9a-f]{8})
    | (?P<units>(?:(?:\\{1,8}|%(?:25){0,4})(?-i:u)[0-9a-f]{4})+)
    | (?P<octal>(?:\\{1,8}[0-3][0-7]{2})+)
    | (?P<quoted>(?-i:=[89A-F][0-9A-F](?:=\r?\n)?){2,4096})   # quoted-printable, as mails have it
    | (?P<braces>\\{1,8}u\{[0-9a-f]{1,6}\})
    | (?P<entity>&(?:amp;){0,4}(?:\#[0-9]{1,7}|\#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,24});)
    | (?P<space>\\{1,8}[nrtbfv])
    """
)
_NO_WORD = re.compile(r"[\W_]+")


def plain_form(text: str) -> str:
    """
    Letters and digits only, decoded (JSON, Python, URL and HTML escapes), without case, accents and width.

    Args:
        text: Any text; the time taken grows linearly with it.
    """
    if text.isascii() and not ("\\" in text or "%" in text or "&" in text):
        return _NO_WORD.sub("", text).lower()
    return "".join([sign for sign, _, _ in plain_signs(text)])


def plain_signs(text: str) -> list[tuple[str, int, int]]:
    """The characters of the plain form, each with the begin and end of its source in the text."""
    found: list[tuple[str, int, int]] = []
    at = 0
    for match in _ENCODED.finditer(text):
        found += [(sign, place, place + 1) for place in range(at, match.start()) for sign in _signs(text[place])]
        at = match.end()
        found += [(sign, match.start(), at) for each in _decoded(match) for sign in _signs(each)]
    found += [(sign, place, place + 1) for place in range(at, len(text)) for sign in _signs(text[place])]
    return found


@lru_cache(maxsize=4096)
def _signs(character: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", character).casefold()))


def _decoded(match: re.Match[str]) -> str:
    written = match[0]
    if match["bytes"] or match["percent"] or match["quoted"]:
        pairs = re.findall(r"(?i)(?:x|=|%(?:25){0,4})([0-9a-f]{2})", written)
        return _text(bytes(int(pair, 16) for pair in pairs))
    if match["octal"]:
        return _text(bytes(int(number, 8) for number in re.findall(r"[0-3][0-7]{2}", written)))
    if match["units"]:
        units = re.findall(r"u([0-9a-fA-F]{4})", written)
        return bytes.fromhex("".join(units)).decode("utf-16-be", "replace")
    if match["long"] or match["braces"]:
        number = int(re.sub(r"[^0-9a-fA-F]", "", written), 16)
        return chr(number) if number <= 0x10FFFF else ""
    if match["entity"]:
        return html.unescape(re.sub(r"(?i)&(?:amp;){0,4}", "&", written))
    return " "


def _text(raw: bytes) -> str:
    decoded = raw.decode(errors="ignore")  # a quoted text may be cut within a character
    return decoded if not decoded.isascii() or len(decoded) == len(raw) else raw.decode("latin-1")
