"""`TrigramEmbedder`: hashed character trigrams, for every script, with numpy alone."""

from __future__ import annotations

import re
import unicodedata
import zlib
from typing import TYPE_CHECKING

from resilient_ai._core.public import public

from ._grammar import ENGLISH, grammar_of
from ._sequence import UNSPACED, pieces_of
from ._words import STOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_DIMENSIONS = 448
_STOP_WEIGHT = 0.25
_LONGEST = 4_000  # characters; the trigram counts of longer texts are similar for any content


@public("similar")
class TrigramEmbedder:
    """
    Vectors of hashed character trigrams: no weights, no network, 0.1 ms for a short question, any language.

    Function words count a quarter. Scripts without spaces are read character by character. Quality figures:
    `tests/bench/README.md`.
    """

    id = "trigrams-448-2"
    default_threshold = 0.88

    def covers(self, text: str) -> bool:
        """Whether the text has a letter or digit, and is short enough for meaningful trigrams."""
        return len(text) <= _LONGEST and any(character.isalnum() for character in text)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row of 448 numbers per text, of length 1 (or 0, where a text has no letter)."""
        import numpy as np

        rows = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            found = words(text)
            little = _say_little(found)
            for word in found:
                _count(word, _STOP_WEIGHT if word in little else 1.0, row)
            row /= float(np.sqrt(row @ row)) or 1.0
        return rows

    def __repr__(self) -> str:
        return "TrigramEmbedder()"


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits, in one normal form and one case."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text).split()


def _say_little(found: list[str]) -> frozenset[str]:
    """The function words of the probable language of a text."""
    known = grammar_of(frozenset(found))
    return STOP_WORDS if known is None or known is ENGLISH else known.empty | known.weak


def _count(word: str, weight: float, row: npt.NDArray[np.float32]) -> None:
    """Add the trigrams of a word to a row; the hash is the same in every process."""
    for gram in _signs(word) if word[0] > "\u0dff" and re.match(UNSPACED, word) is not None else _trigrams(word):
        digest = zlib.crc32(gram.encode())
        row[digest % _DIMENSIONS] += weight if digest & 0x10000 else -weight


def _trigrams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


def _signs(run: str) -> list[str]:
    """
    The characters of a run in a script without spaces, and their pairs, without function characters.

    If there are only function characters, all of them count.
    """
    pieces = pieces_of(run) or [run]
    return [sign for piece in pieces for sign in piece] + [
        piece[i : i + 2] for piece in pieces for i in range(0, len(piece) - 1, 2)
    ]
