"""Calls under way: how many there are, which are overdue, and which have hung since a stall that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lending import Lending

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage

    from .permit import Permit


class InFlight:
    """
    The permits that were given and not yet returned.

    Attributes:
        count: Calls under way; a nested call that uses its outer call's permit is not counted again.
        lending: Which nested call uses which permit; None until there was one.
        running: Calls that are not measured yet, the oldest first.
        overdue: Calls that are already slow.
        lost: Calls that have hung since a stall that is over.
    """

    __slots__ = ("count", "lending", "lost", "overdue", "running")

    def __init__(self) -> None:
        self.count = 0
        self.lending: Lending | None = None
        self.running: dict[Permit, None] = {}
        self.overdue: dict[Permit, None] = {}
        self.lost: dict[Permit, None] = {}  # an empty set takes three times as much memory

    @property
    def occupied(self) -> int:
        """Return how many permits are in use: those of the calls under way, without the lost ones."""
        return self.count - len(self.lost)

    def can_lend(self, permit: Permit | None, owner: object) -> bool:
        """Return whether a call made inside the holder of this permit may use it."""
        return (
            permit is not None
            and permit.owner is owner
            and not permit.lost
            and not permit.usage.dropped
            and not (self.lending is not None and self.lending.is_lent(permit))
        )

    def add(self, permit: Permit, outer: Permit | None) -> None:
        """Count a call that begins, with a permit of its own or its outer call's."""
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
        """Note that the time of this call teaches nothing more."""
        permit.measured = True
        self.running.pop(permit, None)

    @property
    def oldest(self) -> Permit | None:
        """Return the call that has been under way longest, of those that are not measured."""
        try:
            return next(iter(self.running), None)
        except RuntimeError:  # another thread began or ended a call between the two steps
            return self.oldest

    def is_overdue(self, permit: Permit) -> None:
        """Note that the call is already slow and may never end."""
        self.overdue[permit] = None

    def overtaken(self, started: float) -> None:
        """
        Free the permits of overdue calls older than this one, which was answered after a stall: they will not end.
        """
        for each in [each for each in self.overdue if each.started < started]:
            del self.overdue[each]
            if self.lending is None or each not in self.lending:
                each.lost = True
                self.lost[each] = None

    def remove(self, permit: Permit) -> None:
        """Stop counting a call that is over."""
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
            return  # it was never counted
        if not permit.usage.dropped:
            permit.usage.in_flight -= 1
            self.count -= 1
        if nested is not None and not nested.usage.dropped:
            nested.usage.in_flight += 1  # it runs longer than the call whose permit it used
            self.count += 1

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Stop counting the calls of a closed loop, which will not end."""
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
