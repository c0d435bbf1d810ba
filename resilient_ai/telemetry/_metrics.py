"""OpenTelemetry's metrics: instruments that are read at each collection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from resilient_ai._core.forks import start_over_after_fork

from ._families import FAMILIES, Family
from ._reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from resilient_ai._core.measurements import Histogram
    from resilient_ai._registry import Registry

    from ._reading import Labels, Numbers


def observe(registry: Registry, provider: MeterProvider | None) -> Callable[[], None]:
    """Export metrics until the returned function is called."""
    meter = metrics.get_meter("resilient_ai", meter_provider=provider)
    look = _Look(registry, meter)
    for family in FAMILIES:
        if family.kind == "counter":
            meter.create_observable_counter(family.otel_name, [look.at(family)], family.unit, family.text)
        elif family.kind == "gauge":
            meter.create_observable_gauge(family.otel_name, [look.at(family)], family.unit, family.text)
    return look.close


class _Look:
    """The source of all instruments, which reads the registry once for each collection."""

    def __init__(self, registry: Registry, meter: metrics.Meter) -> None:
        self._reading: Reading | None = Reading(registry)
        # One reading serves all instruments of a collection: a new collection has begun when an instrument is read
        # again.
        self._asked: set[str] | None = None
        self._numbers: Numbers = {}
        self._after_fork()
        start_over_after_fork(self)
        self._told: dict[tuple[str, Labels], Histogram] = {}
        self._histograms = {
            family.name: meter.create_histogram(
                family.otel_name, family.unit, family.text, explicit_bucket_boundaries_advisory=family.bounds
            )
            for family in FAMILIES
            if family.kind == "histogram"
        }

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def close(self) -> None:
        """Export nothing from now on; OpenTelemetry cannot remove an instrument."""
        with self._lock:
            reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def at(self, family: Family) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """The callback with the numbers of one metric."""

        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            for labels, number in self._shown_to(family.name).get(family.name, {}).items():
                yield Observation(number, _attributes(family.labels, labels))

        return observed

    def _shown_to(self, instrument: str) -> Numbers:
        with self._lock:
            if self._reading is None:
                return {}
            if self._asked is None or instrument in self._asked:
                self._asked, self._numbers = set(), self._reading.numbers()
                self._tell_durations(self._reading)
            self._asked.add(instrument)
            return self._numbers

    def _tell_durations(self, reading: Reading) -> None:
        # OpenTelemetry takes values, not buckets. The mean of a bucket, once for each value, gives the same count and
        # sum in that bucket.
        shown = reading.histograms()
        for family in FAMILIES:
            for labels, histogram in shown.get(family.name, {}).items():
                told = self._told.get((family.name, labels))
                self._told[family.name, labels] = histogram
                attributes, record = _attributes(family.labels, labels), self._histograms[family.name].record
                for bucket, count in enumerate(histogram.counts):
                    many = count - (told.counts[bucket] if told is not None else 0)
                    if many > 0:
                        mean = (histogram.sums[bucket] - (told.sums[bucket] if told is not None else 0.0)) / many
                        for _ in range(many):
                            record(_within(mean, bucket, histogram), attributes)


def _within(value: float, bucket: int, histogram: Histogram) -> float:
    """A mean, corrected if rounding has put it into another bucket."""
    bounds = histogram.bounds
    return min(value, bounds[bucket]) if bucket < len(bounds) else value


def _attributes(names: tuple[str, ...], labels: Labels) -> dict[str, Any]:
    return {name: label for name, label in zip(names, labels, strict=True) if label}
