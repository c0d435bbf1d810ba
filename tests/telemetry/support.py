"""Exporters that keep what they are given, and functions to look at it."""

from __future__ import annotations

import contextlib
from collections import defaultdict

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from resilient_ai import (
    Endpoint,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.telemetry import collector, instrument

US, EU = Endpoint("us", model="small", provider="acme"), Endpoint("eu")


async def calls(ask, *arguments) -> None:
    """Each call after the other, whatever it raises."""
    for each in arguments:
        with contextlib.suppress(Exception):
            await ask(each)


def stack(registry, fn, **breaker):
    """All five policies and a limit, around a function of an endpoint and a text."""
    breaker = {"failure_threshold": 2, **breaker}
    ask = circuit_breaker("ask", registry=registry, **breaker)(fn)
    ask = adaptive_limit("ask", registry=registry)(ask)
    ask = failover(US, EU, name="ask", strategy="priority", registry=registry)(ask)
    ask = classified_retry("ask", max_attempts=1, registry=registry)(ask)
    return degrade_to("sorry", name="ask", registry=registry)(ask)


def batch(registry):
    @batched(batch_size=2, batch_timeout=0.01, name="embed", registry=registry)
    async def embed(texts):
        return texts

    return embed


class Prometheus:
    """A scrape of a registry, as numbers by series."""

    def __init__(self, registry) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(collector(registry))

    def families(self) -> dict[str, str]:
        return {family.name: family.type for family in self.registry.collect()}

    def scrape(self) -> dict[str, dict[tuple[str, ...], float]]:
        found = defaultdict(dict)
        for family in self.registry.collect():
            for sample in family.samples:
                found[sample.name.removeprefix("resilient_ai_")][tuple(sample.labels.values())] = sample.value
        return found


class PatientReader(InMemoryMetricReader):
    """Waits a minute for the numbers, instead of ten seconds: a busy machine is slow to count 1,600 endpoints."""

    def collect(self, timeout_millis=60_000):
        super().collect(timeout_millis)


class OpenTelemetry:
    """What an instrumented registry has told OpenTelemetry."""

    def __init__(self, registry, **choices) -> None:
        self._spans, self._reader = InMemorySpanExporter(), PatientReader()
        self.tracers, self._meters = TracerProvider(shutdown_on_exit=False), None
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.off = instrument(registry, tracer_provider=self.tracers, meter_provider=self._meters, **choices)

    @property
    def spans(self):
        return self._spans.get_finished_spans()

    def tree(self) -> list[str]:
        """Each span after its parent, two blanks deeper, in the order in which they began."""
        children = defaultdict(list)
        for span in sorted(self.spans, key=lambda span: (span.start_time, -span.end_time)):
            children[span.parent.span_id if span.parent else None].append(span)
        return list(self._lines(children, None, ""))

    def _lines(self, children, parent, indent):
        for span in children[parent]:
            error = span.attributes.get("error.type")
            yield f"{indent}{span.name}{f' {error}' if error else ''}"
            yield from self._lines(children, span.context.span_id, indent + "  ")

    def metrics(self):
        """By name: the metric's unit, and its points by attributes."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: (metric.unit, {tuple(point.attributes.values()): point for point in metric.data.data_points})
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
