"""The meaning of an error reply, from its codes, its messages and its status, in that order."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.fields import read

from .code_words import meaning_of, names_a_rate
from .evidence import SDK_ROOTS, Evidence, gather, gather_body, root_of
from .marks import classes_in, marks_in, statuses_in
from .outputs import is_misfit
from .phrases import COMES_BACK_SOON, MALFORMED_BY_MODEL, PHRASES, compiled
from .provider_rules import (
    CATCH_ALL,
    CODE_ORDER,
    CODES,
    CODES_AT,
    NEVER_WORTH_A_RETRY,
    SDK_STATUSES,
    STATUS_NAMES,
    STATUSES,
    WORTH_A_RETRY,
    plain,
)
from .transport import kind_of_class
from .verdict import Verdict, verdict
from .wait_hints import wait_of


def is_reply(found: Evidence) -> bool:
    """Whether this is a reply of a provider: it has the status of a failure, or two other signs."""
    known, told, said = found.sdk in SDK_ROOTS, found.status is not None, bool(found.bodies)
    return found.failed or known + told + said >= 2


def stated_wait(found: Evidence) -> float | None:
    """Seconds that the reply asks to wait."""
    # A duration in a message about a bad request is not a wait.
    text = "" if found.status in (400, 401, 404, 413, 422) else found.text
    return wait_of(found.headers, found.bodies, text)


def from_reply(error: BaseException) -> Verdict | None:
    """The verdict for an exception with a reply; None for one without."""
    # A built-in exception has a reply only if somebody set attributes on it.
    if root_of(type(error)) == "builtins" and not (read(error, "args") and read(error, "__dict__")):
        return None
    found = gather(error)
    if not is_reply(found) or (not found.failed and is_misfit(error)):
        return None
    wait = stated_wait(found)
    kind, retryable, evidence = decide(found, wait)
    fault = verdict(kind, retry_after=wait, in_stream=not found.failed, evidence=evidence)
    if retryable is None and kind is ErrorType.INVALID_REQUEST and _is_malformed_by_model(found):
        retryable = True
    if retryable is None and (told := found.headers.get("x-should-retry")) in ("true", "false"):
        # A stated "true" overrides the table of statuses only: no retry pays a bill.
        retryable = fault.retryable if told == "true" and not evidence.startswith("status") else told == "true"
    return fault if retryable in (None, fault.retryable) else replace(fault, retryable=retryable)


def _is_malformed_by_model(found: Evidence) -> bool:
    """Whether the server refused something that its own model wrote; the model may do better next time."""
    return not WORTH_A_RETRY.isdisjoint(found.codes) or compiled(MALFORMED_BY_MODEL).search(found.text) is not None


def classify_body(body: Any) -> ErrorType:
    """The type of an error inside a returned value."""
    found = gather_body(body)
    return decide(found, stated_wait(found))[0]


def from_text(text: str, *, quoted: bool = False) -> Verdict | None:
    """
    The verdict from a text about a reply that is no longer available; None if the text is not unambiguous.

    Args:
        text: The message of an exception.
        quoted: Whether to believe only a text that quotes the reply itself. Default False.
    """
    found = marks_in(text)
    if quoted and not found.bodies:
        return None
    if found.status is None and not any(map(_is_known, found.codes)):
        names = ((name, kind) for name in classes_in(text) if (kind := kind_of_class(name)) is not None)
        name, kind = next(names, ("", None))
        return None if kind is None else verdict(kind, evidence=f"text: class {name}")
    wait = stated_wait(found)
    kind, retryable, evidence = decide(found, wait)
    said = verdict(kind, retry_after=wait, in_stream="exception-type" in text, evidence=f"text: {evidence}")
    return said if retryable in (None, said.retryable) else replace(said, retryable=retryable)


def _is_known(code: str) -> bool:
    forms = _forms([code])
    known = any(form in CODES or form in STATUS_NAMES for form in forms)
    return known or meaning_of(code) is not None or names_a_rate(code)


def _forms(found: list[str]) -> list[str]:
    """Codes in the form of the tables: without the ending that AWS shapes and SDK classes have."""
    codes = [plain(code) for code in found]
    codes += [code.removesuffix("exception") for code in codes if code.endswith("exception")]
    codes += [code.removesuffix("error") for code in codes if code.endswith("error")]
    return codes


def decide(found: Evidence, wait: float | None) -> tuple[ErrorType, bool | None, str]:
    """The error type, whether it is worth a retry (None: as usual for its type), and the rule that decided."""
    codes = _forms(found.codes)
    status = _effective_status(found, codes)
    kind, evidence = _by_code(found, codes, status)
    if kind is None:
        kind, evidence = _by_phrase(found, status, wait)
    if kind is not None:
        return kind, None, evidence
    return _by_status(found, status, wait)


def _by_code(found: Evidence, codes: list[str], status: int) -> tuple[ErrorType | None, str]:
    # Google's daily quota has the code RESOURCE_EXHAUSTED like any rate limit, and names a short wait; only the quota
    # id tells them apart.
    if any("perday" in code for code in codes):
        return ErrorType.QUOTA_EXCEEDED, "quota per day"
    # DashScope calls tokens per minute a quota; only its link tells.
    if status == 429 and "aliyun.com" in found.text and "#token-limit" in found.text:
        return ErrorType.RATE_LIMIT, "link to the limit of tokens per minute"
    by_code = {kind: code for code in reversed(codes) if (kind := CODES_AT.get((code, status), CODES.get(code)))}
    for kind in CODE_ORDER:
        if kind in by_code:
            return kind, f"code {by_code[kind]}"
    for code in found.codes:
        known = any(form in STATUS_NAMES or (form, status) in CODES_AT for form in _forms([code]))
        if not known and (meaning := meaning_of(code)) is not None:
            return meaning, f"words of code {code}"
    return None, ""


# Quoted words in a message about a bad request come from the request, such as a tool with the name "top up".
_QUOTED = re.compile(r"(?<!\w)(['\"`])[^'\"`\n]{1,60}\1(?!\w)")
_BY_WORDS_OF_OTHERS = frozenset(
    {
        ErrorType.QUOTA_EXCEEDED,
        ErrorType.CONTENT_FILTER,
        ErrorType.AUTHENTICATION,
        ErrorType.PERMISSION,
        ErrorType.MODEL_OVERLOADED,
    }
)


def _by_phrase(found: Evidence, status: int, wait: float | None) -> tuple[ErrorType | None, str]:
    text = found.text
    unquoted = _QUOTED.sub("_", text) if status in (400, 422) else text
    # Inside a stream, a vague code for "it failed" leaves the decision to the message.
    gates = {status, 0} if not found.failed and status in (0, 500) else {status}
    for kind, name, statuses, pattern in PHRASES:
        if gates.isdisjoint(statuses):
            continue
        if compiled(pattern).search(unquoted if kind in _BY_WORDS_OF_OTHERS else text):
            if kind is ErrorType.QUOTA_EXCEEDED and status in (402, 429) and name != "a limit of 0":
                # A limit that is over in seconds is not about money.
                soon = name == "used up" and compiled(COMES_BACK_SOON).search(text) is not None
                kind = ErrorType.RATE_LIMIT if soon or wait is not None else kind
            return kind, f"text at {status or 'no status'}: {name}"
    return None, ""


def _by_status(found: Evidence, status: int, wait: float | None) -> tuple[ErrorType, bool | None, str]:
    if special := SDK_STATUSES.get((found.sdk, found.status or 0)):
        return *special, f"status {found.status} of {found.sdk}"
    if status == 402 and wait is not None:
        return ErrorType.RATE_LIMIT, None, "status 402 with a wait"
    if status:
        default = ErrorType.INVALID_REQUEST if status < 500 else ErrorType.INTERNAL_ERROR
        never = False if status in NEVER_WORTH_A_RETRY else None
        return STATUSES.get(status, default), never, f"status {status}"
    return ErrorType.INTERNAL_ERROR, None, "an error inside a stream"


def _effective_status(found: Evidence, codes: list[str]) -> int:
    """
    The status to use; 0 if there is none.

    Inside a stream the reported status is 200 or meaningless, and proxies use 400 or 500 for anything. Then a code that
    is the name of a status, a status in the body, or the status of an upstream in the message is believed instead.
    """
    told = found.status if found.status is not None and found.failed else 0
    if told and told not in CATCH_ALL and told != 502:
        return told
    named = [STATUS_NAMES.get(code, 0) for code in codes]
    named += [429 for code in found.codes if plain(code) not in STATUS_NAMES and names_a_rate(code)]
    named += [int(code) for code in codes if len(code) == 3 and code.isdecimal() and "400" <= code <= "599"]
    definite = next((status for status in named if status and status not in (400, 500)), 0)
    if told in (401, 403) and definite not in (401, 403, 429):
        definite = 0
    if told >= 500 and not definite:
        upstream = (status for text in found.texts for status in statuses_in(text))
        definite = next((status for status in upstream if status not in (500, 502)), 0)
    return definite or told or next((status for status in named if status), 0)
