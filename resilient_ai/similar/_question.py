"""`question_of`: the question of a call and its scope; and whether a text looks secret or personal."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_ai._degrade_to.call_key import scope_of
from resilient_ai._degrade_to.contract import text_of
from resilient_ai._degrade_to.digest import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._degrade_to.contract import FailedCall

    Which = str | Callable[[FailedCall], str | None] | None

_USUAL_NAMES = ("messages", "question", "query", "prompt", "text", "message", "input", "contents", "content", "q")
_NO_SCOPE = object()


@dataclass(frozen=True, slots=True)
class Question:
    """
    A question, and which answers may serve it.

    Attributes:
        text: The question itself.
        key: Digest of the normalised text; the same for equal questions.
        partition: Digest of everything else: function, other arguments, history, scope.
        owner: Digest of the user's `scope=` alone; `forget` goes by it.
    """

    text: str
    key: str
    partition: str
    owner: str


def question_of(call: FailedCall, which: Which, scope: Any) -> Question | None:
    """
    Read a call; None when it has no text, or when the scope function returned None (unknown, so shared by nobody).

    Args:
        call: The call.
        which: As for `text_of`; by default an argument with one of the usual names goes before the first string,
            which may be a tenant's name.
        scope: The `scope=` of the user: None for everybody, a value, or a function of the call.

    Raises:
        NoScope: An argument can neither be compared nor told apart from others.
    """
    if which is None:
        which = next((name for name in _USUAL_NAMES if text_of(call, name) is not None), None)
    text = text_of(call, which)
    if text is None or not text.strip():
        return None
    carried = None
    if callable(scope):
        scope = scope(call)  # says who shares: what the function carries counts as far as this one reads it
        if scope is None:
            return None
    else:
        carried = scope_of(call).digest
    partition = digest(call.function, carried, scope, dict(call.arguments), blank=text)
    return Question(text=text, key=key_of(text), partition=partition, owner=digest(scope))


def key_of(text: str) -> str:
    """Digest of a text that ignores its spacing and its Unicode form."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# Compiled when the first text is checked, so that importing the package costs nothing.
_SECRETS = r"""(?x)
    -----BEGIN [A-Z ]*PRIVATE\ KEY
    | \b(?:sk|pk|rk|gsk|xai|nvapi|hf|ghp|gho|ghs|ghu|ghr|glpat|github_pat|xox[abposr]|npm|pypi|shpat|whsec)
        [-_][A-Za-z0-9_\-]{12,}                                        # keys by their well-known prefixes
    | \bAIza[\w\-]{30,} | \b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,} | \bya29\.[\w\-]{10,}
    | \bSG\.[\w\-]{10,}\.[\w\-]{10,}
    | \beyJ[\w\-]{8,}\.[\w\-]{4,}                                    # JSON web tokens
    | (?i:\bbearer\s+[\w\-.=+/~]{12,} | \bbasic\s+[A-Za-z0-9+/]{12,}={0,2})
    | (?i:\b(?:pass(?:word|wd|code|phrase)?|pwd|secret|token|pin|cvv|cvc|ssn|auth(?:orization)?|credentials?
          |(?:api|access|private)[-_ ]?key)
        \b["']?\s*(?:is|=|:|:=|=>|was)\s*["']?(?=\S*[\d!@#$%^&*\-_+=])[^\s"',;]{3,})   # named, with a non-letter in it
    | (?i:(?<=://)[^/\s:@]+:[^/\s@]+(?=@))                            # credentials in a URL
    | \b\d{3}-\d{2}-\d{4}\b                                           # US social security number
    | \b[A-Z]{2}\d{2}(?:\ ?[A-Z0-9]{4}){3,7}(?:\ ?[A-Z0-9]{1,3})?\b   # IBAN
    """

_E_MAIL = re.compile(r"[\w.+\-]+@[\w\-]+\.\w{2,}")
_CARD = re.compile(r"(?<![\d.])(?:\d[ \-]?){12,18}\d(?![\d.])")
_LONG_TOKEN = re.compile(r"(?<![\w/+\-])[A-Za-z0-9+/_\-]{32,}={0,2}(?![\w/+\-])")


def looks_secret(text: str) -> bool:
    """Whether a text holds something that looks like a key, a password, a token, a card or an account number."""
    return (
        re.search(_SECRETS, text) is not None
        or any(_is_card(match.group()) for match in _CARD.finditer(text))
        or any(_is_random(match.group()) for match in _LONG_TOKEN.finditer(text))
    )


def looks_personal(text: str) -> bool:
    """Whether a question holds an e-mail address, or many invisible characters, as crafted questions do."""
    odd = sum(unicodedata.category(sign) in ("Cf", "Cc", "Co") for sign in text if sign not in "\n\r\t")
    return odd > 8 or _E_MAIL.search(text) is not None


def _is_card(digits: str) -> bool:
    """Whether the Luhn checksum of a card number holds; nine of ten other numbers fail it."""
    numbers = [int(sign) for sign in reversed(digits) if sign.isdigit()]
    total = sum(number if i % 2 == 0 else sum(divmod(number * 2, 10)) for i, number in enumerate(numbers))
    return 13 <= len(numbers) <= 19 and total % 10 == 0 and len(set(numbers)) > 1


def _is_random(token: str) -> bool:
    """Whether a token mixes digits with letters of both cases, or is long hexadecimal, as no word does."""
    kinds = (any(map(str.islower, token)), any(map(str.isupper, token)), any(map(str.isdigit, token)))
    hexadecimal = kinds[2] and set(token) <= set("0123456789abcdefABCDEF") and not token.isdigit()
    return hexadecimal or (all(kinds) and sum(sign.isdigit() for sign in token) >= 3 and "/" not in token[:12])
