"""Split a text in any script into sentences, and find those that say most about the whole."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING

from .words import ABBREVIATIONS, BEFORE_NUMBERS, OFTEN_LAST, STOP_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A longer text is cut at this length: a fallback has to be quick.
_MOST_CHARACTERS = 200_000
_MOST_SENTENCES = 500

_CLOSERS = "\"'”’»›)\\]}」』】》〉）"
_FULL_STOPS = ".!?…؟۔।॥።፧։។။‼⁇⁈⁉"
# Chinese, Japanese and full-width full stops end a sentence without a blank; those of Latin, Arabic, Devanagari,
# Ethiopic, Armenian, Khmer and Burmese need one. `_ends_here` filters those that do not end a sentence.
# Linear time: a run of full stops is tried once, from its beginning (lookbehind), without backtracking (possessive).
_END = re.compile(
    rf"[。！？｡︒]++[{_CLOSERS}]*+|(?<![{_FULL_STOPS}])[{_FULL_STOPS}]++[{_CLOSERS}]*+(?=\s|\Z)",
)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=[ \t]*+(?:[-*•‣–]|\d{1,3}[.)])[ \t])|[\u2028\u2029]")
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“‘])([^\s(\[\"'“‘]{1,20})\Z")


def sentences(text: str) -> list[str]:
    """
    The sentences of a text, in order, unchanged except for blanks around them.

    The ends of paragraphs and list items end a sentence; abbreviations, initials and decimal points do not.
    """
    return list(each_sentence(text))


def each_sentence(text: str) -> Iterator[str]:
    """The same as an iterator, which reads only as far as needed."""
    for paragraph in _paragraphs(text[:_MOST_CHARACTERS]):
        start = 0
        for end in _END.finditer(paragraph):
            if _ends_here(paragraph, start, end):
                if sentence := paragraph[start : end.end()].strip():
                    yield sentence
                start = end.end()
        if sentence := paragraph[start:].strip():
            yield sentence


def _paragraphs(text: str) -> Iterator[str]:
    start = 0
    for between in _PARAGRAPH.finditer(text):
        yield text[start : between.start()]
        start = between.end()
    yield text[start:]


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
    # Initials ("J. Smith") and numbers of list items ("2. Boil") do not end a sentence.
    initial = len(last) == 1 and word[1].isupper() and following.isupper()
    return not initial and not (last.isdigit() and text[start : end.start()].strip() == last)


def first(text: str, count: int) -> str:
    """The first `count` sentences."""
    return joined(list(islice(each_sentence(text), count)))


# -- which sentences matter

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Scripts without blanks between words, in which pairs of characters stand for words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_NEARNESS = 0.7  # weight of similarity to the text; the rest is for novelty
_SAME = 0.95  # from this similarity on, a sentence repeats another one, and is taken only if nothing else is left
_POSITION = 0.25  # extra weight of the first sentence, compared with the last


def terms(sentence: str) -> Counter[str]:
    """The terms of a sentence: words without stop words, or pairs of characters if the script has no blanks."""
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
    The sentences most similar to the whole text, in their order.

    Each is compared with the centroid of the text (Radev et al. 2004). Early sentences weigh a little more, and those
    that repeat a chosen one weigh less (maximal marginal relevance, Carbonell and Goldstein 1998).
    """
    given = list(islice(each_sentence(text), _MOST_SENTENCES))
    if len(given) <= count:
        return joined(given)
    vectors = _vectors([terms(sentence) for sentence in given])
    return joined([given[at] for at in sorted(_chosen(vectors, _scores(vectors), count))])


def _vectors(sentences: list[Counter[str]]) -> list[dict[str, float]]:
    """Each sentence as a unit vector of weighted terms."""
    in_sentences = Counter(term for terms in sentences for term in terms)
    in_text: Counter[str] = sum(sentences, Counter())
    # A term in only one sentence says little about the text; a term in every sentence says nothing about this one.
    weights = {
        term: math.log1p(in_text[term]) * math.log(1 + len(sentences) / found) * (1.0 if found > 1 else 0.3)
        for term, found in in_sentences.items()
    }
    return [_unit({term: math.log1p(times) * weights[term] for term, times in terms.items()}) for terms in sentences]


def _scores(vectors: list[dict[str, float]]) -> list[float]:
    """Similarity of each sentence to the centroid of the text, with a bonus for early ones."""
    total: dict[str, float] = defaultdict(float)
    for vector in vectors:
        for term, value in vector.items():
            total[term] += value
    centroid = _unit(total)
    return [
        _likeness(vector, centroid) * (1 + _POSITION * (1 - at / len(vectors))) for at, vector in enumerate(vectors)
    ]


def _chosen(vectors: list[dict[str, float]], scores: list[float], count: int) -> list[int]:
    """The sentences with the best scores and the least repetition, the best one first."""
    chosen: list[int] = []
    left = list(range(len(vectors)))
    repeated = [0.0] * len(vectors)  # largest similarity to a chosen sentence
    while len(chosen) < count:
        best = max(
            left, key=lambda at: (repeated[at] < _SAME, _NEARNESS * scores[at] - (1 - _NEARNESS) * repeated[at], -at)
        )
        chosen.append(best)
        left.remove(best)
        for at in left:
            repeated[at] = max(repeated[at], _likeness(vectors[at], vectors[best]))
    return chosen


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {term: value / length for term, value in vector.items()} if length else {}


def _likeness(one: dict[str, float], other: dict[str, float]) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(term, 0.0) for term, value in one.items())


def joined(parts: Sequence[str]) -> str:
    """Sentences joined to one text, without blanks in scripts that have none."""
    text = []
    for number, part in enumerate(parts):
        blank = number and not _UNSPACED.match(part) and parts[number - 1][-1] not in "。！？｡"
        text.append(f" {part}" if blank else part)
    return "".join(text)
