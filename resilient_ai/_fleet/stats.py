"""What a registry knows of its fleet."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_ai._core.public import public


@public("types")
@dataclass(frozen=True, slots=True)
class FleetStats:
    """
    What a registry knows of the fleet that it has joined.

    Attributes:
        namespace: The fleet's name; "" before a registry has joined one.
        joined: Whether it is in a fleet.
        connected: Whether the server answers.
        push: Whether news are pushed; if not, they are fetched every second.
        workers: Registries in the fleet, this one included, as far as is known; 0 where it is in none.
        away_for: Seconds since the server was lost; 0 while it is connected.
        commands: Commands that were sent to the server.
        facts_told: Facts that were told to the others.
        facts_heard: Facts of others that had an effect here.
        questions: Votes that this worker has asked for.
        dropped: Messages and values from the server that did not fit, and were ignored.
        last_error: Class name of the latest error of the server or the network; None without one.
        round_trip: Seconds that a command takes, middling; None before the first.
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
