"""
One row per `ErrorType`: who is to blame, and what each policy does with it.

This is the only place for that; the policies' own tables are views of it. An error type without a row makes the
import of the package fail, so that a missing row is found at once, and not by a user's failing call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from resilient_ai._core.errors import ErrorType as E

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Blame = Literal["request", "credential", "account", "deployment", "provider", "network", "program", "unknown"]


class DefaultRetry(NamedTuple):
    """The default retry rule of a type. Times are in seconds."""

    max_retries: int
    base_delay: float
    max_delay: float
    multiplier: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTypeRow:
    """
    What one error type means for each policy.

    Attributes:
        blame: Who is to blame.
        retryable: Whether the same request may work at the same endpoint a little later.
        retry: The default rule of `classified_retry`; None: not retried.
        price: The price of a retry: "full" if the error is a sign of trouble, "throttled" if the provider is healthy
            and said when to retry, "free" if nothing was sent.
        circuit: A "failure", "neutral" (neither failure nor success), or it "opens" the circuit at once.
        endpoint: The effect on the health of an endpoint. "rests": it is not asked for a while. "passing": the same,
            but one such error after a good run is forgiven. "denied": a long rest, because a person has to act first.
            "spared": no effect. "refused": our own side did not let the call through.
        next_endpoint: Which endpoint may answer instead: "any" other, one that may have a "larger context", one of an
            "other model" or provider, or "none".
        doubtful: The endpoint is blamed only if another one answers, because the request itself may be at fault.
        limit: What an adaptive limit learns: "pace" (too many calls a second), "overload" (too many at once), "slow"
            (no answer in time), "not sent", or "nothing".
        bisect: One bad item can cause it for its whole batch, so the batch is halved.
        degrade: Whether a fallback answers it by default.
    """

    blame: Blame
    retryable: bool
    retry: DefaultRetry | None = None
    price: Literal["full", "throttled", "free"] = "full"
    circuit: Literal["failure", "neutral", "opens"]
    endpoint: Literal["rests", "passing", "denied", "spared", "refused"]
    next_endpoint: Literal["any", "larger context", "other model", "none"] = "any"
    doubtful: bool = False
    limit: Literal["pace", "overload", "slow", "not sent", "nothing"] = "nothing"
    bisect: bool = False
    degrade: bool = True


ERROR_TYPES: Final[Mapping[E, ErrorTypeRow]] = {
    E.RATE_LIMIT: ErrorTypeRow(
        blame="account",
        retryable=True,
        retry=DefaultRetry(5, 1.0, 60.0),
        price="throttled",
        circuit="neutral",  # a provider that enforces a limit is healthy
        endpoint="rests",
        limit="pace",
    ),
    E.QUOTA_EXCEEDED: ErrorTypeRow(
        blame="account",
        retryable=False,
        circuit="opens",  # no call succeeds until somebody pays
        endpoint="denied",
    ),
    E.AUTHENTICATION: ErrorTypeRow(
        blame="credential",
        retryable=False,
        circuit="neutral",
        endpoint="denied",
    ),
    E.PERMISSION: ErrorTypeRow(
        blame="credential",
        retryable=False,
        circuit="neutral",
        endpoint="denied",
    ),
    E.MODEL_OVERLOADED: ErrorTypeRow(
        blame="deployment",
        retryable=True,
        retry=DefaultRetry(4, 2.0, 30.0, 1.5),
        circuit="failure",
        endpoint="passing",
        limit="overload",
    ),
    E.NETWORK_ERROR: ErrorTypeRow(
        blame="network",
        retryable=True,
        retry=DefaultRetry(3, 0.5, 10.0),
        circuit="failure",
        endpoint="passing",
    ),
    E.TIMEOUT: ErrorTypeRow(
        blame="provider",
        retryable=True,
        retry=DefaultRetry(2, 0.5, 10.0),
        circuit="failure",
        endpoint="rests",  # healthy endpoints have it occasionally too, but a second one would cost too much time
        limit="slow",
    ),
    E.INVALID_REQUEST: ErrorTypeRow(
        blame="request",
        retryable=False,
        circuit="neutral",
        endpoint="spared",
        next_endpoint="none",
        bisect=True,
        degrade=False,
    ),
    E.CONTEXT_LENGTH: ErrorTypeRow(
        blame="request",
        retryable=False,
        circuit="neutral",
        endpoint="spared",
        next_endpoint="larger context",
        bisect=True,
        degrade=False,
    ),
    E.CONTENT_FILTER: ErrorTypeRow(
        blame="request",
        retryable=False,
        circuit="neutral",
        endpoint="spared",
        next_endpoint="other model",
        bisect=True,
        degrade=False,
    ),
    E.INVALID_OUTPUT: ErrorTypeRow(
        blame="provider",
        retryable=True,
        retry=DefaultRetry(2, 0.0, 0.0),  # the provider is healthy, and the model may do better at once
        price="throttled",
        circuit="neutral",
        endpoint="spared",
    ),
    E.NOT_FOUND: ErrorTypeRow(
        blame="deployment",
        retryable=False,
        circuit="neutral",
        endpoint="denied",
        doubtful=True,
    ),
    E.INTERNAL_ERROR: ErrorTypeRow(
        blame="provider",
        retryable=True,
        retry=DefaultRetry(2, 0.5, 8.0),
        circuit="failure",
        endpoint="passing",
    ),
    E.CIRCUIT_OPEN: ErrorTypeRow(
        blame="deployment",
        retryable=True,
        retry=DefaultRetry(3, 0.0, 5.0),
        price="free",
        circuit="neutral",
        endpoint="refused",
        limit="not sent",
    ),
}


def check_complete(rows: Mapping[E, ErrorTypeRow], kinds: Iterable[E]) -> None:
    """
    Check that every error type has its row.

    Raises:
        LookupError: A row is missing.
    """
    if missing := [kind.name for kind in kinds if kind not in rows]:
        raise LookupError(f"ERROR_TYPES needs a row for {', '.join(missing)}")


check_complete(ERROR_TYPES, E)

RETRYABLE: Final = frozenset(kind for kind, row in ERROR_TYPES.items() if row.retryable)
