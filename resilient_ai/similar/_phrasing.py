"""The phrasing of a question: what its question word asks for, its tense, and whether it asks for a subject."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from . import _words as table
from ._sequence import stem

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDS = r"[.?!;\n。？！；]+"
_ABBREVIATIONS = frozenset("dr mr mrs ms prof st jr sr rev hon vs etc eg ie approx no fig vol inc ltd co est".split())
_BE = frozenset(("am", "is", "are", "isnt", "arent", "aint", "being"))
_PRESENT = _BE | {"do", "does", "dont", "doesnt"}
_PAST = frozenset(("was", "were", "wasnt", "werent", "did", "didnt", "had", "hadnt"))
_FUTURE = frozenset(("will", "wont", "shall", "gonna"))
_HAVE = frozenset(("has", "have", "hasnt", "havent"))
_PARTICIPLES = frozenset(
    """been done gone seen made got gotten had paid sent lost won broken taken given found left come become begun bought
    brought built caught chosen cut drawn driven eaten fallen felt forgotten grown heard held kept known led met put
    read run said sold shown spent spoken stolen stood taught told thought understood worn written""".split()
)
_WHAT = frozenset(("what", "whats", "which"))
_LEADING = frozenset("with at in on by for to from of".split())
_AT_PLACES = frozenset("use buy pay eat live stay park go sit sleep shop swim study meet withdraw".split())
_TIMELESS = frozenset(("born",))
_MODALS = {
    "can": "can", "could": "can", "may": "can", "might": "can", "must": "must", "should": "should", "shall": "should",
    "cannot": "can", "cant": "can", "couldnt": "can", "mustnt": "must", "shouldnt": "should",
}  # fmt: skip
_DETERMINERS = frozenset("my our the a an his her their".split())
_OURS = frozenset("i me my us our we".split())
_FILLING = frozenset("help helping somebody someone anyone please assist question".split())


def is_end(tokens: list[str], place: int) -> bool:
    """Whether a sentence ends here, which is not so after an abbreviation such as `Dr.`."""
    sign = tokens[place]
    if re.fullmatch(ENDS, sign) is None:
        return False
    before = tokens[place - 1].casefold() if place else ""
    return not (sign == "." and (before in _ABBREVIATIONS or (len(before) == 1 and before.isalpha())))


def sentences(bare: list[str]) -> list[list[str]]:
    """The words of each sentence, with the sign at its end."""
    found: list[list[str]] = [[]]
    for place, word in enumerate(bare):
        found[-1].append(word)
        if is_end(bare, place):
            found.append([])
    return [each for each in found if each]


def asked_sentences(bare: list[str]) -> list[list[str]]:
    """The sentences with a question mark; all sentences if there is none."""
    every = sentences(bare)
    asking = [each for each in every if "?" in each[-1] or "？" in each[-1]]
    return [each for each in asking if any(map(_says_something, each))] or every


def _says_something(word: str) -> bool:
    return word[0].isalnum() and word not in table.STOP_WORDS and word not in _FILLING


def tenses(bare: list[str]) -> frozenset[str]:
    """The tenses (`past`, `now`, `future`) shown by auxiliary verbs; a perfect is past."""
    found: set[str] = set()
    for sentence in asked_sentences(bare):
        if _TIMELESS & set(sentence):
            return frozenset()
        for place, word in enumerate(sentence):
            after = sentence[place + 1 : place + 5]
            if word == "wont" and sentence[max(0, place - 1) : place] == ["why"]:
                continue  # "why won't it open?" is about the present or the past
            if word in _FUTURE or (word == "going" and after[:1] == ["to"]):
                found.add("future")
                found.discard("now")
            elif word in _HAVE:
                if "got" in after:  # has got: has
                    found.add("now")
                elif any(each in _PARTICIPLES or each.endswith("ed") for each in after):
                    found.add("past")
            elif word in _PAST:
                found.add("past")
            elif word in _PRESENT or word in ("whats", "wheres", "whos", "hows"):
                found.add("now")
    return frozenset(found)


def frames(bare: list[str]) -> Iterator[str]:
    """Iterate over what is asked for: `why`, `how long`, `when`, …; without a question word, the leading verb."""
    start = True
    for place, word in enumerate(bare):
        if is_end(bare, place):
            start = True
            continue
        asked = start or bare[place - 1] in table.ASKING or bare[place - 1] in (",", "，")
        after = bare[place + 1] if place + 1 < len(bare) else ""
        if asked and word.removesuffix("s") in ("how", "why", "when", "who", "where"):
            yield from _question_word(word.removesuffix("s"), after, bare[place + 2 : place + 4])
        elif asked and word == "what" and after == "time":
            yield "when"
        elif word in ("reason", "reasons") and bare[max(0, place - 3) : place - 1] in (
            ["is", "there"],
            ["are", "there"],
        ):
            yield "why"
        elif start and (word in _WHAT or (word in _LEADING and after in _WHAT)):
            yield "what"
        elif start and (word in table.YES_NO or word in _MODALS) and after not in ("you", "u", "someone", "anyone"):
            yield "yes or no"
            if (modal := _MODALS.get(word) or _modal_phrase(bare[place : place + 6])) is not None:
                yield f"{modal}?"
            if modal == "can":  # a question whether something can be done is answered with how
                yield "how to"
        if word not in table.OPENERS:
            start = False


def roles(bare: list[str]) -> Iterator[tuple[str, str, str]]:
    """
    Iterate over who acts on whom: `can I see my manager's file`, `can my manager see my file`; `can I call you`, `can
    you call me`.

    Yields:
        ("role", subject, object) for the writer, the reader, and persons named as theirs.
    """
    for place, word in enumerate(bare[:-2]):
        if word not in table.AUXILIARY or (place and bare[place - 1] in table.PERSONS):
            continue
        subject, rest = bare[place + 1], bare[place + 2 : place + 9]
        owned = [
            stem(noun.removesuffix("s")) for mark, noun in pairwise(rest) if mark in _DETERMINERS and noun.isalpha()
        ]
        if subject in ("i", "we"):
            yield from (("role", "i", noun) for noun in owned)
            if "you" in rest[1:4]:
                yield "role", "i", "you"
        elif subject == "you" and not {"me", "us"}.isdisjoint(rest[1:4]):
            yield "role", "you", "i"
        elif subject in _DETERMINERS and rest[0].isalpha() and _OURS & set(rest[1:]):
            yield "role", stem(rest[0].removesuffix("s")), "i"


def _modal_phrase(words: list[str]) -> str | None:
    """The modal verb for phrases such as `do I have to` and `am I allowed to`."""
    for pair in pairwise(words):
        if pair in (("have", "to"), ("need", "to")):
            return "must"
        if pair in (("allowed", "to"), ("possible", "to"), ("able", "to")):
            return "can"
    return None


def _question_word(word: str, after: str, following: list[str]) -> Iterator[str]:
    person, verb = (*following, "", "")[:2]
    if word == "how" and (
        after in ("can", "could") or (after in table.PERSONS and person in ("can", "could", "should"))
    ):
        yield word
        yield "how to"
    elif word in ("how", "where") and (after == "to" or (after in table.AUXILIARY and person in table.PERSONS)):
        yield word
        if word == "how" or (verb if person in table.PERSONS else person) not in _AT_PLACES:
            yield "how to"  # "where do I change my PIN" and "how do I change my PIN" get the same answer
    elif word == "how" and after == "many" and person in table.SPANS:
        yield "how long"
    else:
        yield table.HOW.get(after, "how") if word == "how" else table.STARTS[word]


def asks_for(bare: list[str]) -> str:
    """
    Whether a question asks for the subject of a verb, as `who called John`, or its object, as `who did John call`.

    Returns:
        "subject", "object", or "" if that is not clear.
    """
    if not bare or bare[0] not in ("who", "what", "which"):
        return ""
    for word in bare[1:5]:
        if word in ("do", "does", "did"):
            return "object"
        if word in table.AUXILIARY:
            return ""
    return "subject"
