"""Rungs that need no model: sentences of the text itself, its sentiment, a fixed text per kind of request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import anyio
import anyio.to_thread

from resilient_ai._core.checks import check_number
from resilient_ai._core.per_loop import PerLoop
from resilient_ai._core.public import public
from resilient_ai._core.tasks import current_loop

from .contract import NO_ANSWER, FailedCall, text_of
from .sentences import first, key
from .sentiment import Sentiment, judged, lexicon_is_loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    TextOf = str | Callable[[FailedCall], str | None] | None

_QUICK_KEY = 10_000  # characters; a longer text takes more than about 5 ms
_QUICK_SENTIMENT = 500

# A few threads of our own: the work is pure Python, and the program may need its threads for something else.
_threads = PerLoop(lambda _loop: anyio.CapacityLimiter(2))


def _is_quick_key(text: str) -> bool:
    return len(text) <= _QUICK_KEY


def _is_quick_sentiment(text: str) -> bool:
    return len(text) <= _QUICK_SENTIMENT and lexicon_is_loaded()


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A rule as a rung: answers from the text of the call, or passes if there is no text.

    Attributes:
        name: Its name in statistics.
        work: Makes the answer from the text and the settings.
        settings: Its settings, such as the number of sentences.
        text: Which argument of the call is the text; see `text_of`.
        is_quick: Whether a text is short enough to be processed in the event loop; None: every text is.
    """

    name: str
    work: Callable[..., str] = field(repr=False)
    settings: tuple[int, ...] = ()
    text: TextOf = None
    is_quick: Callable[[str], bool] | None = field(default=None, repr=False)

    def __call__(self, call: FailedCall) -> Any:
        found = text_of(call, self.text)
        if found is None or not found or found.isspace():
            return NO_ANSWER
        quick = call.plain or self.is_quick is None or self.is_quick(found)
        loop = None if quick else _loop_or_none()
        if loop is None:
            return self.work(found, *self.settings)
        return anyio.to_thread.run_sync(
            self.work, found, *self.settings, abandon_on_cancel=True, limiter=_threads.of(loop)
        )


def _loop_or_none() -> Any:
    try:
        return current_loop()
    except RuntimeError:
        return None


@overload
def first_sentences(given: FailedCall, /) -> Any: ...
@overload
def first_sentences(given: str, /, count: int = 3) -> str: ...
@overload
def first_sentences(given: int = 3, /, *, text: TextOf = None) -> Rule: ...
@public()
def first_sentences(given: Any = 3, /, count: int = 3, *, text: Any = None) -> Any:
    """
    The first sentences of the text that the call is about: a simple summary.

    As a rung: `first_sentences`, or with settings `first_sentences(2, text="article")`. On a text:
    `first_sentences("…")`. Abbreviations, initials and decimals do not end a sentence; Chinese and Japanese full stops
    do.

    Args:
        given: Number of sentences, default 3; or the text itself.
        count: Number of sentences, if the text is given. Default 3.
        text: Which argument of the call is the text, by name or by a function of the call. Default: the last user
            message of `messages`, else the first argument that is a string.

    Returns:
        The rung; or the sentences.

    >>> first_sentences("Dr. Lee paid $3.50. He left. It rained.", 2)
    'Dr. Lee paid $3.50. He left.'
    """
    return _rule(Rule("first_sentences", first, text=text), given, count)


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

    Takes about a millisecond for a news article; as a rung, a text of more than 10,000 characters is processed in a
    thread. Only the first 200,000 characters or 500 sentences of a text are read.

    Args:
        given: Number of sentences, default 3; or the text itself.
        count: Number of sentences, if the text is given. Default 3.
        text: Which argument of the call is the text; the same default as `first_sentences`.

    Returns:
        The rung; or the sentences.
    """
    return _rule(Rule("key_sentences", key, text=text, is_quick=_is_quick_key), given, count)


def _rule(rule: Rule, given: Any, count: int) -> Any:
    if isinstance(given, FailedCall):
        return replace(rule, settings=(3,))(given)
    if isinstance(given, str):
        check_number("count", count, least=1, whole=True)
        return rule.work(given, count)
    check_number("count", given, least=1, whole=True)
    return replace(rule, settings=(given,))


@overload
def sentiment(given: FailedCall, /) -> Any: ...
@overload
def sentiment(given: str, /) -> Sentiment: ...
@overload
def sentiment(*, text: TextOf = None) -> Rule: ...
@public()
def sentiment(given: Any = None, /, *, text: Any = None) -> Any:
    """
    Whether the words of an English text are positive or negative; neutral if unsure.

    As a rung: `sentiment`, or `sentiment(text="review")`. On a text: `sentiment("…")`. The answer is a string that
    also has `.score`, `.words` (the ones that decided) and `.explained()`. With the extra `sentiment` the VADER lexicon
    is used, whose first use takes a fifth of a second; without it, a small lexicon of our own. Other languages are
    neutral. Only the first 20,000 characters and 100 emoji of a text are read; as a rung, a text of more than 500
    characters is processed in a thread.

    Args:
        given: The text. Default None: the result is the rung.
        text: Which argument of the call is the text; the same default as `first_sentences`.

    Returns:
        The rung; or a `Sentiment`.
    """
    rule = Rule("sentiment", judged, text=text, is_quick=_is_quick_sentiment)
    if isinstance(given, FailedCall):
        return rule(given)
    return judged(given) if isinstance(given, str) else rule


@dataclass(frozen=True, slots=True)
class StaticTexts:
    """Fixed texts by kind of request, as a rung; see `static_texts`."""

    texts: Mapping[str, Any] = field(repr=False)
    request_type: str | Callable[[FailedCall], str | None]
    default: Any = field(default=NO_ANSWER, repr=False)
    name: str = "static"
    label: None = None  # a fixed text needs no mark

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
        request_type: The argument that gives the kind, by name or by a function of the call. Default "request_type".
        default: The answer for every other kind. Default: pass.

    Raises:
        ValueError: There are no texts.
    """
    if not texts:
        raise ValueError('static_texts needs texts by kind of request, such as {"summary": "…"}, got none')
    return StaticTexts(dict(texts), request_type, default)
