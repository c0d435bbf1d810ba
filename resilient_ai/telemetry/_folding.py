"""Add up the numbers of endpoints above a bound, for programs that make an endpoint for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.counts import OTHERS
from resilient_ai._core.measurements import MOST_OF_ENDPOINTS

from ._families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    Labels = tuple[str, ...]
    Series = dict[Labels, float]

_ENDPOINT = "ai_endpoint"
_PLACE = {  # number of labels of a metric that identify the endpoint of a series, which is the last of them
    each.name: each.labels.index(_ENDPOINT) + 1
    for each in FAMILIES
    if _ENDPOINT in each.labels and each.kind != "histogram" and each.name != "events"  # those two are folded earlier
}
_LONGEST = {"endpoint.resting"}  # metrics whose sum has no meaning


class Folding:
    """
    Decides which endpoints have series of their own, for one exporter.

    The first ones have. After the first endpoint for which there is no room, no later one gets a series, even if there
    is room again: it would leave the sum, and the sum of a counter must not fall.
    """

    def __init__(self) -> None:
        self._own: dict[str, set[Labels]] = {}
        self._full: set[str] = set()

    def fold(self, found: dict[str, Series]) -> None:
        """Keep about 1,500 series of endpoints in each metric, and add up the others."""
        for metric, length in _PLACE.items():
            series = found.get(metric)
            if series:
                own = self._own_places(metric, length, series)
                found[metric] = _added(metric, length, own, series)

    def _own_places(self, metric: str, length: int, series: Series) -> set[Labels]:
        sizes: dict[Labels, int] = {}
        for labels in series:
            if labels[length - 1] not in ("", OTHERS):
                sizes[labels[:length]] = sizes.get(labels[:length], 0) + 1
        own = self._own[metric] = self._own.get(metric, set()) & sizes.keys()
        taken = sum(sizes[place] for place in own)
        for place, size in sizes.items():
            if place in own or metric in self._full:
                continue
            if taken + size > MOST_OF_ENDPOINTS:
                self._full.add(metric)
            else:
                own.add(place)
                taken += size
        return own


def _added(metric: str, length: int, own: Iterable[Labels], series: Series) -> Series:
    shown: Series = {}
    for labels, number in series.items():
        place = labels[:length]
        if place[-1] != "" and place not in own:
            labels = (*place[:-1], OTHERS, *labels[length:])
        before = shown.get(labels)
        if before is None:
            shown[labels] = number
        else:
            shown[labels] = max(before, number) if metric in _LONGEST else before + number
    return shown
