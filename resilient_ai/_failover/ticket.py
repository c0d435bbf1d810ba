"""Tickets: each lets one call go to an endpoint, and counts it while it is in flight."""

from __future__ import annotations

from dataclasses import dataclass


class InFlight:
    """Counts calls in flight. It is replaced when an event loop was closed, so that lost calls are forgotten."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Lets one call through; `limited` for the few calls that an endpoint gets while it comes back."""

    generation: int
    flights: InFlight
    limited: bool = False
