"""
Metrics and spans of a registry, for OpenTelemetry and Prometheus.

    off = instrument(registry)                                # OpenTelemetry; extra `otel`
    prometheus_client.REGISTRY.register(collector(registry))  # Prometheus; extra `prometheus`

Metrics are read from the registry when somebody collects them; a good call pays nothing for them. Spans cost what spans
cost, and only the functions of an instrumented registry pay. Neither ever carries an error's text, a prompt, an answer
or a key.
"""

from ._collector import collector
from ._instrument import instrument

__all__ = ["collector", "instrument"]
