"""
Metrics and spans of a registry, for OpenTelemetry and Prometheus.

    off = instrument(registry)                                # OpenTelemetry; extra `otel`
    prometheus_client.REGISTRY.register(collector(registry))  # Prometheus; extra `prometheus`

Metrics are read from the registry when they are collected, and cost good calls nothing. Spans have their usual cost,
for functions of an instrumented registry only. Neither ever contains an error's text, a prompt, an answer or a key.
"""

from ._collector import collector
from ._instrument import instrument

__all__ = ["collector", "instrument"]
