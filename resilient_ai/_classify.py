"""
`classify`: what an exception means for the next attempt, read from what the SDK really carries.

No SDK is imported. Evidence is taken in this order: a user's classifier, our own exceptions, machine codes, phrases
believed only at fitting statuses, the status, and last the names of transport exceptions. Attributes are read
under guard: an SDK's properties may raise.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from ._errors import ErrorType, ResilienceError
from ._provider_rules import BLAME, CODE_ORDER, CODES, PHRASES, RETRYABLE, STATUSES, TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Blame = Literal["request", "credential", "account", "deployment", "provider", "network", "unknown"]


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


# Raised by Python itself when the program is wrong. One that is raised while another error is handled is still that.
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
)

_classifiers: list[Callable[[BaseException], Verdict | ErrorType | None]] = []


def register_classifier(
    fn: Callable[[BaseException], Verdict | ErrorType | None],
) -> Callable[[], None]:
    """
    Ask `fn` before the built-in rules.

    Args:
        fn: Returns a `Verdict`, an `ErrorType`, or None for "not mine". The latest registered is asked first.

    Returns:
        A function that takes it out again.
    """
    _classifiers.insert(0, fn)

    def unregister() -> None:
        if fn in _classifiers:
            _classifiers.remove(fn)

    return unregister


def verdict(
    error_type: ErrorType, *, retry_after: float | None = None, in_stream: bool = False, evidence: str = ""
) -> Verdict:
    """The usual verdict for an error type."""
    return Verdict(
        error_type=error_type,
        retryable=error_type in RETRYABLE,
        endpoint_fault=error_type is not ErrorType.INVALID_REQUEST,
        blame=BLAME[error_type],  # type: ignore[arg-type]
        retry_after=retry_after,
        in_stream=in_stream,
        evidence=evidence,
    )


def classify(error: BaseException) -> Verdict:
    """
    Decide what an exception means for the next attempt.

    Args:
        error: What the call raised; its causes, contexts and group members are searched too.

    Returns:
        A verdict. An exception that nothing recognises is INTERNAL_ERROR, not retryable, blame unknown.
    """
    for fn in _classifiers:
        answer = fn(error)
        if answer is not None:
            return answer if isinstance(answer, Verdict) else verdict(answer, evidence="registered classifier")
    # The outermost exception that says anything decides; causes are asked only when it is silent.
    for each in _chain(error):
        found = _own(each) or _from_reply(each) or _from_transport(each)
        if found is not None:
            return found
    text = _text_of(error)
    for error_type, statuses, pattern in PHRASES:
        if None in statuses and error_type in RETRYABLE | {ErrorType.QUOTA_EXCEEDED} and pattern.search(text):
            return verdict(error_type, retry_after=_wait_in_text(text), evidence=f"text: {error_type.value}")
    return Verdict(
        ErrorType.INTERNAL_ERROR, retryable=False, endpoint_fault=True, blame="unknown", evidence="unrecognised"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue = [error]
    while queue and len(seen) < 20:
        each = queue.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            queue.extend(each.exceptions[:10])
        silent = each.__suppress_context__ or isinstance(each, PROGRAMMING_ERRORS)
        follow = each.__cause__ or (None if silent else each.__context__)
        if follow is not None:
            queue.append(follow)


def _own(error: BaseException) -> Verdict | None:
    if not isinstance(error, ResilienceError):
        return None
    fault = verdict(error.error_type, retry_after=error.retry_after, evidence=type(error).__name__)
    name = type(error).__name__
    if name == "BatchResultError":
        return replace(fault, retryable=False, endpoint_fault=False, blame="request")
    if name in {"QueueFullError", "LimitReachedError"}:
        return replace(fault, endpoint_fault=False, blame="request")
    return fault


# -- replies

_SDK_ROOTS = frozenset(
    [
        "openai",
        "anthropic",
        "google",
        "botocore",
        "aiobotocore",
        "mistralai",
        "cohere",
        "groq",
        "together",
        "httpx",
        "httpx2",
        "aiohttp",
        "litellm",
        "ollama",
        "openrouter",
        "fireworks",
        "requests",
        "urllib3",
        "httpcore",
        "httpcore2",
        "huggingface_hub",
        "replicate",
        "ai21",
    ]
)


def _get(thing: object, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - an SDK's property may raise (httpx: ResponseNotRead)
        return None


def _status_of(error: BaseException) -> int | None:
    response = _get(error, "response")
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    for value in (
        _get(error, "status_code"),
        _get(error, "code"),
        _get(error, "status"),
        _get(error, "http_status"),
        _get(response, "status_code"),
        _get(response, "status"),
        metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None,
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return value
    return None


def _headers_of(error: BaseException) -> dict[str, str]:
    response = _get(error, "response")
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    for source in (
        _get(response, "headers"),
        _get(error, "headers"),
        metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None,
    ):
        try:
            if source:
                return {str(name).lower(): str(value) for name, value in list(source.items())[:100]}
        except Exception:  # noqa: BLE001, S112 - headers of an odd kind say nothing
            continue
    return {}


def _bodies_of(error: BaseException) -> list[Any]:
    response = _get(error, "response")
    found = []
    sources = [_get(error, "body"), _get(error, "details"), _get(error, "raw_response")]
    sources.append(response if isinstance(response, dict) else _get(response, "text"))
    for source in sources:
        if isinstance(source, bytes):
            source = source[:50_000].decode(errors="replace")
        if isinstance(source, str):
            try:
                source = json.loads(source[:50_000])
            except ValueError:
                source = {"message": source[:2_000]}
        if isinstance(source, dict | list):
            found.append(source)
    return found


_CODE_KEYS = frozenset({"code", "type", "status", "reason", "error_code", "@type", "quotaid", "finish_reason"})
_TEXT_KEYS = frozenset({"message", "error", "detail", "msg", "error_message", "description"})


def _walk(thing: Any, codes: list[str], texts: list[str], depth: int = 0) -> None:
    if depth > 8 or len(codes) + len(texts) > 200:
        return
    if isinstance(thing, dict):
        for key, value in list(thing.items())[:50]:
            name = str(key).lower()
            if name in _CODE_KEYS and isinstance(value, str | int):
                codes.append(str(value))
            elif name in _TEXT_KEYS and isinstance(value, str):
                texts.append(value)
            elif name == "responsemetadata":
                continue
            else:
                if name.endswith("exception"):  # bedrock's event stream: {"throttlingException": {...}}
                    codes.append(str(key))
                _walk(value, codes, texts, depth + 1)
    elif isinstance(thing, list):
        for value in thing[:50]:
            _walk(value, codes, texts, depth + 1)


def _plain_code(code: str) -> str:
    return re.sub(r"[^a-z0-9]", "", code.lower())


def _from_reply(error: BaseException) -> Verdict | None:
    module = type(error).__module__.partition(".")[0]
    status = _status_of(error)
    bodies = _bodies_of(error)
    if module not in _SDK_ROOTS and status is None and not bodies:
        return None
    codes: list[str] = []
    texts: list[str] = []
    for body in bodies:
        _walk(body, codes, texts)
    codes.extend(str(value) for name in ("code", "type") if isinstance(value := _get(error, name), str))
    if module in {"anthropic", "botocore", "aiobotocore"}:
        codes.append(type(error).__name__)
    if not texts or status is None:
        texts.append(_text_of(error))
    headers = _headers_of(error)
    text = " \n".join(texts)[:20_000]
    in_stream = status is None or status < 400
    wait = _wait(headers, bodies, text)

    found, evidence = _decide(module, status, {_plain_code(code) for code in codes}, codes, text, wait)
    if found is None:
        return None
    fault = verdict(found, retry_after=wait, in_stream=in_stream and status is not None, evidence=evidence)
    should_retry = headers.get("x-should-retry")
    if should_retry == "false" and fault.retryable and found is not ErrorType.RATE_LIMIT:
        fault = replace(fault, retryable=False, evidence=f"{evidence}, x-should-retry: false")
    return fault


def _decide(
    module: str, status: int | None, plain: set[str], codes: list[str], text: str, wait: float | None
) -> tuple[ErrorType | None, str]:
    # A daily quota of Google's says RESOURCE_EXHAUSTED like any rate limit; only the quota's id tells.
    if any("PerDay" in code for code in codes):
        return ErrorType.QUOTA_EXCEEDED, "quotaId per day"
    if status == 402 and wait is not None:
        return ErrorType.RATE_LIMIT, "402 with a wait"
    if status == 498 and module == "cohere":
        return ErrorType.AUTHENTICATION, "cohere 498"
    by_code = next((each for each in CODE_ORDER if any(CODES.get(code) is each for code in plain)), None)
    by_phrase = next((each for each, statuses, pattern in PHRASES if status in statuses and pattern.search(text)), None)
    vague = {ErrorType.RATE_LIMIT, ErrorType.INTERNAL_ERROR, ErrorType.PERMISSION, ErrorType.AUTHENTICATION}
    if by_code is not None and (by_code not in vague or by_phrase is None):
        return by_code, f"code: {by_code.value}"
    if by_phrase is not None and not (
        by_code is ErrorType.RATE_LIMIT and by_phrase is ErrorType.QUOTA_EXCEEDED and wait
    ):
        return by_phrase, f"text at {status}: {by_phrase.value}"
    if by_code is not None:
        return by_code, f"code: {by_code.value}"
    if status is not None and status >= 400:
        default = ErrorType.INVALID_REQUEST if status < 500 else ErrorType.INTERNAL_ERROR
        return STATUSES.get(status, default), f"status {status}"
    if status is not None:
        return ErrorType.INTERNAL_ERROR, f"error inside a {status} reply"
    return None, ""


def _from_transport(error: BaseException) -> Verdict | None:
    for cls in type(error).__mro__:
        if cls is Exception:
            break
        for error_type, pattern in TRANSPORT:
            if pattern.search(cls.__name__):
                return verdict(error_type, evidence=f"class {cls.__name__}")
    return None


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:20_000]
    except Exception:  # noqa: BLE001 - an exception's __str__ may raise
        return ""


# -- waits

_MAX_WAIT = 366 * 86400.0
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")
_TEXT_WAITS = (
    re.compile(
        r"(?:try again|retry|wait|available)\b[^.]{0,30}?\b((?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?m?s))", re.I
    ),
    re.compile(r"(?:try again|retry|wait)\b[^.]{0,30}?\b(\d+(?:\.\d+)?) ?sec", re.I),
    re.compile(r"(?:replenished|reset|try again|retry) in (\d+:\d\d:\d\d)", re.I),
)


def _valid(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _MAX_WAIT else None


def _number(text: str | None) -> float | None:
    try:
        return _valid(float(text)) if text is not None else None
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = parse(text)
        except (ValueError, TypeError, IndexError):
            continue
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return _valid(max(0.0, (when - datetime.now(UTC)).total_seconds()))
    return None


def _duration(text: str) -> float | None:
    text = text.strip()
    if (number := _number(text)) is not None:
        return number
    if ":" in text and re.fullmatch(r"\d+:\d\d:\d\d", text):
        hours, minutes, seconds = (int(part) for part in text.split(":"))
        return _valid(hours * 3600.0 + minutes * 60 + seconds)
    match = _DURATION.match(text)
    if not match or not any(match.groups()):
        return None
    days, hours_, minutes_, seconds_, millis = (float(part or 0) for part in match.groups())
    return _valid(days * 86400 + hours_ * 3600 + minutes_ * 60 + seconds_ + millis / 1000)


def _wait_in_text(text: str) -> float | None:
    for pattern in _TEXT_WAITS:
        if match := pattern.search(text):
            return _duration(match[1])
    return None


def _wait(headers: dict[str, str], bodies: list[Any], text: str) -> float | None:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (millis := _number(headers.get(name))) is not None:
            return millis / 1000
    if (after := headers.get("retry-after")) is not None:
        wait = _number(after)
        wait = wait if wait is not None else _moment(after)
        if wait is not None:
            return wait
    for body in bodies:
        if (delay := _retry_delay(body)) is not None:
            return delay
    resets = [
        wait
        for name, left in headers.items()
        if "ratelimit" in name and "remaining" in name and _number(left) == 0
        if (
            reset := headers.get(
                name.replace("remaining", "reset"), headers.get(name.removesuffix("-remaining") + "-reset")
            )
        )
        if (wait := _reset(reset)) is not None
    ]
    return max(resets) if resets else _wait_in_text(text)


def _reset(text: str) -> float | None:
    if (wait := _duration(text)) is None:
        return _moment(text)
    if wait > 1e9:  # a unix time, in seconds or milliseconds
        wait = (wait / 1000 if wait > 1e11 else wait) - datetime.now(UTC).timestamp()
        return _valid(max(0.0, wait))
    return wait


def _retry_delay(thing: Any, depth: int = 0) -> float | None:
    if depth > 8:
        return None
    if isinstance(thing, dict):
        if isinstance(delay := thing.get("retryDelay"), str):
            return _duration(delay)
        thing = list(thing.values())
    if isinstance(thing, list):
        for each in thing[:50]:
            if (delay := _retry_delay(each, depth + 1)) is not None:
                return delay
    return None
