"""
Histograms of the durations of calls and attempts, kept only while an exporter uses them.

States that keep lists of times anyway hand them over, which costs a call nothing: the lists are folded into histograms
when they are read. Everything outside the fast path is added value by value.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from operator import sub
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .call_facts import DegradedFlag, flagged
from .counts import OTHERS
from .forks import start_over_after_fork
from .started_call import StartedCall

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .handlers import Handler

# Upper bounds in seconds, as OpenTelemetry recommends for calls to AI providers.
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
DELAYS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ITEMS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

ATTEMPT, CALL, BATCH_WAIT, BATCH_SIZE, RETRY_DELAY = (
    "attempt.duration",
    "call.duration",
    "batch.wait",
    "batch.size",
    "retry.delay",
)
BOUNDS = {ATTEMPT: SECONDS, CALL: SECONDS, BATCH_WAIT: WAITS, BATCH_SIZE: ITEMS, RETRY_DELAY: DELAYS}

MOST_OF_ENDPOINTS = 1_500  # most series of one metric with an endpoint; further endpoints are counted together
MOST_OF_ALL = 1_900  # most series of one metric; further call sites are counted together
_MOST_WAITING = 50  # lists; beyond that, each hand-over folds one list


class Series(NamedTuple):
    """The identity of one histogram: what is measured, and for what."""

    metric: str
    call_site: str | None
    ai_endpoint: str | None = None
    outcome: str | None = None


class Histogram:
    """
    Values in buckets.

    Args:
        bounds: Upper bounds, inclusive; values above the last have a bucket of their own.

    Attributes:
        counts: Number of values, by bucket.
        sums: Sum of the values, by bucket.
    """

    __slots__ = ("bounds", "counts", "sums")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sums = [0.0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sums[bucket] += value

    def fold(self, times: Sequence[float]) -> None:
        """Add durations, given as alternating times: end, begin, end, begin and so on."""
        whole = len(times) // 2 * 2  # another thread may be between its two appends
        seconds = sorted(map(sub, times[:whole:2], times[1:whole:2]))
        before = 0
        for bucket, bound in enumerate(self.bounds):
            if before == len(seconds):
                return
            upto = bisect_right(seconds, bound, before)
            if upto > before:
                self.counts[bucket] += upto - before
                self.sums[bucket] += sum(seconds[before:upto])
            before = upto
        self.counts[-1] += len(seconds) - before
        self.sums[-1] += sum(seconds[before:])

    def plus(self, other: Histogram, times: int = 1) -> Histogram:
        """The sum of this and another histogram; with `times=-1`, the difference."""
        together = Histogram(self.bounds)
        together.counts = [mine + times * theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        together.sums = [mine + times * theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]
        return together

    def at_least(self, other: Histogram) -> Histogram:
        """The larger one of each bucket."""
        most = Histogram(self.bounds)
        for bucket, (mine, theirs) in enumerate(zip(self.counts, other.counts, strict=True)):
            fuller = self if mine >= theirs else other
            most.counts[bucket], most.sums[bucket] = fuller.counts[bucket], fuller.sums[bucket]
        return most


class TimeSource(NamedTuple):
    """
    The series to which a list of times belongs.

    Attributes:
        attempt: Series of the function's attempts.
        call: Series of the callers' calls, if only the function takes time in a call on the fast path; None if no call
            uses the fast path.
    """

    attempt: Series
    call: Series | None


class HasTimes(Protocol):
    """A state that hands over lists of times."""

    def time_source(self) -> TimeSource:
        """The series of the times."""
        ...


class Measurements:
    """The histograms of one registry. Thread-safe."""

    def __init__(self) -> None:
        self._after_fork()
        start_over_after_fork(self)
        self._series: dict[Series, Histogram] = {}
        self._waiting: deque[tuple[HasTimes, Sequence[float]]] = deque()
        # Good answers in a list whose calls went through the ordinary layers: their calls took longer than their
        # attempts.
        self._by_layers: dict[Series, Histogram] = {}
        self._shown: dict[Series, Histogram] = {}
        self._own: set[Series] = set()
        # Number of series, by metric and by whether they have an endpoint.
        self._sizes: Counter[tuple[str, bool]] = Counter()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may read the registry

    def add(self, series: Series, value: float) -> None:
        """Add one value."""
        with self._lock:
            self._of(self._series, series).add(value)

    def answered_by_layers(self, source: TimeSource, seconds: float, *, in_list: bool) -> None:
        """
        Add a good answer of a call that went through the ordinary layers instead of the fast path.

        Args:
            source: The series.
            seconds: Duration of the attempt.
            in_list: Whether its time will be handed over in a list, too.
        """
        if not in_list:
            self.add(source.attempt, seconds)
        elif source.call is not None:
            with self._lock:
                self._of(self._by_layers, source.call).add(seconds)

    def hand_over(self, state: HasTimes, times: Sequence[float]) -> None:
        """Take over times of good answers, alternating: end, begin, end, begin and so on."""
        if times:
            self._waiting.append((state, times))  # their series are determined when they are folded
        if len(self._waiting) > _MOST_WAITING:
            with self._lock:
                self._fold_one()

    def read(self, held: Sequence[tuple[HasTimes, Sequence[float]]]) -> dict[Series, Histogram]:
        """
        The present histograms. No number in them ever falls between two readings.

        Args:
            held: Times that have not been handed over yet.
        """
        with self._lock:
            while self._waiting:
                self._fold_one()
            now = {series: each.plus(Histogram(each.bounds)) for series, each in self._series.items()}
            for state, times in held:
                self._fold(now, state, times)
            for series, layered in self._by_layers.items():
                if series in now:
                    now[series] = now[series].plus(layered, -1)
            # A call may be between its two additions: subtracted from one number, and not yet added to the other.
            self._shown = {
                series: each if (shown := self._shown.get(series)) is None else each.at_least(shown)
                for series, each in now.items()
            } | {series: each for series, each in self._shown.items() if series not in now}
            return self._shown

    def _fold_one(self) -> None:
        try:
            waiting = self._waiting.popleft()
        except IndexError:  # another thread, or a signal handler that reads, has already folded them
            return
        self._fold(self._series, *waiting)

    def _fold(self, into: dict[Series, Histogram], state: HasTimes, times: Sequence[float]) -> None:
        for series in state.time_source():
            if series is not None:
                self._of(into, series).fold(times)

    def _of(self, where: dict[Series, Histogram], series: Series) -> Histogram:
        if series not in self._own:
            series = self._own_or_others(series)
        found = where.get(series)
        if found is None:
            found = where[series] = Histogram(BOUNDS[series.metric])
        return found

    def _own_or_others(self, series: Series) -> Series:
        """
        The series itself if it exists or if there is room, else a common one. Existing series stay: no number falls.
        """
        metric, sizes = series.metric, self._sizes
        if series.ai_endpoint is not None and sizes[metric, True] >= MOST_OF_ENDPOINTS:
            series = series._replace(ai_endpoint=OTHERS)
        if series not in self._own:
            if sizes[metric, True] + sizes[metric, False] >= MOST_OF_ALL:
                return series._replace(call_site=OTHERS, ai_endpoint=series.ai_endpoint and OTHERS)
            self._own.add(series)
            sizes[metric, series.ai_endpoint not in (None, OTHERS)] += 1
        return series


class TimedLayers:
    """
    The layers of one function, timed while an exporter uses the times.

    Args:
        handler: Runs the layers; may be replaced by an equivalent one.
        call_site: Name of the function.
        registry: The registry, which has the measurements.
        degrades: Whether something in the stack may answer in place of the function.
    """

    __slots__ = ("_call_site", "_degrades", "_registry", "handler")

    def __init__(self, handler: Handler, call_site: str, registry: Any, *, degrades: bool) -> None:
        self.handler = handler
        self._call_site = call_site
        self._registry = registry
        self._degrades = degrades

    def run(
        self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Run the layers. Not a `__call__`, which would cost two more bare awaits."""
        measurements: Measurements | None = self._registry.measurements
        if measurements is None:
            handler = self.handler  # a local variable, because Python calls a variable faster than a slot
            return handler(fn, instance, args, kwargs)
        return self._timed(measurements, fn, instance, args, kwargs)

    async def _timed(self, measurements: Measurements, fn: Callable[..., Any], *call: Any) -> Any:
        """Add the duration of the whole call; for a stream, until its first item with content."""
        now, flag = self._registry.clock.now, DegradedFlag()
        started = fn.started if isinstance(fn, StartedCall) else now()
        try:
            if self._degrades:
                with flagged(flag):
                    result = await self.handler(fn, *call)
            else:
                result = await self.handler(fn, *call)
        except Exception:
            measurements.add(Series(CALL, self._call_site, outcome="failed"), now() - started)
            raise
        outcome = "degraded" if flag.degraded else "ok"
        measurements.add(Series(CALL, self._call_site, outcome=outcome), now() - started)
        return result
