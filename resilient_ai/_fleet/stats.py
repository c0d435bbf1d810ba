"""The numbers of a registry's fleet."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.public import public


@public("types")
@dataclass(frozen=True, slots=True)
class FleetStats:
    """
    The numbers of the fleet that a registry has joined.

    Attributes:
        namespace: The fleet's name; "" before a registry has joined one.
        joined: Whether it is in a fleet.
        connected: Whether the server answers.
        push: Whether the server pushes news; otherwise they are fetched every second.
        workers: Known number of registries in the fleet, including this one; 0 without a fleet.
        away_for: Seconds since the server was lost; 0 while it is connected.
        commands: Commands sent to the server.
        facts_told: Facts sent to the other workers.
        facts_heard: Facts of other workers that had an effect here.
        questions: Votes that this worker has asked for.
        dropped: Messages and values from the server that did not fit, and were ignored.
        last_error: Class name of the latest error of the server or the network; None without one.
        round_trip: Median seconds that a command takes; None before the first.
    """

    namespace: str = ""
    joined: bool = False
    connected: bool = False
    push: bool = False
    workers: int = 0
    away_for: float = 0.0
    commands: int = 0
    facts_told: int = 0
    facts_heard: int = 0
    questions: int = 0
    dropped: int = 0
    last_error: str | None = None
    round_trip: float | None = None
