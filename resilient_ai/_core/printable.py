"""Names and texts of others, fit for a terminal and for one line of a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """
    The text with escapes in place of whatever a terminal would obey or not show.

    Control characters, line ends, directions of writing and what has no width come out as in a Python string.
    """
    if text.isprintable():
        return text
    return "".join([sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text])
