"""`Verdict`: what an exception means for the next attempt."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.public import public

from .error_types import ERROR_TYPES, Blame


@public()
@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What an exception means.

    Attributes:
        error_type: The type of failure.
        retryable: Whether the same request may work at the same endpoint a little later.
        endpoint_fault: Whether another endpoint could serve the same request.
        blame: Who is to blame.
        retry_after: Seconds that the provider asked to wait, uncapped; None if it named no wait.
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
