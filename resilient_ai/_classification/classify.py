"""
`classify`: what an exception means for the next attempt, read from what the SDK really carries.

No SDK is imported. Evidence is asked in this order: the user's classifiers, our own exceptions, what the reply
carries (`replies`), the class names of transport exceptions, and last the text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from resilient_ai._core.errors import AIServiceError, ErrorType, ResilienceError, is_wrong_call
from resilient_ai._core.public import public
from resilient_ai._core.stand_in import Facts, StandIn, read_facts_with

from .evidence import gather, read, root_of, text_of
from .phrases import PLAIN_PHRASES, compiled
from .provider_rules import TRANSPORT
from .replies import from_reply
from .user_rules import ask_users
from .verdict import Verdict, verdict
from .wait_hints import wait_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if (answer := ask_users(error)) is not None:
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
        found = _own(each) or from_reply(each) or _from_transport(type(each))  # type: ignore[arg-type]
        if found is not None:
            return found
    for each in chain:
        if not issubclass(type(each), PROGRAMMING_ERRORS) and (found := _from_text(each)) is not None:
            return found
    return replace(_UNRECOGNISED, evidence="unrecognised")


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
    if isinstance(error, StandIn):
        return error.verdict  # type: ignore[no-any-return]
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


def _facts(error: BaseException) -> Facts:
    """What a stand-in says of the error that it stands for."""
    found = gather(error)
    return Facts(found.status, next(iter(found.codes), None), classify(error))


read_facts_with(_facts)
