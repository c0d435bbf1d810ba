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

    Made without `__init__`, which would cost as much as a bare await.

    Attributes:
        started: When the call began.
        epoch: In which epoch of its limit it began (see `ConcurrencyLimit`).
        in_flight_at_start: Calls under way when it began, including itself; set by `InFlight`.
        cohort: Calls that were sent at about the same time (see `Refusals`); set by the limit.
        usage: The event loop in which it is counted.
        owner: The limit that gave it; None once it was given back.
        outer: The permit that its caller already held, of this limit or another; None without one. Set by the gate.
        answered: Whether the provider has begun to answer.
    """

    __slots__ = (
        "answered",
        "cohort",
        "epoch",
        "in_flight_at_start",
        "outer",
        "owner",
        "started",
        "usage",
    )

    started: float
    epoch: int
    in_flight_at_start: int
    cohort: Cohort
    usage: LoopUsage
    owner: object | None
    outer: Permit | None
    answered: bool


def new_permit(started: float, epoch: int, usage: LoopUsage, owner: object) -> Permit:
    """Return a permit of this limit."""
    permit = Permit()
    permit.started, permit.epoch, permit.usage, permit.owner = started, epoch, usage, owner
    permit.answered = False
    return permit


def still_held(permit: Permit | None) -> Permit | None:
    """Return this permit, or the closest one around it, that was not given back."""
    while permit is not None and permit.owner is None:
        permit = permit.outer
    return permit


# The permit that the running code holds; it knows the one around it. It is never removed: a permit knows when it has
# been given back.
latest_permit: ContextVar[Permit | None] = ContextVar("resilient_ai.permit", default=None)
OWN_VARIABLES.add(latest_permit)
