"""The parts of a circuit's state: its states, the tickets of its calls, why it is open, and its probes."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER
from resilient_ai._core.public import public

from .window import TICK

if TYPE_CHECKING:
    from resilient_ai._core.stand_in import StandIn


@public()
class CircuitState(StrEnum):
    """What a circuit does with calls; the last three are set by an operator."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Ticket:
    """Lets one call through. All calls of a closed circuit share one; each probe has its own."""

    __slots__ = ("generation", "lease_end")

    def __init__(self, generation: int, lease_end: float = math.inf) -> None:
        self.generation = generation
        self.lease_end = lease_end


_FIRST = Ticket(1)


def ticket_of(generation: int) -> Ticket:
    """
    The ticket that all calls of a generation share while the circuit is closed.

    Most circuits never leave their first generation, so all circuits share its ticket: a call returns its ticket only
    to the circuit that issued it.
    """
    return _FIRST if generation == 1 else Ticket(generation)


# A provider that answers half of the calls fails ten in a row once in a thousand times.
DEAD = 10  # failures in a row after which the first probe is sent before the others
HEAD_START = 0.2  # seconds by which it is sent before them: a provider that is still down usually refuses it by then
UNRECORDED = -1  # generation of tickets whose results are not recorded
NESTED_PROBE = Ticket(UNRECORDED)  # for a call inside a probe of the same circuit, whose outcome the probe reports


class Opening:
    """
    Why a circuit opened, or would have in metrics_only, and when it may be probed.

    Attributes:
        dictated: Whether the provider said for how long; then nothing else shortens it.
        by_fleet: Whether the fleet opened it.
    """

    __slots__ = ("by_fleet", "cause", "dictated", "reason", "until")

    def __init__(self, reason: str, until: float, *, dictated: bool = False, by_fleet: bool = False) -> None:
        self.reason = reason
        self.until = until
        self.dictated = dictated
        self.by_fleet = by_fleet
        self.cause: StandIn | None = None  # set after the lock is released


class Probing:
    """
    The probes of a half-open circuit.

    Attributes:
        in_flight: The tickets of the probes in flight.
        successes: Number of good answers.
        usual_seconds: Seconds that a good answer usually takes.
        alone_until: End of the first probe's head start, before which it is the only one, in monotonic seconds.
        failed_until: When the slots of probes come back that failed while others could still be answered.
    """

    __slots__ = ("alone_until", "failed_until", "in_flight", "successes", "usual_seconds")

    def __init__(self, usual_seconds: float) -> None:
        self.in_flight: list[Ticket] = []
        self.successes = 0
        self.usual_seconds = usual_seconds
        self.alone_until = NEVER
        self.failed_until: list[float] = []

    def is_full(self, now: float, most: int) -> bool:
        """Whether another probe has to wait; at most `most` may be in flight at a time."""
        return bool(self.in_flight) and (self._taken(now) >= most or now + TICK < self.alone_until)

    def _taken(self, now: float) -> int:
        return len(self.in_flight) + sum(now + TICK < until for until in self.failed_until)

    def wait(self, now: float, most: int) -> float:
        """Seconds until it is worth asking again."""
        if not self.is_full(now, most):
            return 0.0
        if self._taken(now) < most:
            return self.alone_until - now
        ends = [probe.lease_end for probe in self.in_flight]
        ends += [until for until in self.failed_until if now + TICK < until]
        return min(self.usual_seconds, min(ends) - now)

    def fail(self, ticket: Ticket, now: float, until: float) -> bool:
        """Take in a probe that failed, whose slot is kept until then; whether another one may still be answered."""
        self.give_back(ticket)
        self.failed_until = [each for each in self.failed_until if now + TICK < each]
        self.failed_until.append(until)
        return any(now + TICK < probe.lease_end for probe in self.in_flight)

    def give_back(self, ticket: Ticket) -> None:
        if ticket in self.in_flight:
            self.in_flight.remove(ticket)
