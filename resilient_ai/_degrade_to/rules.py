"""Rungs that need no model: sentences of the text itself, the tone of its words, a text per kind of request."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

from resilient_ai._core.checks import check_number
from resilient_ai._core.public import public

from .contract import NO_ANSWER, FailedCall, text_of
from .sentences import first, key
from .sentiment import Sentiment, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    TextOf = str | Callable[[FailedCall], str | None] | None

# During an outage the same texts come again and again: they are worked on once, unless keeping them costs too much.
_LONGEST_KEPT = 20_000
_kept_key = lru_cache(maxsize=128)(key)
_kept_judged = lru_cache(maxsize=128)(judged)


def _key(text: str, count: int) -> str:
    return _kept_key(text, count) if len(text) <= _LONGEST_KEPT else key(text, count)


def _judged(text: str) -> Sentiment:
    return _kept_judged(text) if len(text) <= _LONGEST_KEPT else judged(text)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as a rung: answers from the text of the call, or passes when there is none."""

    name: str
    work: Callable[..., str] = field(repr=False)
    settings: tuple[int, ...] = ()
    text: TextOf = None

    def __call__(self, call: FailedCall) -> Any:
        found = text_of(call, self.text)
        return self.work(found, *self.settings) if found is not None and found.strip() else NO_ANSWER


@overload
def first_sentences(given: FailedCall, /) -> Any: ...
@overload
def first_sentences(given: str, /, count: int = 3) -> str: ...
@overload
def first_sentences(given: int = 3, /, *, text: TextOf = None) -> Rule: ...
@public()
def first_sentences(given: Any = 3, /, count: int = 3, *, text: Any = None) -> Any:
    """
    The first sentences of the text that the call is about: a plain summary.

    As a rung: `first_sentences`, or with settings `first_sentences(2, text="article")`. On a text:
    `first_sentences("…")`. Abbreviations, initials and decimals end no sentence; Chinese and Japanese full stops do.

    Args:
        given: How many sentences; or the text itself.
        count: How many, when the text is given. Default 3.
        text: Which argument of the call is the text, by name or by a function of the call. Default: the last user
            message of `messages`, else the first argument that is a string.

    Returns:
        The rung; or the sentences.

    >>> first_sentences("Dr. Lee paid $3.50. He left. It rained.", 2)
    'Dr. Lee paid $3.50. He left.'
    """
    return _rule("first_sentences", first, given, count, text)


@overload
def key_sentences(given: FailedCall, /) -> Any: ...
@overload
def key_sentences(given: str, /, count: int = 3) -> str: ...
@overload
def key_sentences(given: int = 3, /, *, text: TextOf = None) -> Rule: ...
@public()
def key_sentences(given: Any = 3, /, count: int = 3, *, text: Any = None) -> Any:
    """
    The sentences that say most about the whole text, in their order: an extractive summary.

    Takes about a millisecond for a news article. Of a text beyond 200,000 characters or 500 sentences the rest is
    not read.

    Args:
        given: How many sentences; or the text itself.
        count: How many, when the text is given. Default 3.
        text: Which argument of the call is the text; see `first_sentences`.

    Returns:
        The rung; or the sentences.
    """
    return _rule("key_sentences", _key, given, count, text)


def _rule(name: str, work: Callable[[str, int], str], given: Any, count: int, text: Any) -> Any:
    if isinstance(given, FailedCall):
        return Rule(name, work, (3,))(given)
    if isinstance(given, str):
        check_number("count", count, least=1, whole=True)
        return work(given, count)
    check_number("count", given, least=1, whole=True)
    return Rule(name, work, (given,), text)


@overload
def sentiment(given: FailedCall, /) -> Any: ...
@overload
def sentiment(given: str, /) -> Sentiment: ...
@overload
def sentiment(*, text: TextOf = None) -> Rule: ...
@public()
def sentiment(given: Any = None, /, *, text: Any = None) -> Any:
    """
    Whether an English text sounds positive or negative, from its words; neutral when unsure.

    As a rung: `sentiment`, or `sentiment(text="review")`. On a text: `sentiment("…")`. The answer is a string that
    also has `.score`, `.words` (what decided) and `.explained()`. With the extra `sentiment` the VADER lexicon is
    asked, whose first use takes a fifth of a second; without it a small one of our own. Other languages are neutral.

    Args:
        given: The text.
        text: Which argument of the call is the text; see `first_sentences`.

    Returns:
        The rung; or a `Sentiment`.
    """
    if isinstance(given, FailedCall):
        return Rule("sentiment", _judged)(given)
    return _judged(given) if isinstance(given, str) else Rule("sentiment", _judged, text=text)


@dataclass(frozen=True, slots=True)
class StaticTexts:
    """Texts by kind of request, as a rung; see `static_texts`."""

    texts: Mapping[str, Any] = field(repr=False)
    request_type: str | Callable[[FailedCall], str | None]
    default: Any = field(default=NO_ANSWER, repr=False)
    name: str = "static"
    label: None = None  # a fixed text says itself that it is one

    def __call__(self, call: FailedCall) -> Any:
        which = self.request_type(call) if callable(self.request_type) else call.arguments.get(self.request_type)
        return self.texts.get(which, self.default) if isinstance(which, str) else self.default


@public()
def static_texts(
    texts: Mapping[str, Any],
    *,
    request_type: str | Callable[[FailedCall], str | None] = "request_type",
    default: Any = NO_ANSWER,
) -> StaticTexts:
    """
    A rung that answers with a fixed text for each kind of request.

    Args:
        texts: Answers by kind: `{"summary": "No summary at the moment.", "translation": "…"}`.
        request_type: The argument that tells the kind, by name or by a function of the call.
        default: For every other kind. Default: pass.

    Raises:
        ValueError: There are no texts.
    """
    if not texts:
        raise ValueError('static_texts needs texts by kind of request, such as {"summary": "…"}, got none')
    return StaticTexts(dict(texts), request_type, default)
