"""`features`: what the guard compares of a question: numbers, names, negations, directions, the question word."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from . import _words as table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Patterns are compiled when the first question comes: importing the package must cost nothing.
_UNSPACED = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_AMOUNT = r"\d[\d,]*(?:\.\d+)?(?:/\d[\d,]*(?:\.\d+)?)?"
_UNIT = r"%|°?[a-zA-Zµа-яА-Я]+"
_PIECES = rf"""(?x)
    https?://\S+ | [\w.+-]+@[\w-]+\.[\w.]+                        # addresses
    | {_UNSPACED}+                                                 # a run of a script that does not part its words
    | [$€£¥₹]?{_AMOUNT}(?:{_UNIT})?(?:[-_./:][^\W_]+)*             # numbers, with a unit or as an id
    | (?:(?!{_UNSPACED})[^\W_])+(?:['’][^\W\d_]+)*(?:[-_./\\:&][^\W_]+)*(?:\+\+|\#)?   # words and ids
    | [%°€$£¥₹¢]+ | [.?!;\n。？！；]+ | [,，、:]
    """
_NUMBER = rf"([$€£¥₹]?)({_AMOUNT})({_UNIT})?"
_APOSTROPHES = str.maketrans("’`´ʼ", "''''")
_ENDS = re.compile(r"[.?!;\n。？！；]+")


@dataclass(frozen=True, slots=True)
class Features:
    """The comparable parts of one text. Every string in it can be replaced by a digest: only equality counts."""

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
    questions: int
    tense: str
    script: str
    signs: str

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
            questions=self.questions,
            tense=self.tense,
            script=self.script,
            signs="".join(map(digest, self.signs)),
        )


def features(text: str) -> Features:
    """The features of a text. Nothing of it is kept."""
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    tokens = [match.group() for match in re.finditer(_PIECES, text)]
    lower = [token.casefold() for token in tokens]
    bare = [word.replace("'", "") for word in lower]
    content = tuple(stem(word) for word in bare if word[0].isalnum() and word not in table.STOP_WORDS)
    signs = "".join(re.findall(_UNSPACED, text))
    negations, negated = _negations(lower)
    return Features(
        numbers=tuple(_numbers(lower)) + tuple((table.NUMBER_SIGNS[c], "") for c in signs if c in table.NUMBER_SIGNS),
        dates=frozenset(table.DATES[word] for word in lower if word in table.DATES)
        | {sign for sign in table.DATE_SIGNS if sign in signs},
        entities=frozenset(_entities(tokens)),
        words=frozenset(bare) | frozenset(map(stem, bare)),
        content=content,
        negations=negations + (sum(signs.count(sign.strip()) for sign in table.NEGATING_SIGNS) if signs else 0),
        negated=negated,
        opposites=frozenset(side for word in {*bare, *content} for side in _opposites().get(word, ()))
        | {(f"{stem(verb)} in/out", int(word == "out")) for verb, word in pairwise(bare) if word in ("in", "out")},
        quantifiers=frozenset(i for i, line in enumerate(table.ALTERNATIVES) if not line.isdisjoint(bare)),
        alternatives=tuple(_alternatives(bare)),
        prefixed=frozenset(_prefixed(bare)),
        directions=frozenset(_directions(bare)),
        frames=frozenset(_frames(bare)),
        questions=sum("?" in token for token in tokens),
        tense=_tense(lower),
        script=_script(text),
        signs=signs,
    )


def stem(word: str) -> str:
    """A word without its most common English endings, so that most forms of a word compare equal."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            if ending != "s" and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _numbers(lower: list[str]) -> Iterator[tuple[str, str]]:
    for i, word in enumerate(lower):
        after = lower[i + 1] if i + 1 < len(lower) else ""
        if word in table.NUMBER_WORDS:
            yield table.NUMBER_WORDS[word], table.UNITS.get(after, "")
            continue
        match = re.fullmatch(_NUMBER, word)
        if match is not None:
            currency, digits, unit = match.groups()
            before = lower[i - 1] if i else ""
            spelled = (
                currency or unit or (before if before in ("$", "€", "£", "¥", "₹", "usd", "eur", "gbp") else after)
            )
            known = table.UNITS.get(spelled, "")
            yield _plain(digits) + (unit if unit and not known else ""), known
        elif "-" in word:
            for part in word.split("-"):
                if part in table.NUMBER_WORDS:
                    yield table.NUMBER_WORDS[part], ""


def _plain(digits: str) -> str:
    digits = digits.replace(",", "")
    return digits.rstrip("0").rstrip(".") if "." in digits and "/" not in digits else digits


def _entities(tokens: list[str]) -> Iterator[str]:
    cased = [token for token in tokens if token[0].isalpha()]
    raised = sum(token[0].isupper() for token in cased)
    shouted = len(cased) > 3 and raised > 0.6 * len(cased)
    start = True
    for token in tokens:
        if _ENDS.fullmatch(token):
            start = True
            continue
        letters = [character for character in token if character.isalpha()]
        digits = any(character.isdigit() for character in token)
        if letters and digits:
            if re.fullmatch(_NUMBER, token.casefold()) is None:
                yield token.casefold()
        elif letters and any(mark in token for mark in ("/", "@", "_", "\\", "+", "#", ":", ".", "&")):
            yield token.casefold()
        elif letters and not shouted and token not in ("I", "OK") and not token.startswith(("I'", "I’")):
            acronym = len(letters) > 1 and all(character.isupper() for character in letters)
            name = token[0].isupper() and not start
            if (acronym or name) and (
                token.casefold() not in table.STOP_WORDS or token in table.NAMES or len(token) == 1
            ):
                word = token.casefold().removesuffix("'s")
                if word not in table.DATES and word not in table.NUMBER_WORDS:
                    yield stem(word.replace("'", ""))
        if letters or digits:
            start = False


def _negations(lower: list[str]) -> tuple[int, frozenset[str]]:
    words = [word if word.endswith("n't") else word.replace("'", "") for word in lower]
    skipped = {i for i, pair in enumerate(pairwise(words)) if pair in table.EMPTY_PHRASES}
    places = [
        i for i, word in enumerate(words) if word.endswith("n't") or (word in table.NEGATORS and i not in skipped)
    ]
    following = (
        next((word for word in words[i + 1 : i + 5] if word[0].isalnum() and word not in table.STOP_WORDS), None)
        for i in places
    )
    return len(places), frozenset(stem(word) for word in following if word is not None)


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
    """Whether a word can be one end of a direction."""
    return word[0].isalnum() and (word not in table.STOP_WORDS or word in table.MOVABLE)


def _frames(bare: list[str]) -> Iterator[str]:
    start = True
    for i, word in enumerate(bare):
        if _ENDS.fullmatch(word):
            start = True
            continue
        asked = start or bare[i - 1] in table.ASKING or bare[i - 1] in (",", "，")
        after = bare[i + 1] if i + 1 < len(bare) else ""
        if asked and word.removesuffix("s") in ("how", "why", "when", "who", "where"):
            word = word.removesuffix("s")
            following = bare[i + 2] if i + 2 < len(bare) else ""
            if word in ("how", "where") and (
                after == "to" or (after in table.AUXILIARY and following in table.PERSONS)
            ):
                yield word
                yield "how to"  # "where do I" and "how do I" get the same answer
            elif word == "how" and after == "many" and following in table.SPANS:
                yield "how long"
            else:
                yield table.HOW.get(after, "how") if word == "how" else table.STARTS[word]
        elif asked and word == "what" and after == "time":
            yield "when"
        elif start and word in table.YES_NO:
            yield "yes or no"
        if word not in table.OPENERS:
            start = False


def _tense(lower: list[str]) -> str:
    several = any(_ENDS.fullmatch(word) for word in lower[:-1])  # a story before the question may use either tense
    for word, verb in pairwise(lower):
        if not several and word in table.IDENTITY and verb in ("is", "are", "was", "were"):
            return "now" if verb in ("is", "are") else "past"
    past = any(word in table.PAST for word in lower)
    future = any(word in table.FUTURE or word.endswith("'ll") for word in lower)
    return "past" if past and not future else "future" if future and not past else ""


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
