"""`question_of`: the question of a call and its scope; and whether a text looks secret or personal."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.secrets import secrets_in
from resilient_ai._degrade_to.call_key import scope_of
from resilient_ai._degrade_to.contract import text_of
from resilient_ai._degrade_to.digest import Writer, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_ai._degrade_to.contract import FailedCall

    Which = str | Callable[[FailedCall], str | None] | None

_USUAL_NAMES = ("messages", "question", "query", "prompt", "text", "message", "input", "contents", "content", "q")
_FOR_SECRETS = b"resilient_ai.similar"  # separates the secret digests from those of partitions, which are not secret
LONGEST = 4_000  # most characters of a question that is compared with others; a longer one only equals itself


@dataclass(frozen=True, slots=True)
class Question:
    """
    A question, and the scope of answers that may be used for it.

    Attributes:
        text: The question itself.
        key: Digest of the normalised text; the same for equal questions.
        partition: Digest of everything else: function, other arguments, history, scope.
        owner: Digest of the user's `scope=` only, which `forget` uses.
        secret: Key of the digests that replace the text in a store. It is derived from the same data as the partition,
            and never stored.
    """

    text: str = field(repr=False)
    key: str
    partition: str
    owner: str
    secret: bytes = field(repr=False)


def question_of(call: FailedCall, which: Which, scope: Any) -> Question | None:
    """
    The question of a call; None if it has no text, or if the scope function returned None (unknown: not shared).

    Args:
        call: The call.
        which: As for `text_of`; by default an argument with one of the usual names takes precedence over the first
            string, which may be a tenant's name.
        scope: The user's `scope=`: None for everybody, a value, or a function of the call.

    Raises:
        NoScope: An argument can neither be compared by value nor identified.
    """
    if which is None:
        which = next((name for name in _USUAL_NAMES if text_of(call, name) is not None), None)
    text = text_of(call, which)
    if text is None or not text.strip():
        return None
    carried = None
    if callable(scope):
        # Decides alone who shares; what the function carries counts only if the scope function reads it.
        scope = scope(call)
        if scope is None:
            return None
    else:
        carried = scope_of(call).digest
    writer = Writer(blank=text)
    writer.write((call.function, carried, scope, dict(call.arguments)))
    partition, secret = writer.digest(), bytes.fromhex(writer.digest(_FOR_SECRETS))
    return Question(text=text, key=key_of(text, secret), partition=partition, owner=digest(scope), secret=secret)


def key_of(text: str, secret: bytes) -> str:
    """Digest of a text that ignores its spacing and its Unicode form, if it is no longer than 4,000 characters."""
    plain = " ".join(unicodedata.normalize("NFC", text).split()) if len(text) <= LONGEST else text
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), key=secret, digest_size=16).hexdigest()


# Private data that memories must not keep, in addition to the core's patterns of keys. Every pattern is linear: each
# repetition is bounded, or begins at only one place of a run. Compiled for the first text, which takes a millisecond.
_PRIVATE = r"""(?x)
    \b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b | \bAIza[\w\-]{30}                     # without a digit, too
    | (?i:\bbearer\s{1,20}[\w\-.=+/~]{12})
    | (?i:\b(?:pass(?:word|wd|code|phrase)?|pwd|secret|token|pin|cvv|cvc|ssn|auth(?:orization)?|credentials?
          |(?:api|access|private)[-_ ]?key)
        \b["']?\s{0,20}(?:is|=|:|:=|=>|was)\s{0,20}["']?(?=\S{0,64}[\d!@#$%^&*\-_+=])[^\s"',;]{3})  # with a non-letter
    | \b\d{3}-\d{2}-\d{4}\b                                           # US social security number
    | \b[A-Z]{2}\d{2}(?:\ ?[A-Z0-9]{4}){3,7}(?:\ ?[A-Z0-9]{1,3})?\b   # IBAN
    """
_E_MAIL = r"(?<=[\w.+\-])@[\w\-]{1,63}(?:\.[\w\-]{1,63}){0,8}\.\w{2}"
_CARD = r"(?<![\d.])(?:\d[ \-]?){12,18}\d(?![\d.])"
_LONG_RUN = r"(?<![\w/+\-])[A-Za-z0-9+/_\-]{32,}+={0,2}(?![\w/+\-])"

_WINDOW = 16_384  # characters searched in one call: the search holds the GIL, here for a millisecond
_OVERLAP = 1_024  # a longer key is recognised by its beginning


def looks_secret(text: str) -> bool:
    """Whether a text contains something like a key, a password, a token, a card number or an account number."""
    return any(map(_window_looks_secret, _windows(text)))


def _window_looks_secret(text: str) -> bool:
    return (
        next(secrets_in(text), None) is not None
        or re.search(_PRIVATE, text) is not None
        or any(_is_card(match.group()) for match in re.finditer(_CARD, text))
        or any(_is_random(match.group()) for match in re.finditer(_LONG_RUN, text))
    )


def _windows(text: str) -> Iterator[str]:
    yield text[:_WINDOW]
    for start in range(_WINDOW - _OVERLAP, len(text) - _OVERLAP, _WINDOW - _OVERLAP):
        yield text[start : start + _WINDOW]


def looks_personal(text: str) -> bool:
    """Whether a question contains an e-mail address, or many invisible characters, which is a sign of manipulation."""
    odd = sum(unicodedata.category(sign) in ("Cf", "Cc", "Co") for sign in text if sign not in "\n\r\t")
    return odd > 8 or any(re.search(_E_MAIL, window) is not None for window in _windows(text))


def _is_card(digits: str) -> bool:
    """Whether the Luhn checksum of a card number is right; nine of ten other numbers fail it."""
    numbers = [int(sign) for sign in reversed(digits) if sign.isdigit()]
    total = sum(number if i % 2 == 0 else sum(divmod(number * 2, 10)) for i, number in enumerate(numbers))
    return 13 <= len(numbers) <= 19 and total % 10 == 0 and len(set(numbers)) > 1


def _is_random(token: str) -> bool:
    """Whether a token mixes digits with letters of both cases, or is long hexadecimal, unlike any word."""
    kinds = (any(map(str.islower, token)), any(map(str.isupper, token)), any(map(str.isdigit, token)))
    hexadecimal = kinds[2] and set(token) <= set("0123456789abcdefABCDEF") and not token.isdigit()
    return hexadecimal or (all(kinds) and sum(sign.isdigit() for sign in token) >= 3 and "/" not in token[:12])
