"""Prometheus: a collector that reads the registry when it is scraped."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from resilient_ai._core.public import public

from ._extras import need
from ._families import FAMILIES
from ._reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from resilient_ai._core.measurements import Histogram
    from resilient_ai._registry import Registry


@public("telemetry")
def collector(registry: Registry) -> Collector:
    """
    A Prometheus collector for a registry.

    It reads the registry at each scrape, and costs good calls nothing. At most 2,000 series for each metric; circuits
    with keys are added up. Durations are measured from now on, for the rest of the process.

    Args:
        registry: The registry to export.

    Returns:
        A collector for `prometheus_client.REGISTRY.register`.

    Raises:
        ImportError: The extra `prometheus` is not installed.
        RuntimeError: PROMETHEUS_MULTIPROC_DIR is set, with which prometheus_client ignores collectors.
    """
    need("prometheus_client", "prometheus")
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        raise RuntimeError(
            "prometheus_client leaves collectors out while PROMETHEUS_MULTIPROC_DIR is set, so nothing of resilient_ai"
            " would be shown; let each worker answer scrapes on a port of its own, or use instrument() and OTLP"
        )
    return _Collector(Reading(registry))


class _Collector:
    # prometheus_client accepts any object with these two methods.

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not read all states."""
        return []

    def collect(self) -> Iterator[Metric]:
        core = need("prometheus_client.core", "prometheus")
        made: dict[str, Any] = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        numbers, histograms = self._reading.numbers(), self._reading.histograms()
        for family in FAMILIES:
            names = family.prometheus_labels
            if family.kind == "histogram":
                shown = core.HistogramMetricFamily(family.prometheus_name, family.text, labels=names)
                for labels, histogram in histograms.get(family.name, {}).items():
                    shown.add_metric(labels, _buckets(histogram), sum(histogram.sums))
            else:
                shown = made[family.kind](family.prometheus_name, family.text, labels=names)
                for labels, number in numbers.get(family.name, {}).items():
                    shown.add_metric(labels, number)
            yield shown


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = (*map(str, histogram.bounds), "+Inf")
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
