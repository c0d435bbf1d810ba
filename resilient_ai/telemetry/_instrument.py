"""OpenTelemetry: metrics and spans, switched on for a registry and off again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.public import public

from ._extras import need

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from resilient_ai._registry import Registry


@public("telemetry")
def instrument(
    registry: Registry,
    *,
    spans: bool = True,
    metrics: bool = True,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """
    Tell OpenTelemetry what a registry's functions do, those that are decorated later included.

    One span per call, and below it one per attempt, under which the spans of an SDK's own instrumentation come. Spans
    and metrics carry names, numbers and types of errors, never an error's text.

    Args:
        registry: Whose functions.
        spans: Whether to make spans. They cost each call, sampled or not. Default True.
        metrics: Whether to give metrics; read when the SDK collects them, a good call pays nothing. Default True.
        tracer_provider: Default: the global one.
        meter_provider: Likewise.

    Returns:
        A function that switches it off again; calls under way end as they began.

    Raises:
        ImportError: The extra `otel` is not installed.
    """
    need("opentelemetry.trace", "otel")
    from ._metrics import observe
    from ._spans import trace

    offs: list[Callable[[], None]] = []
    if spans:
        offs.append(trace(registry, tracer_provider))
    if metrics:
        offs.append(observe(registry, meter_provider))

    def off() -> None:
        while offs:
            offs.pop()()

    return off
