"""
Read from a provider's headers what is left of its limits.

OpenAI, Azure, Groq, xAI:  x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens
Anthropic:                 anthropic-ratelimit-requests-remaining, ...-tokens-, ...-input-tokens-, ...-output-tokens-
Cerebras, Mistral:         x-ratelimit-remaining-tokens-minute, x-ratelimit-remaining-requests-day
Together:                  x-ratelimit-remaining, x-tokenlimit-remaining

Each limit itself has the same name with `limit` for `remaining`. Some limits are per day. Once little is left they
bound what may be sent just as well, so they need not be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_OTHER_THINGS = ("image", "audio", "batch")


class Left(NamedTuple):
    """What is left of one limit, and the limit; None if it is not given."""

    amount: float
    limit: float | None


class Told(NamedTuple):
    """The limits that a reply's headers give."""

    requests: tuple[Left, ...] = ()
    tokens: tuple[Left, ...] = ()


NOTHING = Told()


def told_by(headers: Mapping[str, str]) -> Told:
    """
    Read what is left of each limit.

    Args:
        headers: Header values by name in lower case.

    >>> told_by({"x-ratelimit-remaining-requests": "59", "x-ratelimit-limit-requests": "60"}).requests
    (Left(amount=59.0, limit=60.0),)
    """
    requests: list[Left] = []
    tokens: list[Left] = []
    for name, value in headers.items():
        if "remaining" not in name or not ("ratelimit" in name or "tokenlimit" in name):
            continue
        amount = _number(value)
        if amount is None or any(each in name for each in _OTHER_THINGS):
            continue
        found = Left(amount, _number(headers.get(name.replace("remaining", "limit"))))
        (tokens if "token" in name else requests).append(found)
    return Told(tuple(requests), tuple(tokens)) if requests or tokens else NOTHING


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
