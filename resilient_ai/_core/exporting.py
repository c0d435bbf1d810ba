"""The part of a registry for exporters: durations of calls, and observers of calls and attempts."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any

from .measurements import Measurements
from .modes import NORMAL, set_observers
from .observers import AttemptTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock
    from .measurements import Histogram, Series
    from .modes import Mode, ModeChange
    from .observers import Observer
    from .settings import Book

_MOST_NAMES = 10_000


class Exporting:
    """
    The part of a registry for exporters.

    Attributes:
        measurements: Collects durations; None while nobody needs them.
    """

    if TYPE_CHECKING:  # attributes of the registry that this part uses
        clock: Clock
        book: Book

    def __init__(self) -> None:
        self.mode: Mode = NORMAL
        self.mode_changes: tuple[ModeChange, ...] = ()  # from which the mode is computed
        self.measurements: Measurements | None = None
        self._outermost: Counter[tuple[str, str]] = Counter()  # for policies whose states are made for each key only
        self._exporters = 0
        self._timer: Observer = AttemptTimer(self)
        self._exporting = threading.RLock()

    @abstractmethod
    def _handles(self) -> list[Any]:
        """All states."""

    def _count_without_state(self, place: tuple[str, str], functions: int) -> None:
        self._outermost[place] += functions
        if self._outermost[place] <= 0:
            del self._outermost[place]
        elif len(self._outermost) > _MOST_NAMES:  # the oldest name was probably made for one request
            del self._outermost[next(iter(self._outermost))]

    def measure(self) -> Callable[[], None]:
        """
        Measure the durations of calls and attempts from now on, for `histograms()`.

        Returns:
            A function that ends it; measuring stops when all callers of `measure` have ended it.
        """
        with self._exporting:
            self._exporters += 1
            if self._exporters == 1:
                self.measurements = Measurements()
                self.observe(self._timer)
        ended = False

        def off() -> None:
            nonlocal ended
            with self._exporting:
                last = not ended and self._exporters == 1
                self._exporters -= not ended
                ended = True
                if last:
                    self.measurements = None
                    self.observe_no_more(self._timer)

        return off

    def histograms(self) -> dict[Series, Histogram]:
        """The histograms since `measure` was first called; empty while nobody measures."""
        if (measurements := self.measurements) is None:
            return {}
        states = self._handles()
        held = [each for state in states if (take := getattr(state, "_held_times", None)) and (each := take())]
        return measurements.read(held)

    def observe(self, observer: Observer) -> None:
        """Let an observer follow the calls of this registry's functions."""
        set_observers(self, lambda before: (*before, observer))

    def observe_no_more(self, observer: Observer) -> None:
        """Remove an observer, for calls that begin afterwards."""
        set_observers(self, lambda before: tuple(each for each in before if each is not observer))
