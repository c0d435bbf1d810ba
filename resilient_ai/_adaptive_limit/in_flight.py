"""Calls under way: how many there are, which of them are overdue, and which hang since a stall that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lending import Lending

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage

    from .permit import Permit


class InFlight:
    """
    The permits that were given and did not come back.

    Attributes:
        count: Calls under way; a nested call that uses its outer call's permit is not counted beside it.
        lending: Who uses whose permit; None as long as that never was anybody.
        running: Calls that are not measured yet, the oldest first.
        overdue: Calls that are slow by now.
        lost: Calls that hang since a stall that is over.
    """

    __slots__ = ("count", "lending", "lost", "overdue", "running")

    def __init__(self) -> None:
        self.count = 0
        self.lending: Lending | None = None
        self.running: dict[Permit, None] = {}
        self.overdue: dict[Permit, None] = {}
        self.lost: dict[Permit, None] = {}  # an empty set takes three times the room

    @property
    def occupied(self) -> int:
        """Permits in use: those of the calls under way, without the lost ones."""
        return self.count - len(self.lost)

    def can_lend(self, permit: Permit | None, owner: object) -> bool:
        """Whether a call made inside the holder of this permit may use it."""
        return (
            permit is not None
            and permit.owner is owner
            and not permit.lost
            and not permit.usage.dropped
            and not (self.lending is not None and self.lending.is_lent(permit))
        )

    def add(self, permit: Permit, outer: Permit | None) -> None:
        """A call begins, on a permit of its own or on its outer call's."""
        if outer is None:
            self.count += 1
            permit.usage.in_flight += 1
            permit.in_flight_at_start = self.count - len(self.lost)
        else:
            permit.in_flight_at_start = self.occupied
            self.lending = self.lending or Lending()
            self.lending.lend(outer, permit)
            self.measured(outer)  # from here on the outer call's time is not the provider's
        self.running[permit] = None

    def measured(self, permit: Permit) -> None:
        """Nothing more can be learnt from how long this call takes."""
        permit.measured = True
        self.running.pop(permit, None)

    @property
    def oldest(self) -> Permit | None:
        """The call that has been under way for longest, of those that are not measured."""
        try:
            return next(iter(self.running), None)
        except RuntimeError:  # another thread has begun or ended a call between the two steps
            return self.oldest

    def is_overdue(self, permit: Permit) -> None:
        """The call is slow by now; whether it ever ends is not known."""
        self.overdue[permit] = None

    def overtaken(self, started: float) -> None:
        """A call that began then was answered after a stall: older overdue ones will hang on, and occupy nothing."""
        for each in [each for each in self.overdue if each.started < started]:
            del self.overdue[each]
            if self.lending is None or each not in self.lending:
                each.lost = True
                self.lost[each] = None

    def remove(self, permit: Permit) -> None:
        """A call is over."""
        if permit in self.running:
            del self.running[permit]
        elif self.overdue or self.lost:
            self.overdue.pop(permit, None)
            self.lost.pop(permit, None)
        permit.owner = None
        if (lending := self.lending) is not None and lending.nested_of:
            self._end_lending(lending, permit)
        elif not permit.usage.dropped:
            permit.usage.in_flight -= 1
            self.count -= 1

    def _end_lending(self, lending: Lending, permit: Permit) -> None:
        outer, nested = lending.end(permit)
        if outer is not None:
            return  # it was not counted
        if not permit.usage.dropped:
            permit.usage.in_flight -= 1
            self.count -= 1
        if nested is not None and not nested.usage.dropped:
            nested.usage.in_flight += 1  # it outlives the call whose permit it used
            self.count += 1

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Nothing that was begun in a closed loop comes back."""
        usage.dropped = True
        self.count -= usage.in_flight
        for permit in [each for each in list(self.running) if each.usage is usage]:
            del self.running[permit]
        for permit in [each for each in self.overdue if each.usage is usage]:
            del self.overdue[permit]
        for permit in [each for each in self.lost if each.usage is usage]:
            del self.lost[permit]
        if (lending := self.lending) is not None:
            for permit in [each for each in lending if each.usage is usage]:
                self._end_lending(lending, permit)
