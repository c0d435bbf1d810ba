"""`Shares`: the entries of each owner in a store, least recently used first, and the owner with the most."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count

_SPARE = 1_000  # the heap is rebuilt when it has so many notes more than two for each owner

Place = tuple[str, str]
"""Partition and key."""

_NOBODY: tuple[int, OrderedDict[Place, int]] = (-1, OrderedDict())


class Shares:
    """The places and sizes of the entries of each owner."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, OrderedDict[Place, int]]] = {}
        self._numbers = count()
        # Heap of (-entries, number, owner), with at least one note per owner that is not below its number of entries.
        self._notes: list[tuple[int, int, str]] = []

    def places(self, owner: str) -> list[Place]:
        """The places of an owner's entries."""
        return list(self._of[owner][1]) if owner in self._of else []

    def add(self, owner: str, place: Place, size: int) -> None:
        """Add an entry as the latest used."""
        if owner not in self._of:
            self._of[owner] = next(self._numbers), OrderedDict()
        number, mine = self._of[owner]
        mine[place] = size
        heappush(self._notes, (-len(mine), number, owner))
        if len(self._notes) > 2 * len(self._of) + _SPARE:
            self._notes = [(-len(those), number, owner) for owner, (number, those) in self._of.items()]
            heapify(self._notes)

    def remove(self, owner: str, place: Place) -> int:
        """Remove an entry; returns its size."""
        mine = self._of[owner][1]
        size = mine.pop(place)
        if not mine:
            del self._of[owner]
        return size

    def touch(self, owner: str, place: Place) -> None:
        """Mark an entry as the latest used, if it exists."""
        _, mine = self._of.get(owner, _NOBODY)
        if place in mine:
            mine.move_to_end(place)

    def next_to_go(self) -> Place:
        """The least recently used entry of the owner with the most entries; of several such owners, the oldest."""
        while True:
            noted, number, owner = self._notes[0]
            current, mine = self._of.get(owner, _NOBODY)
            if current == number and len(mine) == -noted:
                return next(iter(mine))
            heappop(self._notes)
            if current == number:
                heappush(self._notes, (-len(mine), number, owner))
