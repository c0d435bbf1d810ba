"""The states of an endpoint, and the results of its health checks."""

from __future__ import annotations

from enum import Enum, StrEnum

from resilient_ai._core.public import public


@public("types")
class EndpointState(StrEnum):
    """The state of an endpoint; the last one is set by an operator."""

    UP = "up"
    RESTING = "resting"
    RETURNING = "returning"
    MARKED_DOWN = "marked_down"


class CheckResult(Enum):
    """The result of a health check."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot tell"  # it had no permission, or its API does not exist
