"""Whether the words of a text are positive or negative, and which words decided."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from resilient_ai._core.public import public

from .words import AMPLIFIERS, BAD, DAMPERS, GOOD, NEGATIONS, STRONG

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

Label = Literal["positive", "negative", "neutral"]

_LONGEST = 20_000  # characters; the rest is not read
_UNSURE = 0.05  # VADER's own threshold between an opinion and none
_ALPHA = 15  # constant of VADER's normalisation: score = sum / sqrt(sum² + 15)

# VADER's time grows with the square of the number of words, and with the cube of the number of emoji, each of which it
# replaces by several words. So a long text is processed in pieces.
_PIECE = 1_000  # characters
_EMOJI_IN_PIECE = 20
_MOST_EMOJI = 100


@public("types")
class Sentiment(str):
    """
    "positive", "negative" or "neutral", as a string with the reasons as attributes.

    Attributes:
        score: From -1 to 1.
        words: The words that decided, in their order; a negated one with its negation, "not good".
        method: The lexicon that was used: "vader" or "words".
    """

    __slots__ = ("method", "score", "words")

    score: float
    words: tuple[str, ...]
    method: str

    def __new__(cls, label: Label, score: float = 0.0, words: tuple[str, ...] = (), method: str = "words") -> Self:
        self = super().__new__(cls, label)
        self.score, self.words, self.method = score, words, method
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.score, self.words, self.method

    def explained(self) -> str:
        """The result and its reasons in one line: `positive (0.62): great, love`."""
        return f"{self} ({self.score:.2f}): {', '.join(self.words)}" if self.words else str(self)


_REACH = 3  # most words between a negation and the word that it negates
_TOKEN = re.compile(r"[a-z]+(?:['’][a-z]+)?|[.,;:!?()]")


def judged(text: str) -> Sentiment:
    """
    The sentiment of an English text; neutral if no word decides, or if the words contradict each other.

    With the package `vaderSentiment` its lexicon of 7,500 words is used, else a small one of our own.
    """
    text = text[:_LONGEST]
    analyzer = _vader()
    return _by_vader(analyzer, text) if analyzer is not None else by_words(text)


def by_words(text: str) -> Sentiment:
    """The same with our own lexicon."""
    total, decided = 0.0, []
    tokens = _TOKEN.findall(text[:_LONGEST].lower().replace("’", "'"))
    turn = next((at for at in range(len(tokens) - 1, -1, -1) if tokens[at] in ("but", "however")), None)
    for at, token in enumerate(tokens):
        value = 1.0 if token in GOOD else -1.0 if token in BAD else 0.0
        if not value:
            continue
        if token in STRONG:
            value *= 1.6
        before = _clause(tokens, at)
        shown = token
        if before and before[-1] in AMPLIFIERS:
            value *= 1.3
        elif before and before[-1] in DAMPERS:
            value *= 0.7
        negation = next((word for word in reversed(before) if _negates(word)), None)
        if negation is not None and not (token in ("better", "happier") and "be" in before):  # "could not be better"
            value *= -0.7  # "not good" is less bad than "bad"
            shown = f"{negation} {token}"
        if turn is not None:
            value *= 1.5 if at > turn else 0.6  # the main point comes after "but"
        total += value
        decided.append(shown)
    return _verdict(_normalised(total), tuple(decided), "words", unsure=0.1)


def _normalised(total: float) -> float:
    return total / math.sqrt(total * total + _ALPHA)


def _clause(tokens: list[str], at: int) -> list[str]:
    """The few words before a word, back to the last punctuation mark or "but"."""
    before: list[str] = []
    for token in reversed(tokens[max(0, at - _REACH) : at]):
        if not token[0].isalpha() or token in ("but", "however"):
            break
        before.insert(0, token)
    return before


def _negates(word: str) -> bool:
    return word in NEGATIONS or word.endswith("n't")


def _verdict(score: float, words: tuple[str, ...], method: str, unsure: float) -> Sentiment:
    label: Label = "neutral" if abs(score) < unsure or not words else "positive" if score > 0 else "negative"
    return Sentiment(label, round(score, 4), words, method)


def _by_vader(analyzer: Any, text: str) -> Sentiment:
    pieces = list(_pieces(text, analyzer.emojis))
    scores = [float(analyzer.polarity_scores(piece)["compound"]) for piece in pieces]
    score = scores[0] if len(scores) == 1 else _normalised(sum(map(_unnormalised, scores)))
    tokens = _TOKEN.findall(text.lower().replace("’", "'"))
    words = []
    for at, token in enumerate(tokens):
        if token in analyzer.lexicon:
            negation = next((word for word in reversed(_clause(tokens, at)) if _negates(word)), None)
            words.append(token if negation is None else f"{negation} {token}")
    words.extend(each for each in text.split() if each in analyzer.lexicon and not each[:1].isalpha())  # :-)
    words.extend(sign for piece in pieces for sign in piece if sign in analyzer.emojis)
    return _verdict(score, tuple(words), "vader", _UNSURE)


def _pieces(text: str, emoji: Container[str]) -> Iterator[str]:
    """The text in pieces that end between words if possible, without the emoji above the limit."""
    piece, in_piece, in_text = [], 0, 0
    for sign in text:
        if sign in emoji:
            in_text += 1
            if in_text > _MOST_EMOJI:
                continue
            in_piece += 1
        piece.append(sign)
        long = len(piece) >= _PIECE and (sign.isspace() or len(piece) >= 2 * _PIECE)
        if long or in_piece >= _EMOJI_IN_PIECE:
            yield "".join(piece)
            piece, in_piece = [], 0
    if piece or not text:
        yield "".join(piece)


def _unnormalised(score: float) -> float:
    """The sum behind a score of VADER, which rounds to four digits: the largest score stands for a sum of 270."""
    score = max(-0.9999, min(0.9999, score))
    return score * math.sqrt(_ALPHA / (1 - score * score))


@lru_cache(maxsize=1)
def _vader() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        return None
    return cast("Any", SentimentIntensityAnalyzer())


def lexicon_is_loaded() -> bool:
    """Whether the lexicon is already loaded."""
    return _vader.cache_info().currsize > 0
