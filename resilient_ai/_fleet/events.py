"""The events of a fleet; `name` is its namespace, or the subject of a fact."""

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
        workers: Registries in the fleet, including this one.
        push: Whether the server pushes news; otherwise they are fetched every second.
    """

    log_name: ClassVar[str] = "resilient_ai.fleet_joined"

    workers: int
    push: bool


@public("events")
@dataclass(frozen=True, slots=True)
class FleetLost(Event):
    """The fleet's server does not answer, and this worker goes on alone. `error` is the class of the error."""

    log_name: ClassVar[str] = "resilient_ai.fleet_lost"
    level: ClassVar[Level] = "warning"

    error: str


@public("events")
@dataclass(frozen=True, slots=True)
class FactHeard(Event):
    """An endpoint has refused another worker, so it rests here too. `rest` is in seconds."""

    log_name: ClassVar[str] = "resilient_ai.fact_heard"

    error_type: str
    rest: float


@public("events")
@dataclass(frozen=True, slots=True)
class FleetOpened(Event):
    """
    The workers have voted to open a circuit; sent by the worker that asked. Each worker also sends its `CircuitOpened`.

    Attributes:
        failed: Recent calls that failed, of `calls`.
        workers: Workers that made calls.
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
    """
    A circuit that the fleet had opened lets calls through again, after so many seconds; sent by the probing worker.
    """

    log_name: ClassVar[str] = "resilient_ai.fleet_closed"

    seconds: float


@public("events")
@dataclass(frozen=True, slots=True)
class FleetDoubted(Event):
    """
    The fleet holds a circuit open, but this worker's own calls are answered: it ignores the fleet for ten minutes.
    """

    log_name: ClassVar[str] = "resilient_ai.fleet_doubted"
    level: ClassVar[Level] = "warning"
