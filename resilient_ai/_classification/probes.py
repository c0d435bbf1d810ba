"""Refusals of a circuit whose probes are all in flight, and when to ask again."""

from __future__ import annotations

from resilient_ai._core.errors import AllEndpointsFailedError, CircuitOpenError

# Seconds until it is worth asking again. A guess: a half-open circuit cannot know when its probes will be answered.
PROBES_ANSWER_SECONDS = 0.25


def probes_in_flight(error: BaseException) -> bool:
    """Whether a circuit refused because its probes are in flight, alone or as one endpoint among several."""
    if isinstance(error, AllEndpointsFailedError):
        return any(map(probes_in_flight, error.errors.values()))
    return isinstance(error, CircuitOpenError) and error.reason == "half_open_full"
