"""
`classify`: what an exception means for the next attempt, read from what the SDK really carries.

No SDK is imported. Evidence is asked in this order: the user's classifiers, our own exceptions, what the reply
carries (see `_provider_rules`), and last the names of transport exceptions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog

from resilient_ai._core.errors import AIServiceError, ErrorType, ResilienceError, is_wrong_call
from resilient_ai._core.public import public

from .error_types import ERROR_TYPES, Blame
from .evidence import SDK_ROOTS, Evidence, gather, gather_body, read, root_of, text_of
from .provider_rules import (
    CATCH_ALL,
    CODE_ORDER,
    CODES,
    CODES_AT,
    NEVER_WORTH_A_RETRY,
    PHRASES,
    PLAIN_PHRASES,
    SDK_STATUSES,
    STATUS_NAMES,
    STATUSES,
    TRANSPORT,
    WORTH_A_RETRY,
    compiled,
    plain,
)
from .wait_hints import wait_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@public()
@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What an exception means.

    Attributes:
        error_type: The class of failure.
        retryable: Whether the same request may work at the same place a little later.
        endpoint_fault: Whether another endpoint could serve the same request.
        blame: Whose fault it is.
        retry_after: Seconds the provider asked to wait, uncapped; None when it named no wait.
        in_stream: The error came inside a stream that had begun with status 200.
        evidence: The rule that decided, for logs.
    """

    error_type: ErrorType
    retryable: bool
    endpoint_fault: bool
    blame: Blame
    retry_after: float | None = None
    in_stream: bool = False
    evidence: str = ""


# Raised by Python itself when the program is wrong; one that is raised while another error is handled is still that.
# The text of one is about the program too: "rate_limit must be positive" is no rate limit.
PROGRAMMING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    ReferenceError,
    MemoryError,
    BufferError,
    StopIteration,
    StopAsyncIteration,
)

_classifiers: tuple[Callable[[BaseException], Verdict | ErrorType | None], ...] = ()
_broken: set[int] = set()


@public()
def register_classifier(
    fn: Callable[[BaseException], Verdict | ErrorType | None],
) -> Callable[[], None]:
    """
    Ask `fn` before the built-in rules.

    Args:
        fn: Returns a `Verdict`, an `ErrorType`, or None for "not mine". The latest registered is asked first. One that
            raises is logged once and passed over.

    Returns:
        A function that takes it out again.
    """
    global _classifiers
    _classifiers = (fn, *_classifiers)

    def unregister() -> None:
        global _classifiers
        _classifiers = tuple(each for each in _classifiers if each is not fn)

    return unregister


@public()
def register_rules(
    *,
    codes: Mapping[str, ErrorType] | None = None,
    phrases: Mapping[str, ErrorType] | None = None,
    statuses: Mapping[int, ErrorType] | None = None,
    sdk: str | None = None,
) -> Callable[[], None]:
    """
    Add rows to the tables of codes, phrases and statuses, in front of the built-in ones.

    Args:
        codes: Machine codes as the provider writes them; case and separators do not matter.
        phrases: Regular expressions, searched without regard to case in the messages of error replies.
        statuses: HTTP statuses.
        sdk: Only for exceptions of this package (`"openai"`, say). Default: for every reply.

    Returns:
        A function that takes the rows out again.

    Raises:
        ValueError: A row does not lead to an `ErrorType`, or a phrase is no regular expression.
    """
    for rows in (codes, phrases, statuses):
        for key, kind in (rows or {}).items():
            if not isinstance(kind, ErrorType):
                raise ValueError(f"a rule leads to an ErrorType, got {key!r}: {kind!r}")
    try:
        patterns = [(re.compile(phrase, re.IGNORECASE), kind) for phrase, kind in (phrases or {}).items()]
    except re.error as error:
        raise ValueError(f"a phrase is no regular expression: {error}") from error
    by_code = {plain(code): kind for code, kind in (codes or {}).items()}
    by_status = dict(statuses or {})

    def look_up(error: BaseException) -> Verdict | None:
        if isinstance(error, ResilienceError) or not (by_code or patterns or by_status):
            return None
        found = gather(error)
        if (sdk is not None and found.sdk != sdk) or not _is_reply(found):
            return None
        kind, evidence = next(
            ((by_code[each], each) for each in map(plain, found.codes) if each in by_code), (None, "")
        )
        if kind is None:
            kind, evidence = next(
                ((each, pattern.pattern) for pattern, each in patterns if pattern.search(found.text)), (None, "")
            )
        if kind is None and found.status in by_status:
            kind, evidence = by_status[found.status], f"status {found.status}"
        if kind is None:
            return None
        return verdict(kind, retry_after=_wait(found), in_stream=not found.failed, evidence=f"own rule: {evidence}")

    return register_classifier(look_up)


def verdict(
    error_type: ErrorType, *, retry_after: float | None = None, in_stream: bool = False, evidence: str = ""
) -> Verdict:
    """The usual verdict for an error type."""
    row = ERROR_TYPES[error_type]
    return Verdict(
        error_type=error_type,
        retryable=row.retryable,
        endpoint_fault=row.next_endpoint != "none",
        blame=row.blame,
        retry_after=retry_after,
        in_stream=in_stream,
        evidence=evidence,
    )


_WRONG_CALL = Verdict(
    ErrorType.INVALID_REQUEST, retryable=False, endpoint_fault=False, blame="request", evidence="arguments do not fit"
)
_UNRECOGNISED = Verdict(ErrorType.INTERNAL_ERROR, retryable=False, endpoint_fault=True, blame="unknown")


@public()
def classify(error: BaseException) -> Verdict:
    """
    Decide what an exception means for the next attempt.

    Args:
        error: What the call raised; its causes, contexts and group members are searched too.

    Returns:
        A verdict. An exception that nothing recognises is INTERNAL_ERROR, not retryable, blame unknown; so is a
        cancellation or another exit, which is nobody's failure.
    """
    for fn in _classifiers:
        if (answer := _ask(fn, error)) is not None:
            return answer
    if not issubclass(type(error), Exception) and not issubclass(type(error), BaseExceptionGroup):
        return replace(_UNRECOGNISED, endpoint_fault=False, evidence=f"{type(error).__name__} is no failure")
    if is_wrong_call(error):
        return _WRONG_CALL
    # The outermost exception that says anything decides; causes are asked only when it is silent.
    chain = list(_chain(error))
    for each in chain:
        if type(each) is RuntimeError and "no running event loop" in text_of(each):
            return replace(_UNRECOGNISED, evidence="an SDK for asyncio on another event loop")
    for each in chain:
        found = _own(each) or _from_reply(each) or _from_transport(type(each))  # type: ignore[arg-type]
        if found is not None:
            return found
    for each in chain:
        if not issubclass(type(each), PROGRAMMING_ERRORS) and (found := _from_text(each)) is not None:
            return found
    return replace(_UNRECOGNISED, evidence="unrecognised")


def _ask(fn: Callable[[BaseException], Any], error: BaseException) -> Verdict | None:
    try:
        answer = fn(error)
        if answer is None or isinstance(answer, Verdict):
            return answer
        return verdict(ErrorType(answer), evidence="registered classifier")
    except Exception as problem:  # noqa: BLE001 - a broken classifier must not break the call
        if id(fn) not in _broken:
            _broken.add(id(fn))
            structlog.stdlib.get_logger("resilient_ai").error(
                "resilient_ai.classifier_failed",
                classifier=str(getattr(fn, "__qualname__", type(fn).__qualname__)),
                error=type(problem).__name__,
            )
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue = [error]
    while queue and len(seen) < 20:
        each = queue.pop(0)
        if id(each) in seen or not issubclass(type(each), Exception | BaseExceptionGroup):
            continue
        seen.add(id(each))
        yield each
        if issubclass(type(each), BaseExceptionGroup):
            queue.extend(each.exceptions[:10])  # type: ignore[attr-defined]
        silent = read(each, "__suppress_context__") or issubclass(type(each), PROGRAMMING_ERRORS)
        follow = read(each, "__cause__") or (None if silent else read(each, "__context__"))
        if follow is not None:
            queue.append(follow)


_LOCAL_FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


def _own(error: BaseException) -> Verdict | None:
    said = read(error, "error_type")
    if not isinstance(said, ErrorType):
        return None
    name = type(error).__name__
    if not isinstance(error, ResilienceError):  # an exception of the user's that says what it is
        wait = read(error, "retry_after")
        wait = float(wait) if isinstance(wait, int | float) and 0 <= wait < float("inf") else None
        return verdict(said, retry_after=wait, evidence=f"error_type of {name}")
    inner: BaseException = error
    for _ in range(10):
        if isinstance(inner, AIServiceError):
            inner = inner.original_error
    if inner is not error and not isinstance(inner, AIServiceError):
        # Retries were made already; making them again further out would multiply them.
        return replace(classify(inner), retryable=False, evidence="retries are over")
    fault = verdict(said, retry_after=error.retry_after, evidence=name)
    if name == "BatchResultError":
        return replace(fault, retryable=False, endpoint_fault=False, blame="request")
    if name in {"QueueFullError", "LimitReachedError"}:
        return replace(fault, endpoint_fault=False, blame="request")
    return fault


# -- replies


def _is_reply(found: Evidence) -> bool:
    known, told, said = found.sdk in SDK_ROOTS, found.status is not None, bool(found.bodies)
    return found.failed or known + told + said >= 2


def _wait(found: Evidence) -> float | None:
    # In a message about a bad request a duration is about something else.
    text = "" if found.status in (400, 401, 404, 413, 422) else found.text
    return wait_of(found.headers, found.bodies, text)


def _from_reply(error: BaseException) -> Verdict | None:
    # One of Python's own carries a reply only where somebody hung it on.
    if root_of(type(error)) == "builtins" and not (read(error, "args") and read(error, "__dict__")):
        return None
    found = gather(error)
    if not _is_reply(found):
        return None
    wait = _wait(found)
    kind, retryable, evidence = _decide(found, wait)
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
    return _decide(found, _wait(found))[0]


def _decide(found: Evidence, wait: float | None) -> tuple[ErrorType, bool | None, str]:
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


# -- what is no reply


@lru_cache(512)
def _from_transport(cls: type[BaseException]) -> Verdict | None:
    if issubclass(cls, _LOCAL_FILES) and root_of(cls) == "builtins":
        return None  # about a file of ours
    for base in cls.__mro__:
        if base is Exception:
            break
        for error_type, pattern in TRANSPORT:
            if compiled(pattern).search(base.__name__):
                return verdict(error_type, evidence=f"class {base.__name__}")
    return None


def _from_text(error: BaseException) -> Verdict | None:
    text = text_of(error).lower()
    for error_type, pattern in PLAIN_PHRASES:
        if compiled(pattern).search(text):
            wait = wait_of({}, [], text)
            return verdict(error_type, retry_after=wait, evidence=f"text: {error_type.value}")
    return None
