"""`features`: the parts of a question that the guard compares: numbers, names, negations, directions, words."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from . import _phrasing as phrasing
from . import _words as table
from ._numbers import AMOUNT, UNIT, bounds_in, is_number, is_written_in_digits, numbers_in
from ._sequence import UNSPACED, sequence, stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Patterns are compiled for the first question, so that importing the package costs nothing. All are linear: text that
# an alternative has read in vain is bounded, or is consumed by the next one.
_PIECES = rf"""(?x)
    https?://\S+ | (?<![\w.+-])[\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}    # addresses
    | {UNSPACED}+                                                 # a run of a script without spaces
    | (?<![\w./-])--?[A-Za-z][\w-]*                               # switches of a command
    | (?:(?<![\w.,%)\]-])[-+])?[$€£¥₹]?{AMOUNT}(?:{UNIT})?(?:[-_./:]+[^\W_]+)*     # numbers, with a unit or as an id
    | (?:(?!{UNSPACED})[^\W_])+(?:['][^\W\d_]+)*(?:[-_./\\:&]+[^\W_]+)*(?:\+\+|\#)?     # words and ids
    | [%°€$£¥₹¢]+ | [.?!;\n。？！；]+ | [,，、:]
    """
_APOSTROPHES = str.maketrans("’`´ʼ", "''''")


@dataclass(frozen=True, slots=True)
class Features:
    """The comparable parts of one text. Every string can be replaced by a digest, because only equality counts."""

    numbers: tuple[tuple[str, str], ...]
    dates: frozenset[str]
    entities: frozenset[str]
    words: frozenset[str]
    content: tuple[str, ...]
    negations: int
    negated: frozenset[str]
    opposites: frozenset[tuple[str, int]]
    quantifiers: frozenset[int]
    alternatives: tuple[tuple[int, str], ...]
    prefixed: frozenset[str]
    directions: frozenset[tuple[str, str, str]]
    frames: frozenset[str]
    asks_for: str
    questions: int
    tenses: frozenset[str]
    bounds: frozenset[str]
    script: str
    sequence: tuple[tuple[str, str, str], ...]

    def digested(self, digest: Callable[[str], str]) -> Features:
        """The same features with every word of the text replaced by its digest."""
        return Features(
            numbers=tuple((digest(number), digest(unit) if unit else "") for number, unit in self.numbers),
            dates=frozenset(map(digest, self.dates)),
            entities=frozenset(map(digest, self.entities)),
            words=frozenset(map(digest, self.words)),
            content=tuple(map(digest, self.content)),
            negations=self.negations,
            negated=frozenset(map(digest, self.negated)),
            opposites=frozenset((digest(pair), side) for pair, side in self.opposites),
            quantifiers=self.quantifiers,
            alternatives=tuple((number, digest(word)) for number, word in self.alternatives),
            prefixed=frozenset(map(digest, self.prefixed)),
            directions=frozenset((kind, digest(left), digest(right)) for kind, left, right in self.directions),
            frames=self.frames,
            asks_for=self.asks_for,
            questions=self.questions,
            tenses=self.tenses,
            bounds=self.bounds,
            script=self.script,
            sequence=tuple((role, digest(form), digest(written)) for role, form, written in self.sequence),
        )


def features(text: str) -> Features:
    """Compute the features of a text, which is not kept."""
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    tokens = [match.group() for match in re.finditer(_PIECES, text)]
    lower = [token.casefold() for token in tokens]
    bare = [word.replace("'", "") for word in lower]
    content = tuple(stem(word) for word in bare if word[0].isalnum() and word not in table.STOP_WORDS)
    signs = "".join(re.findall(UNSPACED, text))
    flags = {token for token in tokens if token[0] == "-"}
    negations, negated = _negations(lower)
    return Features(
        numbers=tuple(numbers_in(lower)) + tuple((table.NUMBER_SIGNS[c], "") for c in signs if c in table.NUMBER_SIGNS),
        dates=frozenset(table.DATES[word] for word in lower if word in table.DATES)
        | {sign for sign in table.DATE_SIGNS if sign in signs},
        entities=frozenset(_entities(tokens)),
        words=frozenset(bare) | frozenset(map(stem, bare)) | {stem(word.replace("-", "")) for word in bare} | flags,
        content=content,
        negations=negations + (sum(signs.count(sign.strip()) for sign in table.NEGATING_SIGNS) if signs else 0),
        negated=negated,
        opposites=frozenset(side for word in {*bare, *content} for side in _opposites().get(word, ()))
        | {(f"{stem(verb)} in/out", int(word == "out")) for verb, word in pairwise(bare) if word in ("in", "out")}
        | frozenset((*_knowledge(lower), *_writer(frozenset(re.findall(r"\w+", text.casefold()))))),
        quantifiers=frozenset(i for i, line in enumerate(table.ALTERNATIVES) if not line.isdisjoint(bare)),
        alternatives=tuple(_alternatives(bare)),
        prefixed=frozenset(_prefixed(bare)),
        directions=frozenset((*_directions(bare), *phrasing.roles(bare), *_done_to(bare, content))),
        frames=frozenset(phrasing.frames(bare)),
        asks_for=phrasing.asks_for(bare),
        questions=sum("?" in sentence[-1] for sentence in phrasing.asked_sentences(bare)),
        tenses=phrasing.tenses(bare),
        bounds=frozenset(bounds_in(bare)),
        script=_script(text),
        sequence=sequence(lower, frozenset(filter(is_number, lower)) | frozenset(filter(is_written_in_digits, lower))),
    )


def _entities(tokens: list[str]) -> Iterator[str]:
    cased = [token for token in tokens if token[0].isalpha()]
    raised = sum(token[0].isupper() for token in cased)
    shouted = len(cased) > 3 and raised > 0.6 * len(cased)
    start = True
    for place, token in enumerate(tokens):
        if phrasing.is_end(tokens, place):
            start = True
            continue
        letters = [character for character in token if character.isalpha()]
        digits = any(character.isdigit() for character in token)
        if token[0] == "-" and letters:
            yield token  # a command-line switch, case-sensitive: `-v` and `-V` differ
        elif letters and digits:
            if not is_number(token.casefold()):
                yield token.casefold()
        elif letters and any(mark in token for mark in ("/", "@", "_", "\\", "+", "#", ":", ".", "&")):
            yield token.casefold()
        elif letters and not shouted and token not in ("I", "OK") and not token.startswith("I'"):
            acronym = len(letters) > 1 and all(character.isupper() for character in letters)
            name = token[0].isupper() and not start
            if (acronym or name) and (
                token.casefold() not in table.STOP_WORDS or token in table.NAMES or len(token) == 1
            ):
                word = token.casefold().removesuffix("'s")
                if word not in table.DATES and word not in table.NUMBER_WORDS:
                    yield stem(word.replace("'", "").replace("-", ""))
        if letters or digits:
            start = False


def _negations(lower: list[str]) -> tuple[int, frozenset[str]]:
    words = [word if word.endswith("n't") else word.replace("'", "") for word in lower]
    skipped = {i for i, pair in enumerate(pairwise(words)) if pair in table.EMPTY_PHRASES}
    places = [
        i
        for i, word in enumerate(words)
        if (word.endswith("n't") or (word in table.NEGATORS and i not in skipped)) and not _asks(words, i)
    ]
    following = (
        next((word for word in words[i + 1 : i + 5] if word[0].isalnum() and word not in table.STOP_WORDS), None)
        for i in places
        if not _is_before_its_subject(words, i)
    )
    return len(places), frozenset(stem(word) for word in following if word is not None)


def _is_before_its_subject(words: list[str], place: int) -> bool:
    """Whether subject and negated verb follow, and the verb may be any: `why won't my transfer go`."""
    asking = words[place].endswith("n't") and words[max(0, place - 1) : place] == ["why"]
    return asking and table.SUBORDINATING.isdisjoint(words[place + 1 :])


def _asks(words: list[str], place: int) -> bool:
    """Whether a negation only introduces the question: `I don't know how`, `I can't find my PIN`."""
    before = words[max(0, place - 2) : place]
    if before[-1:] == ["i"] and words[place] in ("not", "never"):  # "why do I not see it?"
        return False
    after = [word for word in words[place + 1 : place + 4] if word not in table.FILLING]
    return "i" in before and (not after[:1] or after[0] in table.NOT_KNOWN)


def _knowledge(lower: list[str]) -> Iterator[tuple[str, int]]:
    """Iterate over what the writer knows, finds or sees, or does not: `I know` against `I don't know`."""
    for place, word in enumerate(lower):
        if word not in table.NOT_KNOWN:
            continue
        before = lower[max(0, place - 4) : place]
        if "i" not in before:
            continue
        since = len(before) - before[::-1].index("i")
        denied = any(each.endswith("n't") or each.replace("'", "") in table.NEGATORS for each in before[since:])
        if denied or before[since - 2 : since - 1] == [] or before[since - 2] not in table.AUXILIARIES:
            yield f"i {stem(word)}", int(denied)  # but not `where can I find`


def _done_to(bare: list[str], content: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Iterate over pairs of action and earlier action: `archive the restored mail`, `restore the archived mail`."""
    for before, word in pairwise(bare):
        if word.endswith("ed") and len(word) > 4 and before in table.DETERMINERS:
            yield from (("done to", each, stem(word)) for each in content[:12])


def _writer(words: frozenset[str]) -> Iterator[tuple[str, int]]:
    for subject, objects, others in table.WRITERS:
        if not words.isdisjoint(others):
            continue
        if subject in words:
            yield f"{subject} by case", 0
        if not words.isdisjoint(objects):
            yield f"{subject} by case", 1


@functools.cache
def _opposites() -> dict[str, tuple[tuple[str, int], ...]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for pair in table.OPPOSITES.split():
        for side, spellings in enumerate(pair.split("/")):
            for word in spellings.split(","):
                for form in {word, stem(word)} - {""}:
                    found.setdefault(form, []).append((pair, side))
    return {word: tuple(sides) for word, sides in found.items()}


@functools.cache
def _lines_of() -> dict[str, tuple[int, ...]]:
    lines: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(table.EXCLUSIVE):
        for word in line:
            lines[word] = (*lines.get(word, ()), number)
    return lines


def _alternatives(bare: list[str]) -> Iterator[tuple[int, str]]:
    known = _lines_of()
    for word in bare:
        for form in dict.fromkeys((word, word.removesuffix("s"))):
            for number in known.get(form, ()):
                yield number, form


def _prefixed(bare: list[str]) -> Iterator[str]:
    for word in bare:
        for prefix in table.NEGATING_PREFIXES:
            rest = word.removeprefix(prefix).lstrip("-")
            if rest != word and len(rest) >= 4:
                yield stem(rest)


def _directions(bare: list[str]) -> Iterator[tuple[str, str, str]]:
    """(kind, source, target) for every pair of words with a directed word (`to`, `than`, …) between them."""
    for i, word in enumerate(bare):
        if word == "only":
            focus = next((stem(each) for each in bare[i + 1 : i + 4] if _counts(each)), "")
            yield "only", focus, focus
        kind = table.DIRECTED.get(word)
        if kind is None:
            continue
        left = [stem(each) for each in bare[max(0, i - 4) : i] if _counts(each)]
        right = []
        for each in bare[i + 1 : i + 5]:
            if each in table.DIRECTED or not each[0].isalnum():
                break
            if _counts(each):
                right.append(stem(each))
        for one in left[-3:]:
            for other in right[:3]:
                yield ("to", other, one) if kind == "from" else (kind, one, other)


def _counts(word: str) -> bool:
    """Whether a word can be an end of a direction."""
    return word[0].isalnum() and (word not in table.STOP_WORDS or word in table.MOVABLE)


@functools.lru_cache(maxsize=4_096)
def _script_of(character: str) -> str:
    name = unicodedata.name(character, "").partition(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "CJK") else name


def _script(text: str) -> str:
    counts: dict[str, int] = {}
    for character in text:
        if character.isalpha():
            script = _script_of(character)
            counts[script] = counts.get(script, 0) + 1
    return max(counts, key=lambda script: counts[script]) if counts else ""
