"""Find the differences of two similar questions: replaced words, or exchanged parts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ._sequence import CONTENT, NUMBER, PREPOSITION, WEAK
from ._synonyms import are_synonyms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._sequence import Word

_MOST_EDITS = 24  # questions with more differences are not look-alikes
_MOST_REPLACED = 3  # content words in one place; a longer difference is a different wording
_MOST_SIGNS = 8  # the same in characters, for a script without spaces
_LONGEST_EXCHANGE = 24
_LEAST_TYPED = 9  # least letters of a word that may have a typo; shorter words with a typo are often other words
_ENDINGS = frozenset("e s es ed d ing ings ion ions or ors ation ations ment ments ly al".split()) | {""}
_VERB_ENDINGS = frozenset(("ed", "ing", "es", "s"))
_Y_ENDINGS = frozenset(("y", "ies", "ied", "ying"))
_INFINITIVES = frozenset(("r", "ar", "er", "ir", "re", "en", "n", "are", "ere", "ire"))
_FINITE = frozenset("o a e as es an en amos emos imos i t st te est ez ons ent s is it me lo la".split()) | {""}


class Block(NamedTuple):
    """A place in which two sequences differ, with the words of each."""

    one: Sequence[Word]
    other: Sequence[Word]


def differences(one: Sequence[Word], other: Sequence[Word]) -> list[Block] | None:
    """The places where two sequences differ, with the fewest edits; None if there are more than 24."""
    start = 0
    while start < min(len(one), len(other)) and one[start].form == other[start].form:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end].form == other[-1 - end].form:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    if not one or not other:
        return [Block(one, other)] if one or other else []
    matched = _matched([word.form for word in one], [word.form for word in other])
    return list(_between(one, other, matched)) if matched is not None else None


def _matched(one: list[str], other: list[str]) -> list[tuple[int, int]] | None:
    """Places of equal words in a shortest edit script (E. W. Myers, An O(ND) difference algorithm, 1986)."""
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(_MOST_EDITS + 1):
        trace.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            y = x - diagonal
            while x < len(one) and y < len(other) and one[x] == other[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(one) and y >= len(other):
                return _way_back(trace, len(one), len(other))
    return None


def _way_back(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    matched: list[tuple[int, int]] = []
    for edits in range(len(trace) - 1, -1, -1):
        furthest, diagonal = trace[edits], x - y
        down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        start = furthest[before]
        while x > start + (0 if down else 1) and x > 0 and y > 0:
            x, y = x - 1, y - 1
            matched.append((x, y))
        if edits:
            x, y = start, start - before
    return matched[::-1]


def _between(one: Sequence[Word], other: Sequence[Word], matched: list[tuple[int, int]]) -> Iterator[Block]:
    x = y = 0
    for here, there in (*matched, (len(one), len(other))):
        if here > x or there > y:
            yield Block(one[x:here], other[y:there])
        x, y = here + 1, there + 1


def is_replaced(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether words of one sequence are replaced in the other by words with another meaning."""
    blocks = differences(one, other)
    if blocks is None:
        return False
    if _has_other_signs(one, other) or _has_other_signs(other, one):
        return True
    only_one, only_other = _only(one, other), _only(other, one)
    places: list[tuple[list[Word], list[Word]]] = []
    for block in blocks:
        if _joined(block.one) == _joined(block.other):
            continue
        mine = [word for word in block.one if word.role == CONTENT and only_one[word.form] > 0]
        theirs = [word for word in block.other if word.role == CONTENT and only_other[word.form] > 0]
        if max(len(mine), len(theirs)) <= _MOST_REPLACED and _exclude(block):
            return True
        if mine or theirs:
            places.append((mine, theirs))
    # A word in only one of them shows that the question has another wording, in which other words may differ too.
    return all(mine and theirs and max(len(mine), len(theirs)) <= _MOST_REPLACED for mine, theirs in places) and any(
        not _mean_the_same(mine, theirs, only_other, only_one) for mine, theirs in places
    )


def _only(one: Sequence[Word], other: Sequence[Word]) -> Counter[str]:
    """Content words that only one sequence has, at any place."""
    mine, theirs = (Counter(word.form for word in each if word.role == CONTENT) for each in (one, other))
    return mine - theirs


def _has_other_signs(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether a character of a script without spaces, of which each counts, is missing in the other sequence."""
    known = {word.form for word in other}
    return any(len(word.form) == 1 and word.form > "\u0dff" and word.form not in known for word in one)


def _exclude(block: Block) -> bool:
    """Whether function words are replaced by others that exclude them: `every` by `any`, `before` by `with`."""
    kinds = {word.role for word in block.one} & {word.role for word in block.other} - {CONTENT, NUMBER}
    for kind in kinds:
        mine, theirs = ({word.form for word in side if word.role == kind} for side in block)
        if mine.isdisjoint(theirs) and (kind != PREPOSITION or mine | theirs != {WEAK}):
            return True
    return False


def _mean_the_same(mine: list[Word], theirs: list[Word], also: Counter[str], too: Counter[str]) -> bool:
    if _joined(mine) == _joined(theirs):
        return True
    fewer, more = sorted((mine, theirs), key=len)
    if all(any(_alike(word.written, each.written) for each in more) for word in fewer):
        return True
    # A verb with a separated prefix: `setze … zurück` and `zurücksetzen`.
    verbs = [word.written for word in (*mine, *theirs)] + [*also, *too]
    return any(
        long.written.startswith(short.written)
        and any(_alike(long.written.removeprefix(short.written), verb) for verb in verbs)
        for one, other in ((mine, theirs), (theirs, mine))
        for long in one
        for short in other
        if long.written != short.written
    )


def _joined(words: Sequence[Word]) -> str:
    return "".join(word.written for word in words).replace("-", "")


def _alike(one: str, other: str) -> bool:
    """Whether two words count as equal: synonyms, two forms, or one with a typo."""
    return one == other or are_synonyms(one, other) or _are_forms(one, other) or _is_mistyped(one, other)


def _are_forms(one: str, other: str) -> bool:
    one, other = _without_accents(one), _without_accents(other)
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    # Endings may begin with the same letter: paint-er, paint-ed.
    return any(
        cut >= max(4, 0.6 * min(len(one), len(other))) and _are_endings(one[cut:], other[cut:])
        for cut in (shared, shared - 1)
    )


def _without_accents(word: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))


def _are_endings(*ends: str) -> bool:
    """Whether two words with the same beginning are forms of one word."""
    if all(end in _ENDINGS for end in ends) or all(end in _Y_ENDINGS for end in ends):
        return True
    if any(end in ("er", "ers") for end in ends) and any(end in _VERB_ENDINGS for end in ends):  # painted, painter
        return True
    return any(mine in _INFINITIVES and theirs in _FINITE for mine, theirs in (ends, ends[::-1]))


def _is_mistyped(one: str, other: str) -> bool:
    """Whether two long words with the same beginning differ by one missing letter, or by two exchanged neighbours."""
    if min(len(one), len(other)) < _LEAST_TYPED or one[:2] != other[:2] or not (one + other).isalpha():
        return False
    short, long = sorted((one, other), key=len)
    place = next((i for i, (left, right) in enumerate(zip(short, long, strict=False)) if left != right), len(short))
    if len(long) == len(short) + 1:
        return long[:place] + long[place + 1 :] == short
    if len(long) != len(short):
        return False
    swapped = long[:place] + long[place + 1 : place + 2] + long[place : place + 1] + long[place + 2 :]
    return swapped == short


def is_exchanged(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether both have the same words, with two parts in exchanged places: X … Z and Z … X."""
    mine, theirs = [word.form for word in one], [word.form for word in other]
    while mine and theirs and mine[0] == theirs[0]:
        del mine[0], theirs[0]
    while mine and theirs and mine[-1] == theirs[-1]:
        del mine[-1], theirs[-1]
    length = len(mine)
    if length != len(theirs) or not 3 <= length <= _LONGEST_EXCHANGE or Counter(mine) != Counter(theirs):
        return False
    links = {word.form for word in one if word.role == "link"}
    for first in range(1, length - 1):
        if mine[:first] != theirs[length - first :]:
            continue
        for last in range(1, length - first):
            middle = mine[first : length - last]
            if mine[length - last :] == theirs[:last] and middle == theirs[last : length - first]:
                return not links.issuperset(middle)
    return False
