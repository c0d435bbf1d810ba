"""The events of a circuit."""

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """
    A circuit refuses calls from now on.

    Attributes:
        failures: The failure count when it opened.
        reason: Why it opened, with the numbers that decided.
        retry_after: Seconds until a probe is allowed.
    """

    log_name: ClassVar[str] = "resilient_ai.circuit_opened"
    level: ClassVar[Level] = "warning"

    failures: int
    reason: str
    retry_after: float


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(Event):
    """The recovery period is over, and a call has come as a probe."""

    log_name: ClassVar[str] = "resilient_ai.circuit_half_opened"


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """Calls pass again: enough probes were answered, or an operator closed the circuit."""

    log_name: ClassVar[str] = "resilient_ai.circuit_closed"


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitWouldOpen(Event):
    """
    A circuit in metrics_only would have opened; sent once per breach.

    Attributes:
        reason: Why, with the numbers that decided.
    """

    log_name: ClassVar[str] = "resilient_ai.circuit_would_open"
    level: ClassVar[Level] = "warning"

    reason: str


@public("events")
@dataclass(frozen=True, slots=True)
class CircuitModeSet(Event):
    """
    An operator set the state of a circuit.

    Attributes:
        state: The value of the `CircuitState`, or "reset".
    """

    log_name: ClassVar[str] = "resilient_ai.circuit_mode_set"
    level: ClassVar[Level] = "warning"

    state: str
