"""`RememberedFeatures`: a bounded cache of the features of remembered questions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from ._features import Features, features
from ._private import ByteBoundedCache, fingerprint
from ._question import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._question import Question
    from ._store import Entry

_LONGEST_PACKED = 100 * LONGEST  # most characters of the packed features of a text, in JSON
_PER_CHARACTER = 20  # bytes of the features of a text, measured with tracemalloc


class TooMuchWork(Exception):  # noqa: N818 - never reaches a user
    """The computation is too long for an event loop."""


class Budget:
    """The number of characters that may still be read; None: any number."""

    __slots__ = ("_left",)

    def __init__(self, characters: int | None) -> None:
        self._left = characters

    def take(self, characters: int) -> None:
        """
        Use some of it.

        Raises:
            TooMuchWork: There is not enough left.
        """
        if self._left is not None:
            self._left -= characters
            if self._left < 0:
                raise TooMuchWork


class RememberedFeatures:
    """
    Computes the features of entries and keeps them for the next question. Thread-safe.

    Args:
        most: Bytes kept, roughly.
    """

    def __init__(self, most: int) -> None:
        self._known: ByteBoundedCache[Features] = ByteBoundedCache(most)

    def of(self, entry: Entry, budget: Budget) -> Features | None:
        """
        The features of an entry; None if its row is unreadable or too long.

        Raises:
            TooMuchWork: They are not cached, and the budget is too small to compute them.
        """
        source = entry.text if entry.text is not None else entry.features
        if source is None or len(source) > (LONGEST if entry.text is not None else _LONGEST_PACKED):
            return None
        key = fingerprint(entry.partition, entry.key, source)
        known: Features | None = self._known.get(key)
        if known is None:
            budget.take(len(source))
            generation = self._known.generation
            known = features(source) if entry.text is not None else unpacked(source)
            if known is not None:
                self._known.put(key, known, _PER_CHARACTER * len(source), generation)
        return known

    def forget(self) -> None:
        """Drop all of them."""
        self._known.clear()


def digested(question: Question) -> Features:
    """The features of a question with digests in place of words; the key of the digests is never stored."""

    def digest(word: str) -> str:
        data = word.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=question.secret, digest_size=6).hexdigest()

    return features(question.text).digested(digest)


def packed(question: Question) -> str:
    """The digested features as JSON."""
    found = digested(question)
    plain = {
        each.name: sorted(value) if isinstance(value := getattr(found, each.name), frozenset) else value
        for each in dataclasses.fields(found)
    }
    return json.dumps(plain, separators=(",", ":"))


def unpacked(text: str) -> Features | None:
    """The features in `packed` JSON; None if it is malformed."""
    try:
        plain = json.loads(text)
        return Features(
            **{
                each.name: _READERS[str(each.type).partition("[")[0]](plain[each.name])
                for each in dataclasses.fields(Features)
            }
        )
    except Exception:  # noqa: BLE001 - a file may hold anything
        return None


def _hashable(value: Any) -> Any:
    return tuple(_hashable(each) for each in value) if isinstance(value, list) else value


_READERS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda value: tuple(map(_hashable, value)),
    "frozenset": lambda value: frozenset(map(_hashable, value)),
    "str": str,
    "int": int,
}
