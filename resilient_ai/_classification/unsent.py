"""Whether an error proves that the provider never processed the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.errors import AllEndpointsFailedError, ErrorType

from .classify import classify
from .transport import of_closed_loop

if TYPE_CHECKING:
    from .verdict import Verdict

# Raised before a byte of the request was sent. Not listed: botocore's EndpointConnectionError, which is also raised
# when the connection is reset while the answer is awaited.
_BEFORE_SENDING = frozenset(
    [
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ConnectTimeoutError",
        "ConnectionRefusedError",
        "ConnectionTimeoutError",
        "ClientConnectorError",
        "gaierror",
        "LimitReachedError",
        "QueueFullError",
        "SpendLimitReachedError",
        "EndpointRestingError",
    ]
)


def unsent(error: BaseException, verdict: Verdict) -> bool:
    """Whether the error proves that the provider has not processed the request."""
    if isinstance(error, AllEndpointsFailedError):
        return all(unsent(each, classify(each)) for each in error.errors.values())
    if verdict.error_type in (ErrorType.RATE_LIMIT, ErrorType.MODEL_OVERLOADED, ErrorType.CIRCUIT_OPEN):
        return not verdict.in_stream
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            break
        if any(cls.__name__ in _BEFORE_SENDING for cls in type(cause).__mro__) or of_closed_loop(cause):
            return True
        # ollama hides its connect error behind a bare ConnectionError that is raised from None.
        cause = cause.__context__ if type(cause) is ConnectionError else cause.__cause__
    return False
