"""What a caller of a limited function holds: a place, or a stand in line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import Era

    from .state import Limit


class Place:
    """One call that was let through."""

    __slots__ = ("answered", "crowd", "era", "limit", "lost", "measured", "outer", "round", "started")

    def __init__(self, started: float, round_: int, crowd: int, era: Era, limit: Limit) -> None:
        self.started = started
        self.round = round_
        self.crowd = crowd  # calls under way when it began, itself included
        self.measured = False  # how long it took is known, or that it is slow by now; then it is not in `_running`
        self.answered = False
        self.lost = False  # it holds no place any more: after a silence, later ones were answered
        self.era = era  # where it is counted
        self.limit: Limit | None = limit  # None once it is given back
        self.outer: Place | None = None  # that the caller held before, of this limit or another; the shell's


class Waiter:
    """One caller in line; the shell keeps beside it what wakes its task."""

    __slots__ = ("deadline", "ends", "era", "host")

    def __init__(self, ends: float, deadline: float, era: Era, host: Place | None = None) -> None:
        self.ends = ends  # when its patience does
        self.deadline = deadline  # of the whole call
        self.era = era
        self.host = host  # the place that its own caller holds already
