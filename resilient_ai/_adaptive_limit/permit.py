"""What a call holds while it is under way."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from resilient_ai._core.call_facts import OWN_VARIABLES

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage

    from .refusals import Cohort


class Permit:
    """
    The right of one call to be under way.

    Attributes:
        started: When the call began.
        epoch: In which epoch of its limit it began (see `ConcurrencyLimit`).
        in_flight_at_start: Calls under way when it began, itself included; set by `InFlight`.
        cohort: Calls that were sent about the same time (see `Refusals`); set by the limit.
        usage: The event loop in which it is counted.
        owner: The limit that gave it; None once it was given back.
        outer: The permit that its caller held already, of this limit or another; None without one. Set by the gate.
        answered: Whether the provider has begun to answer.
        measured: Whether the time of its answer is known, or known to be slow, or not the provider's alone.
        lost: Whether it hangs since a stall that is over: it occupies nothing any more.
    """

    __slots__ = (
        "answered",
        "cohort",
        "epoch",
        "in_flight_at_start",
        "lost",
        "measured",
        "outer",
        "owner",
        "started",
        "usage",
    )

    in_flight_at_start: int
    cohort: Cohort
    outer: Permit | None

    def __init__(self, started: float, epoch: int, usage: LoopUsage, owner: object) -> None:
        self.started = started
        self.epoch = epoch
        self.usage = usage
        self.owner: object | None = owner
        self.answered = self.measured = self.lost = False


def still_held(permit: Permit | None) -> Permit | None:
    """This permit, or the closest one outside it, that was not given back."""
    while permit is not None and permit.owner is None:
        permit = permit.outer
    return permit


# The permit that the running code holds, which knows the one outside it. Nothing takes it out: a permit knows when it
# has been given back.
latest_permit: ContextVar[Permit | None] = ContextVar("resilient_ai.permit", default=None)
OWN_VARIABLES.add(latest_permit)
