"""Make names and texts from outside safe for a terminal and for one line of a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """
    The text with escapes in place of characters that a terminal would interpret or not show.

    Control characters, line ends, writing directions and characters without width are escaped as in a Python string.
    """
    if text.isprintable():
        return text
    return "".join([sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text])
