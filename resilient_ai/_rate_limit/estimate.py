"""Estimate the tokens of a call before it is made: guess from its texts, corrected by what earlier calls took."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Cost: TypeAlias = Callable[..., float] | float

_BYTES_PER_TOKEN = 4.0  # roughly, for English text and code in today's tokenizers
_ANSWER = 100.0  # tokens of a short answer; the average of real answers is learnt
_ATTACHED = 1000.0  # tokens of an image or a file, roughly
_ENCODED = re.compile(r"(?:data:[\w/.+-]{1,100};base64,)?[A-Za-z0-9+/_=-]{256}")  # an encoded image or file, not text
_LEAST_ENCODED = 256  # characters
_MOST_VALUES, _DEEPEST = 10_000, 8
_FADING = 0.99  # weight that an answer keeps when the next one comes


def tokens_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """
    Guess the tokens that a call takes, from the length of the texts in its arguments.

    >>> tokens_in(("four signs are a token of English",), {})
    108.25
    """
    size, values = 0.0, 0
    waiting: list[tuple[Any, int]] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if type(value) is str:  # the usual argument; it needs no list
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
            # isinstance(value, Mapping) costs as much as everything else for a short text.
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
    """Refuse a `cost=` that cannot give a number of tokens."""
    if inspect.iscoroutinefunction(cost):
        raise ValueError(f"cost must be a plain function, got async def {cost.__qualname__}, which would be awaited")
    if cost is None or callable(cost):
        return
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not (math.isfinite(cost) and cost >= 0):
        raise ValueError(f"cost must be a function of the call's arguments, a number of tokens or None, got {cost!r}")


class TokenEstimate:
    """
    Estimates the calls of one function.

    Args:
        cost: Tokens of a call: a number, or a function of its arguments. None: guessed from its texts.
    """

    __slots__ = ("_cost", "_guessed", "_used")

    def __init__(self, cost: Cost | None) -> None:
        self._cost = cost
        self._guessed = self._used = 0.0

    @property
    def ratio(self) -> float:
        """Tokens used for each token guessed, over about the latest hundred calls."""
        # A ratio of sums: a mean of ratios is off by a tenth where few calls take most of the tokens.
        return self._used / self._guessed if self._guessed > 0 else 1.0

    def guess(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        """Tokens of a call, by `cost` or guessed from its texts."""
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
        """Take in a call for which `guessed` tokens were guessed and that took `used`."""
        if guessed > 0:
            self._guessed = self._guessed * _FADING + guessed
            self._used = self._used * _FADING + used
