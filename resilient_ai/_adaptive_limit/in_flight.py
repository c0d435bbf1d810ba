"""Calls under way: how many there are, which are overdue, and which have hung since a stall that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lending import Lending

if TYPE_CHECKING:
    from collections.abc import Collection

    from resilient_ai._core.event_loops import LoopUsage

    from .permit import Permit


class InFlight:
    """
    The permits that were given and not yet returned.

    Attributes:
        count: Calls under way; a nested call that uses its outer call's permit is not counted again.
        lending: Which nested call uses which permit; None until there was one.
        running: Calls that are not measured yet, the oldest first: their time is neither known nor known to be long,
            and no call was made inside them.
        known: Calls that are measured.
        overdue: Calls that are already slow.
        lost: Calls that have hung since a stall that is over.
    """

    __slots__ = ("count", "known", "lending", "lost", "overdue", "running")

    def __init__(self) -> None:
        self.count = 0
        self.lending: Lending | None = None
        self.running: dict[Permit, None] = {}
        self.known: dict[Permit, None] = {}
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
            and permit not in self.lost
            and not permit.usage.dropped
            and not (self.lending is not None and self.lending.is_lent(permit))
        )

    def add(self, permit: Permit, outer: Permit | None) -> None:
        """Count a call that begins, with a permit of its own or its outer call's."""
        if outer is None:
            self.count += 1
            permit.in_flight_at_start = self.count - len(self.lost)
        else:
            permit.in_flight_at_start = self.occupied
            self.lending = self.lending or Lending()
            self.lending.lend(outer, permit)
            self.measure(outer)  # from here on the outer call's time is not the provider's
        self.running[permit] = None

    def measure(self, permit: Permit) -> bool:
        """Return whether the time of this call still teaches something; the next time it does not."""
        if self.running.pop(permit, self) is self:
            return False
        self.known[permit] = None
        return True

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
                self.lost[each] = None

    def remove(self, permit: Permit) -> None:
        """Stop counting a call that is over."""
        self._forget(permit)
        permit.owner = None
        if (lending := self.lending) is not None and lending.nested_of:
            self._end_lending(lending, permit)
        elif not permit.usage.dropped:
            self.count -= 1

    def _forget(self, permit: Permit) -> None:
        if self.running.pop(permit, self) is self:
            self.known.pop(permit, None)
            self.overdue.pop(permit, None)
            self.lost.pop(permit, None)

    def _end_lending(self, lending: Lending, permit: Permit) -> None:
        outer, nested = lending.end(permit)
        if outer is not None:
            return  # it was never counted
        if not permit.usage.dropped:
            self.count -= 1
        if nested is not None and not nested.usage.dropped:
            self.count += 1  # it runs longer than the call whose permit it used

    def count_in(self, loops: Collection[LoopUsage]) -> int:
        """Return how many calls are counted in these loops."""
        lending = self.lending
        return sum(lending is None or not lending.has_lent_to(each) for each in self._all_in(loops))

    def _all_in(self, loops: Collection[LoopUsage]) -> list[Permit]:
        # The tuple is made in one step, while threads begin and end calls.
        return [each for each in (*self.running, *self.known) if each.usage in loops]

    def drop_closed_loop(self, usage: LoopUsage) -> None:
        """Stop counting the calls of a closed loop, which will not end."""
        usage.dropped = True
        self.count -= self.count_in([usage])
        for permit in self._all_in([usage]):
            self._forget(permit)
        if (lending := self.lending) is not None:
            for permit in [each for each in lending if each.usage is usage]:
                self._end_lending(lending, permit)
