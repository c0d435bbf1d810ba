"""What to raise when no endpoint is left: an error with all failures, and the time after which to ask again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._classification.classify import classify
from resilient_ai._classification.parameters import refuses_parameter
from resilient_ai._classification.probes import PROBES_ANSWER_SECONDS, probes_in_flight
from resilient_ai._core.errors import (
    AllEndpointsFailedError,
    CircuitOpenError,
    EndpointRestingError,
    ErrorType,
    LimitReachedError,
)

from .endpoint_state import EndpointState
from .health import LONG_REST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_ai._classification.verdict import Verdict

    from .candidate import Candidate

Failure = tuple["Candidate", Exception, "Verdict"]


def all_failed(
    function: str, tried: tuple[str, ...], failures: Sequence[Failure], untried: Sequence[Candidate], now: float
) -> Exception:
    """
    The error of a call that no endpoint answered.

    Args:
        function: The decorated function.
        tried: Names of the endpoints that were asked, in order.
        failures: The failure of each.
        untried: The other endpoints, which may be resting.
        now: Monotonic seconds.

    Returns:
        The last error unchanged, with a note, if no error is recognised (a programming error must reach its author), or
        if the call is too big for every endpoint's limit. Otherwise an `AllEndpointsFailedError`.
    """
    # An endpoint that does not support a parameter tells nothing about the others, so the other failures decide.
    decisive = [each for each in failures if not refuses_parameter(each[1], each[2])]
    if decisive and all(verdict.blame == "unknown" for _, _, verdict in decisive):
        error = decisive[-1][1]
        error.add_note(f"resilient_ai: asked {', '.join(tried)}; each raised an error that nothing recognises")
        return error
    resting = [(each.name, rest) for each in untried if (rest := _resting(each, now)) is not None]
    if decisive and not resting and all(_too_big(error) for _, error, _ in decisive):
        error = decisive[-1][1]
        error.add_note(f"resilient_ai: asked {', '.join(tried)}; the call is too big for the limit of each")
        return error
    errors: dict[str, BaseException] = {candidate.name: error for candidate, error, _ in failures}
    types = {candidate.name: verdict.error_type for candidate, _, verdict in failures}
    hints = [_retry_hint(error, verdict) for _, error, verdict in reversed(decisive)]
    for name, known in resting:
        errors[name], types[name] = known, known.error_type
        hints.append(_retry_hint(known, classify(known)))
    if failures and not hints:
        return failures[0][1]  # no endpoint supports the parameter: the caller's own mistake, raised unchanged
    best = min(hints, key=lambda hint: hint.order, default=_RetryHint(math.inf, None, ErrorType.MODEL_OVERLOADED))
    failed = AllEndpointsFailedError(
        function, errors, error_types=types, error_type=best.error_type, retry_after=best.retry_after
    )
    failed.__cause__ = decisive[-1][1] if decisive else None
    return failed


class _RetryHint(NamedTuple):
    """What one endpoint's failure says about asking again: how soon, and the error type until then."""

    order: float
    retry_after: float | None
    error_type: ErrorType


def _retry_hint(error: BaseException, verdict: Verdict) -> _RetryHint:
    kind, wait = verdict.error_type, verdict.retry_after
    if isinstance(error, CircuitOpenError):
        if probes_in_flight(error):
            wait = PROBES_ANSWER_SECONDS
        elif wait is None:  # an operator forced the circuit open
            return _RetryHint(math.inf, None, kind)
    elif isinstance(error, EndpointRestingError) and error.marked_down:
        return _RetryHint(math.inf, None, kind)
    if not verdict.retryable:
        return _RetryHint(LONG_REST + (wait or 0.0), wait, kind)
    return _RetryHint(wait or 0.0, wait, kind)


def _too_big(error: BaseException) -> bool:
    """Whether the call is larger than a whole limit, so that asking again later cannot help."""
    return isinstance(error, LimitReachedError) and error.retry_after is None


def _resting(candidate: Candidate, now: float) -> EndpointRestingError | None:
    health = candidate.health
    if health.state is EndpointState.MARKED_DOWN:
        return EndpointRestingError(candidate.name, error_type=health.last_error_type, marked_down=True)
    if health.state is EndpointState.RESTING:
        rest = health.resting_for(now)
        return EndpointRestingError(candidate.name, error_type=health.last_error_type, retry_after=rest)
    return None
