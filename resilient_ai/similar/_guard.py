"""The guard: reasons why two questions with similar vectors do not have the same meaning."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resilient_ai._core.public import public

from ._alignment import is_exchanged, is_replaced
from ._features import Features, features
from ._question import LONGEST
from ._sequence import CONTENT, Word
from ._words import HOW, QUANTIFIED, STARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Guard = Callable[[str, str], str | None]

REASONS = (
    "script",
    "number",
    "unit",
    "date",
    "negation",
    "opposite",
    "name",
    "quantifier",
    "alternative",
    "direction",
    "frame",
    "tense",
    "replaced",
    "words",
)
"""What `look_alike` may answer; `"words"` only when strict, and where a text has more than 4,000 characters."""

_FRAMES = frozenset((*STARTS.values(), *HOW.values(), "how", "how to", "yes or no"))
_MODALS = frozenset(("can?", "must?", "should?"))
_TO_COME = frozenset(("how long", "how much"))
_WHAT = frozenset(("what", "yes or no"))  # `what` may ask for anything but a yes


@public("similar")
def look_alike(asked: str, remembered: str, *, strict: bool = False) -> str | None:
    """
    Say why the answer to one question must not serve another, however similar their vectors are.

    Vectors hardly differ between "turn it on" and "turn it off", or 5 mg and 50 mg; this compares what they miss.
    Its word lists are English first. Numbers, names, negation and scripts are compared in other languages too.

    Args:
        asked: The question now. Of more than 4,000 characters, it is only like itself; so is the other.
        remembered: The question that was answered.
        strict: Whether their content words must be the same, too. Default False.

    Returns:
        The first reason found, one word of `REASONS`; None if there is none.

    >>> look_alike("How do I turn off dark mode?", "How do I turn on dark mode?")
    'opposite'
    >>> look_alike("convert pdf to word", "convert word to pdf")
    'direction'
    >>> look_alike("How can I reset my password?", "how do I reset the password") is None
    True
    """
    if max(len(asked), len(remembered)) > LONGEST:
        return None if asked == remembered else "words"
    return difference(features(asked), features(remembered), strict=strict)


def difference(a: Features, b: Features, *, strict: bool = False) -> str | None:
    """`look_alike` for the features of two texts."""
    for reason, differs in _CHECKS:
        if differs(a, b):
            return reason
    if strict and set(a.content) != set(b.content):
        return "words"
    return None


def _numbers(a: Features, b: Features) -> bool:
    return [number for number, _ in a.numbers] != [number for number, _ in b.numbers]


def _units(a: Features, b: Features) -> bool:
    return [unit for _, unit in a.numbers] != [unit for _, unit in b.numbers]


def _negation(a: Features, b: Features) -> bool:
    if bool(a.negations) != bool(b.negations):
        return True
    if a.negations % 2 != b.negations % 2 and len(set(a.content) ^ set(b.content)) <= 1:
        return True  # an additional negation among the same words
    # An additional negation in a longer text may repeat the first; a word that only one text negates is a difference.
    if a.negations % 2 != b.negations % 2 and not (a.negated - b.negated).isdisjoint(b.words):
        return True
    if a.negations % 2 != b.negations % 2 and not (b.negated - a.negated).isdisjoint(a.words):
        return True
    if any(base in b.words for base in a.prefixed - b.prefixed) or any(
        base in a.words for base in b.prefixed - a.prefixed
    ):
        return True
    moved, back = a.negated - b.negated, b.negated - a.negated
    return bool(moved and back) and moved <= b.words and back <= a.words


def _opposite(a: Features, b: Features) -> bool:
    return any((pair, 1 - side) in b.opposites - a.opposites for pair, side in a.opposites - b.opposites)


def _names(a: Features, b: Features) -> bool:
    return not (a.entities <= b.words and b.entities <= a.words)


def _quantifiers(a: Features, b: Features) -> bool:
    if a.bounds != b.bounds:
        return True
    mine, theirs = a.quantifiers - b.quantifiers, b.quantifiers - a.quantifiers
    return bool(mine and theirs) or not (mine | theirs).isdisjoint(QUANTIFIED)


def _alternatives(a: Features, b: Features) -> bool:
    mine, theirs = set(a.alternatives), set(b.alternatives)
    return not {kind for kind, _ in mine - theirs}.isdisjoint(kind for kind, _ in theirs - mine)


def _direction(a: Features, b: Features) -> bool:
    mine, theirs = ({one for kind, one, _ in each.directions if kind == "only"} for each in (a, b))
    if mine and theirs and mine != theirs:
        return True
    if any(
        (kind, y, x) in b.directions and (kind, x, y) not in b.directions and (kind, y, x) not in a.directions
        for kind, x, y in a.directions
    ):
        return True
    if is_exchanged(_words(a), _words(b)):
        return True
    if {a.asks_for, b.asks_for} == {"subject", "object"} and Counter(a.content) == Counter(b.content):
        return True
    if len(a.content) != len(b.content) or a.content == b.content or Counter(a.content) != Counter(b.content):
        return False
    exchanged = [i for i, (one, other) in enumerate(zip(a.content, b.content, strict=True)) if one != other]
    return len(exchanged) == 2 and exchanged[1] - exchanged[0] > 1


def _frame(a: Features, b: Features) -> bool:
    # The question words differ (why, how), or this text asks more questions than the remembered one.
    for kinds in (_FRAMES, _MODALS, _WHAT):
        mine, theirs = a.frames & kinds, b.frames & kinds
        if mine and theirs and mine.isdisjoint(theirs):
            return True
    return a.questions > b.questions > 0


def _tenses(a: Features, b: Features) -> bool:
    if not a.tenses or not b.tenses or not a.tenses.isdisjoint(b.tenses):
        return False
    if "now" not in a.tenses | b.tenses:
        return True
    # The present tense is often used for the future or the past, so tenses count only if nothing else differs. "When
    # will it arrive?" and "When does it arrive?" are the same, and so are "how long will it take?" and "how long does
    # it take?".
    timeless = "when" in a.frames or (_TO_COME & a.frames and "past" not in a.tenses | b.tenses)
    return not timeless and Counter(_content(a)) == Counter(_content(b))


def _content(features: Features) -> list[str]:
    return [word.form for word in _words(features) if word.role == CONTENT]


def _replaced(a: Features, b: Features) -> bool:
    return is_replaced(_words(a), _words(b))


def _words(features: Features) -> list[Word]:
    return [Word(*each) for each in features.sequence]


_CHECKS: tuple[tuple[str, Callable[[Features, Features], bool]], ...] = (
    ("script", lambda a, b: a.script != b.script),
    ("number", _numbers),
    ("unit", _units),
    ("date", lambda a, b: a.dates != b.dates),
    ("negation", _negation),
    ("opposite", _opposite),
    ("name", _names),
    ("quantifier", _quantifiers),
    ("alternative", _alternatives),
    ("direction", _direction),
    ("frame", _frame),
    ("tense", _tenses),
    ("replaced", _replaced),
)
