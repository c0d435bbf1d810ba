"""Sentences of a text in any script, and which of them say most about the whole."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from .words import ABBREVIATIONS, BEFORE_NUMBERS, OFTEN_LAST, STOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Beyond this a fallback would not be quick any more; what follows is not looked at.
_MOST_CHARACTERS = 200_000
_MOST_SENTENCES = 500

_CLOSERS = "\"'”’»›)\\]}」』】》〉）"
# Chinese, Japanese and the full-width forms end a sentence without a blank; Latin, Arabic, Devanagari, Ethiopic,
# Armenian, Khmer and Burmese with one. Full stops that end none are kept apart below.
_END = re.compile(rf"[。！？｡︒]+[{_CLOSERS}]*|[.!?…؟۔।॥።፧։។။‼⁇⁈⁉]+[{_CLOSERS}]*(?=\s|\Z)")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=[ \t]*(?:[-*•‣–]|\d{1,3}[.)])[ \t])|[\u2028\u2029]")
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“‘])([^\s(\[\"'“‘]{1,20})\Z")


def sentences(text: str) -> list[str]:
    """
    The sentences of a text, in order, each as it stands there without the blanks around it.

    Paragraphs and list items end one; abbreviations, initials and decimal points do not.
    """
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text[:_MOST_CHARACTERS]):
        start = 0
        for end in _END.finditer(paragraph):
            if _ends_here(paragraph, start, end):
                found.append(paragraph[start : end.end()])
                start = end.end()
        found.append(paragraph[start:])
    return [sentence for each in found if (sentence := each.strip())]


def _ends_here(text: str, start: int, end: re.Match[str]) -> bool:
    mark = end.group()
    if mark[0] not in ".…":
        return True
    following = text[end.end() : end.end() + 40].lstrip().lstrip("\"'“‘«‹([¿¡")[:1]
    if following.islower():
        return False  # "approx. five", "well … no"
    if mark[0] != "." or mark.startswith(".."):
        return True
    word = _LAST_WORD.search(text[max(start, end.start() - 24) : end.start()])
    if word is None:
        return end.start() > start
    last = word[1].lower()
    if last in BEFORE_NUMBERS:
        return not following.isdigit()
    if last in ABBREVIATIONS:
        return following.isupper() and last in OFTEN_LAST
    # Initials, "J. Smith"; and the number of a list item, "2. Boil".
    initial = len(last) == 1 and word[1].isupper() and following.isupper()
    return not initial and not (last.isdigit() and text[start : end.start()].strip() == last)


def first(text: str, count: int) -> str:
    """The first so many sentences."""
    return joined(sentences(text)[:count])


# -- which sentences matter

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Scripts that set no blanks between words: pairs of characters stand for words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_NEARNESS = 0.7  # to the text, against 0.3 for saying something that is not chosen yet
_SAME = 0.95  # a likeness from which on a sentence is taken only when nothing else is left
_POSITION = 0.25  # how much more the first sentence weighs than the last


def terms(sentence: str) -> Counter[str]:
    """What a sentence is about: words without the small ones, pairs of characters where words have no blanks."""
    found: Counter[str] = Counter()
    for word in _WORD.findall(sentence.lower()):
        if _UNSPACED.search(word):
            for run in _UNSPACED.findall(word):
                found.update(run[at : at + 2] for at in range(max(1, len(run) - 1)))
        elif word not in STOP_WORDS and (len(word) > 1 or word.isdigit()):
            found[word.removesuffix("'s").removesuffix("’s")] += 1
    return found


def key(text: str, count: int) -> str:
    """
    The sentences nearest to what the text as a whole is about, in their order.

    Each is compared with the centroid of the text (Radev et al. 2004), early ones weigh a little more, and one that
    repeats what is chosen already weighs less (maximal marginal relevance, Carbonell and Goldstein 1998).
    """
    given = sentences(text)[:_MOST_SENTENCES]
    if len(given) <= count:
        return joined(given)
    bags = [terms(sentence) for sentence in given]
    spread = Counter(term for bag in bags for term in bag)
    whole = Counter(term for bag in bags for term in bag.elements())
    # A term of one sentence says little about the text, one of every sentence says nothing about this one.
    weights = {
        term: math.log1p(whole[term]) * math.log(1 + len(given) / spread[term]) * (1.0 if spread[term] > 1 else 0.3)
        for term in spread
    }
    vectors = [_unit({term: math.log1p(times) * weights[term] for term, times in bag.items()}) for bag in bags]
    middle: dict[str, float] = dict.fromkeys(spread, 0.0)
    for vector in vectors:
        for term, value in vector.items():
            middle[term] += value
    centroid = _unit(middle)
    scores = [
        _likeness(vector, centroid) * (1 + _POSITION * (1 - at / len(given))) for at, vector in enumerate(vectors)
    ]
    chosen: list[int] = []
    repeated = [0.0] * len(given)
    while len(chosen) < count:
        left = [at for at in range(len(given)) if at not in chosen]
        best = max(
            left, key=lambda at: (repeated[at] < _SAME, _NEARNESS * scores[at] - (1 - _NEARNESS) * repeated[at], -at)
        )
        chosen.append(best)
        for at in left:
            repeated[at] = max(repeated[at], _likeness(vectors[at], vectors[best]))
    return joined([given[at] for at in sorted(chosen)])


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {term: value / length for term, value in vector.items()} if length else {}


def _likeness(one: dict[str, float], other: dict[str, float]) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(term, 0.0) for term, value in one.items())


def joined(parts: Sequence[str]) -> str:
    """Sentences as one text; no blank after a full stop that wants none."""
    text = ""
    for part in parts:
        text += part if not text or _UNSPACED.match(part) or text[-1] in "。！？｡" else f" {part}"
    return text
