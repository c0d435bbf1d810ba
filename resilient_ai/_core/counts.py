"""Counts that only rise: what a state has counted since its process began, in spite of `reset()`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from .state_name import place_of

# A named tuple whose fields are integers, or dicts of integers by name.
C = TypeVar("C", bound="tuple[Any, ...]")


def added(counts: Iterable[C]) -> C:
    """The sum of one or more counts of one kind."""
    first, *others = counts
    if not others:
        return first
    make: Any = type(first)
    sums = []
    for column in zip(first, *others, strict=True):
        if isinstance(column[0], Mapping):
            together: dict[str, int] = {}
            for each in column:
                for name, number in each.items():
                    together[name] = together.get(name, 0) + number
            sums.append(together)
        else:
            sums.append(sum(column))
    return make(*sums)  # type: ignore[no-any-return]


def one_more(counts: dict[str, int] | None, name: str) -> dict[str, int]:
    """Counts by name, with one more for this name. None, which needs no memory, stands for no counts yet."""
    if counts is None:
        return {name: 1}
    counts[name] = counts.get(name, 0) + 1
    return counts


_AT_ONCE = 256  # more at a time would become old garbage, which the collector finds only later

Report = dict[str, dict[tuple[str | None, str | None], Any]]
_Place = tuple[str, str | None, str | None]  # kind, call site, endpoint


_MOST_PLACES = 1_000
_MOST_CALL_SITES = 10_000
OTHERS = "(others)"
"""The name under which endpoints and call sites without a state are counted together, if there are too many."""


class GoneCounts:
    """The counts of states that no longer exist. The registry's lock guards it."""

    def __init__(self) -> None:
        self._counts: dict[_Place, Any] = {}

    def copy(self) -> GoneCounts:
        """A copy of the present counts."""
        twin = GoneCounts()
        twin._counts = dict(self._counts)
        return twin

    def keep(self, kind: str, *handles: Any) -> None:
        """Keep the counts of states that are dropped."""
        for handle in handles:
            if (leave := getattr(handle, "_leave", None)) is not None:
                leave()
        for place, counts in _by_place((kind, handle) for handle in handles).items():
            if any(counts):
                place = self._room_for(*place)
                kept = self._counts.get(place)
                self._counts[place] = counts if kept is None else added((kept, counts))

    def _room_for(self, kind: str, call_site: str | None, endpoint: str | None) -> _Place:
        many = len(self._counts)
        if endpoint is not None and many >= _MOST_PLACES and (kind, call_site, endpoint) not in self._counts:
            endpoint = OTHERS
        if many >= _MOST_PLACES + _MOST_CALL_SITES and (kind, call_site, endpoint) not in self._counts:
            call_site, endpoint = OTHERS, None if endpoint is None else OTHERS
        return kind, call_site, endpoint

    def report(self, live: Iterable[tuple[str, Any]]) -> Report:
        """
        All counts: kind → (call site, endpoint) → counts.

        Args:
            live: The existing states, each with its kind.
        """
        found = dict(self._counts)
        for place, counts in _by_place(live).items():
            found[place] = added((found[place], counts)) if place in found else counts
        report: Report = {}
        for (kind, call_site, endpoint), counts in found.items():
            report.setdefault(kind, {})[call_site, endpoint] = counts
        return report


def _by_place(handles: Iterable[tuple[str, Any]]) -> dict[_Place, Any]:
    counts: dict[_Place, list[Any]] = defaultdict(list)
    for kind, handle in handles:
        if (count := getattr(handle, "counts", None)) is not None:
            found = counts[(kind, *place_of(handle.name))]
            found.append(count())
            if len(found) == _AT_ONCE:
                found[:] = (added(found),)
    return {place: added(each) for place, each in counts.items()}
