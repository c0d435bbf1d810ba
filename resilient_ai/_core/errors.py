"""
The exception tree: everything this library raises on purpose.

ResilienceError
├── CircuitOpenError          a circuit refused the call
├── RejectedResultError       a returned value counts as a failure
├── AIServiceError            no further attempt of a retry
├── AllEndpointsFailedError   no endpoint answered
├── EndpointRestingError      why an endpoint was not asked
├── QueueFullError            a batch queue is full
├── LimitReachedError         a limit refused the call; the provider was not asked
├── BatchResultError          a batch function broke its contract
├── StreamTruncatedError      a stream ended without its closing event
├── MissingKeyError           an endpoint has no API key
├── ParameterError            an endpoint does not support a parameter (also a TypeError)
└── CallTimeoutError          a call exceeded its timeout (also a TimeoutError)

Messages say what happened, where, and with which numbers. They never contain prompts, answers or keys.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from .error_copies import CopyableError
from .kinds import kind_of
from .printable import printable
from .public import public

if TYPE_CHECKING:
    from collections.abc import Mapping


@public()
class ErrorType(StrEnum):
    """What a failure means for the next attempt; values are the lower-case names."""

    RATE_LIMIT = "rate_limit"
    QUOTA_EXCEEDED = "quota_exceeded"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    MODEL_OVERLOADED = "model_overloaded"
    NETWORK_ERROR = "network_error"
    TIMEOUT = "timeout"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    INVALID_OUTPUT = "invalid_output"
    NOT_FOUND = "not_found"
    INTERNAL_ERROR = "internal_error"
    CIRCUIT_OPEN = "circuit_open"


@public()
class StackOrderWarning(UserWarning):
    """Policies are stacked in an order that breaks one of their guarantees."""


@public()
class DoubleRetryWarning(UserWarning):
    """The decorated SDK client retries by itself, so each attempt here is several requests there."""


@public()
class EndpointMismatchWarning(UserWarning):
    """An endpoint does not support a setting of another one, so a call could not move on to it."""


@public()
class ResilienceError(CopyableError):
    """
    Base of all errors that this library raises.

    Attributes:
        error_type: The type of failure.
        retry_after: Seconds until it is worth asking again; None if unknown.
        timestamp: When it was raised (aware, UTC).
    """

    error_type: ErrorType = ErrorType.INTERNAL_ERROR
    retry_after: float | None = None

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # names in it may come from outside
        self._raised = time.time()  # noqa: TID251 - a date for people; as a number it costs a quarter, and few ask

    @property
    def timestamp(self) -> datetime:
        return datetime.fromtimestamp(self._raised, UTC)


_WRONG_CALL = "resilient_ai: the arguments do not fit, so the function was not entered; no policy counts that"


def mark_if_wrong_call(error: BaseException) -> None:
    """
    Note on an error that the function was never entered, because its arguments do not fit: the caller's mistake.

    To be called by the code that calls the function, if the error was raised before any line of it.
    """
    if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        error.add_note(_WRONG_CALL)


def rejections(error: BaseException) -> list[RejectedResultError]:
    """The errors about results that `reject=` has rejected; a policy that replaces such a result has to close it."""
    if not isinstance(error, ResilienceError):
        return []
    if isinstance(error, RejectedResultError):
        return [] if getattr(error, "_closed", False) else [error]
    if isinstance(error, AllEndpointsFailedError):
        return [each for inner in error.errors.values() for each in rejections(inner)]
    return rejections(error.original_error) if isinstance(error, AIServiceError) else []


def nothing_sent(message: str) -> TypeError:
    """The error for a function whose result has sent no request; like a wrong call, it does not count as a failure."""
    error = TypeError(message)
    error.__dict__["_nothing_sent"] = True
    return error


def is_wrong_call(error: BaseException) -> bool:
    """Whether the arguments do not fit, or the function is not of the kind it was decorated as; no policy counts it."""
    if type(error) is not TypeError:
        return False
    return _WRONG_CALL in getattr(error, "__notes__", ()) or "_nothing_sent" in error.__dict__


def _in_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


@public()
class CircuitOpenError(ResilienceError):
    """
    A circuit refused the call; the function was not called.

    Attributes:
        name: The circuit.
        reason: "open", "half_open_full" or "forced_open".
        retry_after: Seconds until the next probe is allowed or, while all probes are in flight, about the duration of
            an answer; None if an operator forced it open.
    """

    error_type = ErrorType.CIRCUIT_OPEN
    # An open circuit raises thousands of these in an outage, and few are printed: no dict, and the text is made on
    # demand.
    __slots__ = ("_raised", "name", "reason", "retry_after")

    def __init__(self, name: str, retry_after: float | None = None, reason: str = "open") -> None:
        self._raised = time.time()  # noqa: TID251 - what the base would do, without two more calls
        self.name = name
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        if self.reason == "forced_open":
            return f"circuit {self.name!r} is forced open by an operator; call .reset() on it to let calls through"
        if self.reason == "half_open_full":
            return f"circuit {self.name!r} is half-open and all its probes are in flight"
        return f"circuit {self.name!r} is open; next probe allowed in {_in_seconds(self.retry_after or 0.0)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@public()
class RejectedResultError(ResilienceError):
    """A returned value counts as a failure. It is kept in `.result` and never printed."""

    def __init__(self, result: object, error_type: ErrorType, *, function: str = "the function") -> None:
        super().__init__(f"{function} returned {kind_of(result)} that its reject= calls {error_type.value}")
        self.result = result
        self.error_type = error_type


@public()
class AIServiceError(ResilienceError):
    """
    There is no further attempt; the last failure is `.original_error` and `__cause__`.

    Attributes:
        attempts: Calls made, including the first.
        elapsed: Seconds from the first call to giving up.
        reason: Why there was no further attempt.
    """

    def __init__(
        self,
        function: str,
        original_error: BaseException,
        *,
        error_type: ErrorType,
        attempts: int,
        elapsed: float,
        retry_after: float | None = None,
        reason: str = "",
    ) -> None:
        calls = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        why = f"; {reason}" if reason else ""
        super().__init__(
            f"{function} failed with {error_type.value} ({type(original_error).__name__})"
            f" after {calls} in {_in_seconds(elapsed)}{why}"
        )
        self.original_error = original_error
        self.error_type = error_type
        self.attempts = attempts
        self.elapsed = elapsed
        self.retry_after = retry_after
        self.reason = reason
        self.__cause__ = original_error


@public()
class AllEndpointsFailedError(ResilienceError):
    """
    No endpoint answered. `.errors` maps each endpoint's name to its error, or to the reason why it was not asked.

    `error_type` is that of the endpoint that is worth asking soonest, and `retry_after` the seconds until then, if the
    provider or a circuit named them.
    """

    def __init__(
        self,
        function: str,
        errors: Mapping[str, BaseException],
        *,
        error_types: Mapping[str, ErrorType],
        error_type: ErrorType | None = None,
        retry_after: float | None = None,
    ) -> None:
        each = ", ".join(
            f"{name}: {error.state}"
            if isinstance(error, EndpointRestingError)
            else f"{name}: {error_types[name].value} ({type(error).__name__})"
            for name, error in errors.items()
        )
        super().__init__(f"all {len(errors)} endpoints failed for {function}: {each}")
        self.errors = dict(errors)
        self.error_types = dict(error_types)
        self.retry_after = retry_after
        if error_type is not None:
            self.error_type = error_type
        elif error_types:
            self.error_type = list(error_types.values())[-1]


@public("types")
class EndpointRestingError(ResilienceError):
    """
    An endpoint was not asked, because it rests or an operator marked it down; part of `AllEndpointsFailedError`.

    Attributes:
        name: The endpoint.
        marked_down: Whether an operator marked it down.
    """

    error_type = ErrorType.MODEL_OVERLOADED

    def __init__(
        self,
        name: str,
        *,
        error_type: ErrorType | None = None,
        retry_after: float | None = None,
        marked_down: bool = False,
    ) -> None:
        if marked_down:
            message = f"endpoint {name!r} is marked down by an operator; call .mark_up({name!r}) to use it again"
        else:
            why = f" after {error_type.value}" if error_type is not None else ""
            message = f"endpoint {name!r} rests{why} for another {_in_seconds(retry_after or 0.0)}"
        super().__init__(message)
        self.name = name
        self.marked_down = marked_down
        self.state = "marked down" if marked_down else f"resting for {_in_seconds(retry_after or 0.0)}"
        self.retry_after = retry_after
        if error_type is not None:
            self.error_type = error_type


@public()
class QueueFullError(ResilienceError):
    """A batch queue already holds `.max_queue_size` items; this one was not accepted."""

    error_type = ErrorType.MODEL_OVERLOADED

    def __init__(self, name: str, *, max_queue_size: int) -> None:
        super().__init__(
            f"the queue of batch {name!r} is full with {max_queue_size} items;"
            " slow the callers down or raise max_queue_size"
        )
        self.name = name
        self.max_queue_size = max_queue_size


@public()
class LimitReachedError(ResilienceError):
    """
    A limit refused the call; the provider was not asked, and no endpoint is to blame.

    Attributes:
        name: The limit.
        retry_after: Seconds after which the call may be let through; None: the call is larger than the whole limit.
    """

    error_type = ErrorType.MODEL_OVERLOADED

    def __init__(
        self,
        name: str,
        *,
        limit: int | None = None,
        waiting: int = 0,
        retry_after: float | None,
        why: str | None = None,
    ) -> None:
        why = why or f"limit {name!r} has no place in time: {limit} at once and {waiting} in the queue"
        super().__init__(why if retry_after is None else f"{why}; ask again in {_in_seconds(retry_after)}")
        self.name = name
        self.limit = limit
        self.waiting = waiting
        self.retry_after = retry_after


@public()
class BatchResultError(ResilienceError):
    """A batch function did not return one result per item."""

    error_type = ErrorType.INVALID_OUTPUT


@public()
class StreamTruncatedError(ResilienceError):
    """A stream of endpoint `.name` ended without an error after `.items` items, but also without its closing event."""

    error_type = ErrorType.NETWORK_ERROR

    def __init__(self, name: str, *, items: int) -> None:
        after = "1 item" if items == 1 else f"{items} items"
        super().__init__(f"the stream of endpoint {name!r} broke off after {after}, without its closing event")
        self.name = name
        self.items = items


@public("providers")
class MissingKeyError(ResilienceError):
    """Endpoint `.name` has no API key, neither given nor in the environment."""

    error_type = ErrorType.AUTHENTICATION

    def __init__(self, name: str, *, variable: str) -> None:
        super().__init__(f"endpoint {name!r} has no API key; set {variable} or pass api_key=")
        self.name = name
        self.variable = variable


@public("providers")
class ParameterError(ResilienceError, TypeError):
    """A call has a parameter that endpoint `.name` does not support; nothing was sent."""

    error_type = ErrorType.INVALID_REQUEST

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"endpoint {name!r}: {problem}")
        self.name = name


@public()
class CallTimeoutError(ResilienceError, TimeoutError):
    """A call was cancelled because it ran longer than `.timeout_seconds`."""

    error_type = ErrorType.TIMEOUT

    def __init__(self, name: str, *, timeout_seconds: float) -> None:
        super().__init__(f"a call through {name!r} took longer than timeout_seconds={timeout_seconds:g}")
        self.name = name
        self.timeout_seconds = timeout_seconds
