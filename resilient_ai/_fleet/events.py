"""What a fleet reports; `name` is its namespace, or what a fact is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from resilient_ai._core.events import Event, Level
from resilient_ai._core.public import public


@public("events")
@dataclass(frozen=True, slots=True)
class FleetJoined(Event):
    """
    The fleet's server answers, for the first time or again.

    Attributes:
        workers: Registries in the fleet, this one included.
        push: Whether news are pushed; if not, they are fetched every second.
    """

    log_name: ClassVar[str] = "resilient_ai.fleet_joined"

    workers: int
    push: bool


@public("events")
@dataclass(frozen=True, slots=True)
class FleetLost(Event):
    """The fleet's server does not answer: this worker goes on alone. `error` is the class of what was raised."""

    log_name: ClassVar[str] = "resilient_ai.fleet_lost"
    level: ClassVar[Level] = "warning"

    error: str


@public("events")
@dataclass(frozen=True, slots=True)
class FactHeard(Event):
    """Another worker was refused by an endpoint, so this one lets it rest. `rest` is in seconds."""

    log_name: ClassVar[str] = "resilient_ai.fact_heard"

    error_type: str
    rest: float


@public("events")
@dataclass(frozen=True, slots=True)
class FleetOpened(Event):
    """
    The workers have voted a circuit open; told by the one that asked. Each tells `CircuitOpened` of its own.

    Attributes:
        failed: Calls that failed of late, of `calls`.
        workers: Workers that called.
        retry_after: Seconds until a probe.
    """

    log_name: ClassVar[str] = "resilient_ai.fleet_opened"
    level: ClassVar[Level] = "warning"

    failed: int
    calls: int
    workers: int
    retry_after: float


@public("events")
@dataclass(frozen=True, slots=True)
class FleetClosed(Event):
    """A circuit that the fleet had opened lets calls through again, after so many seconds; told by who probed it."""

    log_name: ClassVar[str] = "resilient_ai.fleet_closed"

    seconds: float


@public("events")
@dataclass(frozen=True, slots=True)
class FleetDoubted(Event):
    """The fleet holds a circuit open, yet this worker's own calls are answered: for ten minutes it goes by itself."""

    log_name: ClassVar[str] = "resilient_ai.fleet_doubted"
    level: ClassVar[Level] = "warning"
