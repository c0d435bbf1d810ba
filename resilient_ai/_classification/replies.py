"""What an error reply means: from its codes, its messages and its status, in that order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resilient_ai._core.errors import ErrorType

from .evidence import SDK_ROOTS, Evidence, gather, gather_body, read, root_of
from .outputs import is_misfit
from .phrases import PHRASES, compiled
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
from .verdict import Verdict, verdict
from .wait_hints import wait_of


def is_reply(found: Evidence) -> bool:
    """Whether this is a reply of a provider: one with the status of a failure, or two other signs of one."""
    known, told, said = found.sdk in SDK_ROOTS, found.status is not None, bool(found.bodies)
    return found.failed or known + told + said >= 2


def stated_wait(found: Evidence) -> float | None:
    """Seconds that the reply asks to wait."""
    # In a message about a bad request a duration is about something else.
    text = "" if found.status in (400, 401, 404, 413, 422) else found.text
    return wait_of(found.headers, found.bodies, text)


def from_reply(error: BaseException) -> Verdict | None:
    """What an exception that carries a reply means; None for one that carries none."""
    # A built-in exception carries a reply only where somebody set attributes on it.
    if root_of(type(error)) == "builtins" and not (read(error, "args") and read(error, "__dict__")):
        return None
    found = gather(error)
    if not is_reply(found) or (not found.failed and is_misfit(error)):
        return None
    wait = stated_wait(found)
    kind, retryable, evidence = decide(found, wait)
    fault = verdict(kind, retry_after=wait, in_stream=not found.failed, evidence=evidence)
    if retryable is None and not WORTH_A_RETRY.isdisjoint(found.codes):
        retryable = True
    if retryable is None and (told := found.headers.get("x-should-retry")) in ("true", "false"):
        # "true" speaks against the table of statuses only: no retry pays a bill.
        retryable = fault.retryable if told == "true" and not evidence.startswith("status") else told == "true"
    return fault if retryable in (None, fault.retryable) else replace(fault, retryable=retryable)


def classify_body(body: Any) -> ErrorType:
    """The type of an error that stands inside a returned value."""
    found = gather_body(body)
    return decide(found, stated_wait(found))[0]


def decide(found: Evidence, wait: float | None) -> tuple[ErrorType, bool | None, str]:
    """What the reply means, whether that is worth a retry (None: as usual for its type), and the rule that said so."""
    codes = [plain(code) for code in found.codes]
    # AWS shapes and SDK classes carry an ending that bodies leave out.
    codes += [code.removesuffix("exception") for code in codes if code.endswith("exception")]
    codes += [code.removesuffix("error") for code in codes if code.endswith("error")]
    status = _effective_status(found, codes)
    # A daily quota of Google's says RESOURCE_EXHAUSTED like any rate limit and names a short wait; its id tells.
    if any("perday" in code for code in codes):
        return ErrorType.QUOTA_EXCEEDED, None, "quota per day"
    by_code = {kind: code for code in reversed(codes) if (kind := CODES_AT.get((code, status), CODES.get(code)))}
    for kind in CODE_ORDER:
        if kind in by_code:
            return kind, None, f"code {by_code[kind]}"
    text = found.text
    # Inside a stream a vague name for "it failed" leaves all to the message.
    gates = {status, 0} if not found.failed and status in (0, 500) else {status}
    for kind, name, statuses, pattern in PHRASES:
        if not gates.isdisjoint(statuses) and compiled(pattern).search(text):
            if kind is ErrorType.QUOTA_EXCEEDED and wait is not None and status in (402, 429):
                kind = ErrorType.RATE_LIMIT  # what comes back in seconds is no matter of money
            return kind, None, f"text at {status or 'no status'}: {name}"
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
    The status to go by; 0 when there is none.

    Inside a stream the told status is 200 or nonsense, and proxies put 400 or 500 on anything: then a code that is
    the name of a status, or a status in the body, is believed instead.
    """
    told = found.status if found.status is not None and found.failed else 0
    if told and told not in CATCH_ALL:
        return told
    named = [
        int(code) if len(code) == 3 and code.isdecimal() and "400" <= code <= "599" else STATUS_NAMES.get(code, 0)
        for code in codes
    ]
    definite = next((status for status in named if status and status not in (400, 500)), 0)
    if told in (401, 403) and definite not in (401, 403, 429):
        definite = 0
    return definite or told or next((status for status in named if status), 0)
