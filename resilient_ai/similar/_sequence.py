"""`sequence`: the words of a question in order, without empty ones, each in a normal form."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from . import _grammar as grammar
from . import _synonyms as synonyms
from . import _words as table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNSPACED = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_CONTRACTED = re.compile(r"(?:'s|'re|'ve|'ll|'d|'m|n't)$")
_DOUBLED = frozenset("bdfgmnprt")

CONTENT, NUMBER, PREPOSITION, CASE = "content", "number", "preposition", "case"
WEAK = "~"
"""The form of all interchangeable prepositions."""


class Word(NamedTuple):
    """
    One word of a sequence.

    Attributes:
        role: "content", "number", "preposition", "case", or a kind of mutually exclusive words.
        form: Equal for interchangeable words.
        written: The original word in lower case.
    """

    role: str
    form: str
    written: str


def stem(word: str) -> str:
    """A word without its most common English endings, so that most forms of a word compare equal."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            if ending != "s" and len(word) > 3 and word[-1] == word[-2] and word[-1] in _DOUBLED:
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@functools.cache
def _groups() -> dict[str, str]:
    """By stem, the first group of synonyms that a word is in."""
    found: dict[str, str] = {}
    for word, numbers in synonyms.TABLE.items():
        for form in (word, stem(word)):
            found.setdefault(form, f"={min(numbers)}")
    return found


def form_of(word: str) -> str:
    """A common form of the spellings, endings and synonyms of an English word."""
    word = synonyms.american(word.replace("-", ""))
    reduced = stem(word)
    return _groups().get(word) or _groups().get(reduced) or reduced


def sequence(tokens: Sequence[str], numbers: frozenset[str]) -> tuple[Word, ...]:
    """
    The words of a question.

    Args:
        tokens: Tokens of the text, in lower case.
        numbers: The tokens that are numbers or ids, which are used unchanged.
    """
    parts = [part for token in tokens for part in _parted(token)]
    known = grammar.grammar_of(frozenset(parts))
    found: list[Word] = []
    for place, word in enumerate(parts):
        before = parts[place - 1] if place else ""
        if re.match(UNSPACED, word):
            found += _signs(word)
        elif word in numbers or word[0].isdigit() or word in table.NUMBER_WORDS:
            found.append(Word(NUMBER, table.NUMBER_WORDS.get(word, word), word))
        elif word in table.UNITS and found and found[-1].role == NUMBER:
            found.append(Word(NUMBER, table.UNITS[word], word))
        elif word[0].isalnum():
            found += _word(word, before, parts[place + 1] if place + 1 < len(parts) else "", known)
        elif word[0] in "-/@#" and len(word) > 1:
            found.append(Word(CONTENT, word, word))
    return tuple(found)


def _parted(token: str) -> Iterator[str]:
    """Iterate over the parts of a token: without contractions, and with French and Italian elisions as words."""
    if "-" in token and token[0] != "-" and not any(map(str.isdigit, token)):
        for part in token.split("-"):
            yield from _parted(part) if part else ()
        return
    head, mark, tail = token.partition("'")
    if mark and tail and head in grammar.ELISIONS and tail not in ("s", "t", "re", "ve", "ll", "d", "m"):
        yield head
        yield tail
    else:
        bare = _CONTRACTED.sub("", token).replace("'", "")
        if bare:
            yield bare


def _word(word: str, before: str, after: str, known: grammar.Grammar | None) -> Iterator[Word]:
    if word in table.NEGATORS:
        return
    if known is not None:
        if word in known.groups:
            if before == "how":  # how many, how much, how often: the question word already counts
                return
            kind, member = known.groups[word]
            if kind != "time" or after in table.PERIODS:  # "last month", but not "at last" and "this plan"
                yield Word(kind, member, word)
            return
        # The separated prefix of a German verb, at the end of its sentence.
        if not after[:1].isalnum() and (
            word == "ein" or (word in grammar.GERMAN_PREFIXES and known is grammar.OTHERS["de"])
        ):
            yield Word(PREPOSITION, word, word)
            return
        if word in known.weak:
            yield Word(PREPOSITION, WEAK, word)
            return
        if word == "out" and after == "of":
            yield Word(PREPOSITION, "from", word)
            return
        if word in known.strong:
            yield Word(PREPOSITION, grammar.preposition(word), word)
            return
        if word in known.empty:
            return
    if "\uac00" <= word[0] <= "\ud7a3":
        yield from _korean(word)
    elif known is grammar.ENGLISH or known is None:
        yield Word(CONTENT, form_of(word) if word.isascii() else word, word)
    else:
        yield Word(CONTENT, word, word)


def _korean(word: str) -> Iterator[Word]:
    particle = next((each for each in grammar.KOREAN_PARTICLES if word.endswith(each) and len(word) > len(each)), "")
    body = word.removesuffix(particle) if particle else word
    yield Word(CONTENT, body, body)
    if particle in ("에서", "부터", "까지", "으로", "로", "에게"):
        yield Word(CASE, particle, particle)


def _signs(run: str) -> Iterator[Word]:
    """Iterate over the characters of a script without spaces."""
    for piece in pieces_of(run):
        place = 0
        while place < len(piece):
            pair, sign = piece[place : place + 2], piece[place]
            found = pair if pair in grammar.CASE_SIGNS else sign
            yield Word(CASE if found in grammar.CASE_SIGNS else CONTENT, found, found)
            place += len(found)


def pieces_of(run: str) -> list[str]:
    """The characters of a run without function characters, in a normal spelling."""
    for spelling, same in grammar.SAME_SIGNS:
        run = run.replace(spelling, same)
    for empty in grammar.EMPTY_SIGNS:
        run = run.replace(empty, " ")
    return run.split()
