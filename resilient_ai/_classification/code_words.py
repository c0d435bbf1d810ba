"""
What the words of a machine code mean if no table has the code, for example `dedicated_endpoint_not_running`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from resilient_ai._core.errors import ErrorType as E

from .phrases import compiled

_SPLIT = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_LONGEST = 100

_MEANINGS: tuple[tuple[E, str], ...] = (
    (
        E.QUOTA_EXCEEDED,
        r"\b(?:insufficient|exhausted|exceeded|out of|no|low|negative|over|overdue|depleted|unpaid)\b.{0,30}\b(?:balance|credits?|funds|budget|billing)\b"
        r"|\b(?:balance|credits?|budget|funds)\b.{0,30}\b(?:insufficient|exhausted|exceeded|depleted|failed|reached|low|not enough)\b"
        r"|\b(?:insufficient|exhausted)\b.{0,20}\bquota\b|\bquota\b.{0,20}\b(?:exhausted|failed|insufficient|used up)\b"
        r"|\b(?:spend|spending|cost|billing)\b.{0,20}\blimit\b|\b(?:daily|monthly|weekly)\b.{0,20}\b(?:limit|quota)\b|\bset limit exceeded\b|\barrears?\b",
    ),
    (
        E.CONTEXT_LENGTH,
        r"\b(?:context|prompt|input)\b.{0,20}\b(?:too (?:long|large)|length exceeded|exceeded|overflow)\b|\bexceed\w{0,3} (?:context|prompt|input)\b"
        r"|\btoo many (?:input |prompt )?tokens\b",
    ),
    (
        E.CONTENT_FILTER,
        r"\b(?:content|safety|sensitive|moderation|inspection|guardrails?)\b.{0,20}\b(?:filter\w{0,3}|violation|policy|failed|blocked|detected|flagged|intervened|rejected)\b"
        r"|\bunsafe\b",
    ),
    (
        E.MODEL_OVERLOADED,
        r"\boverload\w{0,3}\b|\b(?:no|insufficient|out of|over|exceeded)\b.{0,15}\bcapacity\b|\bcapacity\b.{0,15}\b(?:exceeded|exhausted)\b"
        r"|\bno (?:available|healthy) (?:\w{1,20} )?(?:workers?|channels?|providers?|instances?|servers?|nodes?)\b"
        r"|\b(?:engine|server|model|service) (?:busy|loading|not ready|warming up)\b",
    ),
    (
        E.AUTHENTICATION,
        r"\b(?:invalid|incorrect|expired|missing|wrong|revoked|bad)\b.{0,15}\b(?:api ?key|access key|credentials?|signature|access token|authentication)\b"
        r"|\b(?:api ?key|credentials?)\b.{0,15}\b(?:invalid|incorrect|expired|missing|revoked|not found)\b",
    ),
    (
        E.NOT_FOUND,
        r"\b(?:model|deployment|endpoint|engine)\b.{0,20}\bnot (?:found|exist\w{0,3}|open|opened|available|running|deployed|supported|active|activated|enabled)\b"
        r"|\b(?:model|deployment|endpoint|engine)\b.{0,15}\b(?:unavailable in|deprecated|decommissioned|retired|stopped|paused|disabled|unknown)\b"
        r"|\b(?:unknown|invalid|unsupported|no such|deprecated) (?:model|deployment|engine)\b",
    ),
)
_RATE = (
    r"\b(?:rate|rpm|tpm|qps|rps|requests?|concurrency|frequency|throughput)\b.{0,20}\b(?:limit\w{0,3}|exceeded|reached|too (?:many|high|fast))\b"
    r"|\bthrottl\w{0,3}\b|\btoo many requests\b"
)


@lru_cache(512)
def meaning_of(code: str) -> E | None:
    """The error type that the words of a code name, or None."""
    words = _words_of(code)
    return next((kind for kind, pattern in _MEANINGS if compiled(pattern).search(words)), None)


@lru_cache(512)
def names_a_rate(code: str) -> bool:
    """Whether a code says no more than status 429 does."""
    return compiled(_RATE).search(_words_of(code)) is not None


def _words_of(code: str) -> str:
    return _SPLIT.sub(" ", code[:_LONGEST]).lower()
