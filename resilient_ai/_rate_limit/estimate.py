"""How many tokens a call will take, before it is made: guessed from its texts, corrected by what such calls took."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Cost: TypeAlias = Callable[..., float] | float

_BYTES_PER_TOKEN = 4.0  # of English text and of code, about, in the tokenizers of today
_ANSWER = 100.0  # tokens of a short answer; what answers take on average is learnt
_ATTACHED = 1000.0  # tokens of an image or a file, about
_ENCODED = re.compile(r"(?:data:[\w/.+-]{1,100};base64,)?[A-Za-z0-9+/_=-]{256}")  # an image or a file, and no text
_LEAST_ENCODED = 256  # signs
_MOST_VALUES, _DEEPEST = 10_000, 8
_FADING = 0.99  # what an answer weighs when the next one comes


def tokens_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """
    Tokens that a call takes, guessed from the length of the texts in its arguments.

    >>> tokens_in(("four signs are a token of English",), {})
    108.25
    """
    size, values = 0.0, 0
    waiting: list[tuple[Any, int]] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if type(value) is str:  # most arguments are, and need no list
            size += _size(value)
        else:
            waiting.append((value, 1))
    while waiting and values < _MOST_VALUES:
        value, depth = waiting.pop()
        values += 1
        kind = type(value)
        if kind is str or isinstance(value, str):
            size += _size(value)
        elif isinstance(value, bytes | bytearray):
            size += _ATTACHED * _BYTES_PER_TOKEN
        elif depth < _DEEPEST:
            # To ask for a `Mapping` takes as long as all of the rest of a short text.
            if kind is dict or (kind is not tuple and kind is not list and isinstance(value, Mapping)):
                value = list(value.values())
            if isinstance(value, list | tuple):
                waiting.extend((each, depth + 1) for each in value[:_MOST_VALUES])
    return _ANSWER + size / _BYTES_PER_TOKEN


def _size(text: str) -> float:
    if not text.isascii():
        return len(text.encode(errors="ignore"))
    if len(text) >= _LEAST_ENCODED and _ENCODED.match(text):
        return _ATTACHED * _BYTES_PER_TOKEN
    return len(text)


def check_cost(cost: object) -> None:
    """Refuse what cannot tell a number of tokens."""
    if cost is None or callable(cost):
        return
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not (math.isfinite(cost) and cost >= 0):
        raise ValueError(f"cost must be a function of the call's arguments, a number of tokens or None, got {cost!r}")


class TokenEstimate:
    """
    Estimates the calls of one function.

    Args:
        cost: Tokens of a call: a number, or a function of its arguments. Default: guessed from its texts.
    """

    __slots__ = ("_cost", "_guessed", "_used")

    def __init__(self, cost: Cost | None) -> None:
        self._cost = cost
        self._guessed = self._used = 0.0

    @property
    def ratio(self) -> float:
        """What calls took for each token that was guessed, the latest hundred or so."""
        # The ratio of the sums: a mean of ratios is off by a tenth where few calls take most of the tokens.
        return self._used / self._guessed if self._guessed > 0 else 1.0

    def guess(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        """Tokens of a call as `cost` says, or as its texts do."""
        cost = self._cost
        if cost is None:
            return tokens_in(args, kwargs)
        if not callable(cost):
            return cost
        told: object = cost(*args, **kwargs) if instance is None else cost(instance, *args, **kwargs)
        if isinstance(told, bool) or not isinstance(told, int | float) or not (math.isfinite(told) and told >= 0):
            raise ValueError(f"cost= must return a number of tokens, got {told!r}")
        return told

    def learn(self, guessed: float, used: float) -> None:
        """A call for which so many tokens were guessed took so many."""
        if guessed > 0:
            self._guessed = self._guessed * _FADING + guessed
            self._used = self._used * _FADING + used
