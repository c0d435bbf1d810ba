"""`http_status`: the HTTP status of an error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from resilient_ai._classification.classify import classify
from resilient_ai._core.errors import AIServiceError, ErrorType, LimitReachedError, ParameterError
from resilient_ai._core.public import public

if TYPE_CHECKING:
    from resilient_ai._classification.verdict import Verdict

_STATUS: Final = {
    ErrorType.RATE_LIMIT: 429,
    ErrorType.TIMEOUT: 504,
    ErrorType.INVALID_REQUEST: 400,
    ErrorType.CONTEXT_LENGTH: 400,
    ErrorType.CONTENT_FILTER: 400,
    ErrorType.INVALID_OUTPUT: 502,
}  # 503 for all others, including a key or a quota: these belong to the application, and its caller cannot fix them


@public("web")
def http_status(error: BaseException) -> tuple[int, dict[str, str]]:
    """
    The status and the headers with which a web application should answer an error.

    Args:
        error: The error of a decorated function: of this library, of an SDK, or any other.

    Returns:
        429 if the provider's rate limit was reached; 504 if it took too long; 502 if its answer does not have the
        requested form; 400 if the request itself is at fault: too long, filtered, refused; 500 for a bug of the
        program, a parameter that the endpoint does not support, and unrecognised errors; 503 for everything else,
        including the application's own key, quota and limits. 429 and 503 have a `Retry-After` header in whole seconds,
        rounded up, if a wait is known. There are no other headers.

    Examples:
        >>> http_status(TimeoutError())
        (504, {})
        >>> from resilient_ai import CircuitOpenError
        >>> http_status(CircuitOpenError("us", retry_after=12.4))
        (503, {'Retry-After': '13'})
    """
    verdict = classify(error)
    status = _status(error, verdict)
    wait = verdict.retry_after
    if status not in (429, 503) or wait is None or not math.isfinite(wait):
        return status, {}
    return status, {"Retry-After": str(math.ceil(max(wait, 0.0)))}


def _status(error: BaseException, verdict: Verdict) -> int:
    if verdict.blame in ("program", "unknown"):
        return 500
    while isinstance(error, AIServiceError):
        error = error.original_error
    if isinstance(error, ParameterError):
        return 500
    if isinstance(error, LimitReachedError) and error.retry_after is None:
        return 400  # the call is larger than the whole limit, so that asking again later cannot help
    return _STATUS.get(verdict.error_type, 503)
