"""
`classify`: what an exception means for the next attempt, read from what the SDK's exception carries.

No SDK is imported. Evidence is checked in this order: the user's classifiers, bugs of the program, our own exceptions,
the reply (`replies`), answers that do not fit (`outputs`), the class names of transport exceptions (`transport`), and
last the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient_ai._core.errors import AIServiceError, ErrorType, ResilienceError, is_wrong_call
from resilient_ai._core.fields import read
from resilient_ai._core.public import public
from resilient_ai._core.stand_in import Facts, StandIn, read_facts_with

from .bugs import Origin, is_programming_error, origin_of
from .error_text import error_text
from .evidence import gather, text_of
from .outputs import from_output, is_misfit
from .phrases import PLAIN_PHRASES, TOKENS_OVER_WINDOW, compiled
from .replies import from_reply, from_text
from .transport import from_transport, of_class_alone
from .user_rules import ask_users
from .verdict import Verdict, verdict
from .wait_hints import wait_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNRECOGNISED = Verdict(ErrorType.INTERNAL_ERROR, retryable=False, endpoint_fault=True, blame="unknown")
_BUG = replace(_UNRECOGNISED, blame="program")
# The function was never entered: another endpoint would get the same arguments.
_WRONG_CALL = replace(_BUG, endpoint_fault=False, evidence="arguments do not fit")


@public()
def classify(error: BaseException) -> Verdict:
    """
    Decide what an exception means for the next attempt.

    Args:
        error: The exception of the call; its causes, contexts and group members are searched too.

    Returns:
        A verdict. Python's own programming errors, alone or in an exception group, are INTERNAL_ERROR, not
        retryable, blame program. Any other unrecognised exception is INTERNAL_ERROR, not retryable, blame unknown;
        so is a cancellation or another exit, which is not a failure.
    """
    if (answer := ask_users(error)) is not None:
        return answer
    if (known := of_class_alone(error)) is not None:
        return known
    if not issubclass(type(error), Exception) and not issubclass(type(error), BaseExceptionGroup):
        return replace(_UNRECOGNISED, endpoint_fault=False, evidence=f"{type(error).__name__} is no failure")
    if is_wrong_call(error):
        return _WRONG_CALL
    chain = list(_chain(error))
    bug = next(filter(None, map(_of_a_loop, chain)), None) or next(filter(None, map(_bug, _members(error))), None)
    if bug is not None:
        return replace(_BUG, evidence=bug)
    # The outermost exception with evidence decides; causes are checked only if it has none.
    if (found := _recognised(chain)) is not None:
        return found
    for each in chain:
        if not is_programming_error(each) and (found := _from_text(each)) is not None:
            return found
    return replace(_UNRECOGNISED, evidence="unrecognised")


def _recognised(chain: Iterable[BaseException]) -> Verdict | None:
    for each in chain:
        found = _own(each) or from_reply(each) or _from_quoted(each) or from_output(each) or from_transport(each)
        if found is not None:
            return found
    return None


_MOST_MEMBERS = 1_000


def _members(error: BaseException) -> Iterator[BaseException]:
    """Iterate over the exceptions in a group and its inner groups; over the exception itself if it is not a group."""
    queue, count = [error], 0
    while queue and count < _MOST_MEMBERS:
        each = queue.pop()
        count += 1
        if issubclass(type(each), BaseExceptionGroup) and not is_misfit(each):
            queue.extend(each.exceptions[:_MOST_MEMBERS])  # type: ignore[attr-defined]
        else:
            yield each


def _of_a_loop(error: BaseException) -> str | None:
    """Why a client can never work on the running event loop; None if that is not the problem."""
    if type(error) is not RuntimeError:
        return None
    text = text_of(error)
    if "no running event loop" in text:
        return "an SDK for asyncio on another event loop"
    if "attached to a different loop" in text or "bound to a different event loop" in text:
        return "a client of another event loop; make it inside the running one"
    return None


def _bug(error: BaseException) -> str | None:
    """Why an exception is a bug of the program; None if it is not."""
    if type(error) is RuntimeError and isinstance(error.__cause__, StopIteration | StopAsyncIteration):
        return f"{type(error.__cause__).__name__} inside a generator or coroutine"
    if not is_programming_error(error) or origin_of(error) is Origin.SDK_AFTER_REPLY:
        return None
    # Some programming errors are raised from a provider's error, or have a reply set on them.
    return type(error).__name__ if _recognised(_chain(error)) is None else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, the members of a group, and their causes, in the order in which they are checked."""
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
        # A programming error raised while another error is handled is still a programming error.
        silent = read(each, "__suppress_context__") or is_programming_error(each)
        follow = read(each, "__cause__") or (None if silent else read(each, "__context__"))
        if follow is not None:
            queue.append(follow)


def _own(error: BaseException) -> Verdict | None:
    if isinstance(error, StandIn):
        return error.verdict  # type: ignore[no-any-return]
    said = read(error, "error_type")
    if not isinstance(said, ErrorType):
        return None
    name = type(error).__name__
    if not isinstance(error, ResilienceError):  # an exception of the user with an error type
        wait = read(error, "retry_after")
        wait = float(wait) if isinstance(wait, int | float) and 0 <= wait < float("inf") else None
        return verdict(said, retry_after=wait, evidence=f"error_type of {name}")
    inner: BaseException = error
    for _ in range(10):
        if isinstance(inner, AIServiceError):
            inner = inner.original_error
    if inner is not error and not isinstance(inner, AIServiceError):
        # An inner retry has already retried; an outer one would multiply the attempts.
        return replace(classify(inner), retryable=False, evidence="retries are over")
    fault = verdict(said, retry_after=error.retry_after, evidence=name)
    if name in {"QueueFullError", "LimitReachedError", "SpendLimitReachedError"}:
        too_big = name == "LimitReachedError" and error.retry_after is None
        return replace(fault, endpoint_fault=False, blame="request", retryable=fault.retryable and not too_big)
    return fault


def _from_quoted(error: BaseException) -> Verdict | None:
    """The verdict from a reply quoted in a ValueError, which some SDKs raise for a frame of a stream."""
    if type(error) is not ValueError:
        return None
    text = text_of(error)
    if compiled(TOKENS_OVER_WINDOW).search(text.lower()):
        return verdict(ErrorType.CONTEXT_LENGTH, evidence="text: tokens exceed the context window")
    return from_text(text, quoted=True)


def _from_text(error: BaseException) -> Verdict | None:
    text = text_of(error)
    if (found := from_text(text)) is not None:
        return found
    text = text.lower()
    for error_type, pattern in PLAIN_PHRASES:
        if compiled(pattern).search(text):
            wait = wait_of({}, [], text)
            return verdict(error_type, retry_after=wait, evidence=f"text: {error_type.value}")
    return None


def _facts(error: BaseException) -> Facts:
    """The facts that a stand-in keeps about its error."""
    found, said = gather(error), classify(error)
    return Facts(found.status, next(iter(found.codes), None), said, error_text(error, said))


read_facts_with(_facts)
