"""`numbers_in`: amounts with their units, and other words with digits: times, versions, ranges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import _words as table

if TYPE_CHECKING:
    from collections.abc import Iterator

AMOUNT = r"\d[\d,]*(?:\.\d+)?(?:/\d[\d,]*(?:\.\d+)?)?"
UNIT = r"%|°?[a-zA-Zµа-яА-Я]+"
_NUMBER = rf"([-+]?)([$€£¥₹]?)({AMOUNT})({UNIT})?"
_CLOCK = r"0?(\d{1,2}[:.]\d\d)(am|pm)?"
_CURRENCIES = ("$", "€", "£", "¥", "₹", "usd", "eur", "gbp")
_BOUNDS = {
    ("at", "least"): "at least", ("no", "less"): "at least", ("no", "fewer"): "at least", ("or", "more"): "at least",
    ("at", "most"): "at most", ("no", "more"): "at most", ("up", "to"): "at most", ("or", "less"): "at most",
    ("or", "fewer"): "at most", ("more", "than"): "more", ("less", "than"): "less", ("fewer", "than"): "less",
}  # fmt: skip
_BOUND_WORDS = {
    "over": "more", "above": "more", "exceeding": "more", "under": "less", "below": "less", "exactly": "exactly",
    "precisely": "exactly", "only": "only", "minimum": "at least", "maximum": "at most", "roughly": "about",
    "approximately": "about", "nearly": "nearly", "almost": "nearly",
}  # fmt: skip


def is_number(token: str) -> bool:
    """Whether a token is one amount or one time of day, with or without a unit."""
    return re.fullmatch(_NUMBER, token) is not None or re.fullmatch(_CLOCK, token) is not None


def is_written_in_digits(token: str) -> bool:
    """Whether a token has only digits and punctuation: a time, a range, a version, an address."""
    return any(map(str.isdigit, token)) and not any(map(str.isalpha, token))


def numbers_in(lower: list[str]) -> Iterator[tuple[str, str]]:
    """Iterate over (number, unit) of every number, in order; the unit is "" if there is no known one."""
    for place, word in enumerate(lower):
        after = lower[place + 1] if place + 1 < len(lower) else ""
        if word in table.NUMBER_WORDS:
            yield table.NUMBER_WORDS[word], table.UNITS.get(after, "")
        elif (clock := re.fullmatch(_CLOCK, word)) is not None and (":" in word or clock[2] or after in ("am", "pm")):
            half = clock[2] or (after if after in ("am", "pm") else "")
            time = clock[1].replace(".", ":")
            yield time.removesuffix(":00") if half else time, half
        elif (match := re.fullmatch(_NUMBER, word)) is not None:
            yield _amount(match, lower[place - 1] if place else "", after)
        elif is_written_in_digits(word):
            yield word, ""
        elif "-" in word:
            for part in word.split("-"):
                if part in table.NUMBER_WORDS:
                    yield table.NUMBER_WORDS[part], ""


def _amount(match: re.Match[str], before: str, after: str) -> tuple[str, str]:
    sign, currency, digits, unit = match.groups()
    spelled = currency or unit or (before if before in _CURRENCIES else after)
    known = table.UNITS.get(spelled, "")
    number = _plain(digits, is_measured=bool(known))
    return sign.replace("+", "") + number + (unit if unit and not known else ""), known


def _plain(digits: str, *, is_measured: bool) -> str:
    """A normal form of an amount. Without a unit, 2.10 may be a version, which differs from 2.1."""
    digits = digits.replace(",", "")
    whole, point, fraction = digits.partition(".")
    if not point or "/" in digits:
        return digits
    if is_measured or not fraction.strip("0"):
        fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def bounds_in(lower: list[str]) -> Iterator[str]:
    """Iterate over `at least`, `only` and similar words before or after a number."""
    for place, word in enumerate(lower):
        pair = (word, lower[place + 1]) if place + 1 < len(lower) else (word, "")
        if pair in _BOUNDS and _is_amount(lower, place + 2, place - 1):
            yield _BOUNDS[pair]
        elif word in _BOUND_WORDS and _is_amount(lower, place + 1):
            yield _BOUND_WORDS[word]


def _is_amount(lower: list[str], *places: int) -> bool:
    return any(
        0 <= place < len(lower)
        and (
            lower[place][0].isdigit() or lower[place] in table.NUMBER_WORDS or lower[place] in ("one", "a", "half", "$")
        )
        for place in places
    )
