"""`Shares`: what each owner has in a store, least recently used first, and who has most, at little cost."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from itertools import count

_SPARE = 1_000  # notes beyond two for each owner, before they are made anew

Place = tuple[str, str]
"""Partition and key."""

_NOBODY: tuple[int, OrderedDict[Place, int]] = (-1, OrderedDict())


class Shares:
    """The places of the entries of each owner, and their sizes."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, OrderedDict[Place, int]]] = {}
        self._numbers = count()
        # (-entries, number, owner): for each owner at least one note that names no fewer entries than it has.
        self._notes: list[tuple[int, int, str]] = []

    def places(self, owner: str) -> list[Place]:
        """Where the entries of an owner are."""
        return list(self._of[owner][1]) if owner in self._of else []

    def add(self, owner: str, place: Place, size: int) -> None:
        """Count an entry, as the one used last."""
        if owner not in self._of:
            self._of[owner] = next(self._numbers), OrderedDict()
        number, mine = self._of[owner]
        mine[place] = size
        heappush(self._notes, (-len(mine), number, owner))
        if len(self._notes) > 2 * len(self._of) + _SPARE:
            self._notes = [(-len(those), number, owner) for owner, (number, those) in self._of.items()]
            heapify(self._notes)

    def remove(self, owner: str, place: Place) -> int:
        """Count an entry no longer; returns its size."""
        mine = self._of[owner][1]
        size = mine.pop(place)
        if not mine:
            del self._of[owner]
        return size

    def touch(self, owner: str, place: Place) -> None:
        """Mark an entry as the one used last, if it is there."""
        _, mine = self._of.get(owner, _NOBODY)
        if place in mine:
            mine.move_to_end(place)

    def next_to_go(self) -> Place:
        """The least recently used entry of the owner with most; of several such owners, the one known longest."""
        while True:
            noted, number, owner = self._notes[0]
            current, mine = self._of.get(owner, _NOBODY)
            if current == number and len(mine) == -noted:
                return next(iter(mine))
            heappop(self._notes)
            if current == number:
                heappush(self._notes, (-len(mine), number, owner))
