"""What kind of thing a value is, for messages that must not show it."""

from __future__ import annotations

_SPELT_WITH_A_VOWEL = "AEFHILMNORSX"
_SPOKEN_AS_YOU = ("eu", "uni", "use", "usa")


def kind_of(value: object) -> str:
    """The class of a value with its article: "an int", "a str"."""
    return with_article(type(value).__qualname__)


def with_article(name: str) -> str:
    """The name of a class with its article: "an int", "an HTTPEndpoint", "a Usage"."""
    spoken = name.lstrip("_")
    if spoken[:2].isupper():
        vowel = spoken[0] in _SPELT_WITH_A_VOWEL
    else:
        vowel = spoken.lower().startswith(tuple("aeiou")) and not spoken.lower().startswith(_SPOKEN_AS_YOU)
    return f"an {name}" if vowel else f"a {name}"
