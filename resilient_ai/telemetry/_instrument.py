"""OpenTelemetry: switch metrics and spans of a registry on and off."""

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
    Export metrics and spans of a registry's functions, including those decorated later.

    One span per call, and below it one per attempt, which is the parent of spans from an SDK's own instrumentation.
    Spans and metrics contain names, numbers and error types, never an error's text.

    Args:
        registry: The registry.
        spans: Whether to make spans. They cost time in each call, sampled or not. Default True.
        metrics: Whether to export metrics, which cost good calls nothing. Default True.
        tracer_provider: Default: the global one.
        meter_provider: Default: the global one.

    Returns:
        A function that switches it off again; calls in flight end as they began.

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
