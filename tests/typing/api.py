"""Checked by mypy and pyright, never run: what users see."""

from typing import assert_type

from resilient_ai import CircuitState, ErrorType, Verdict, classify, registry
from resilient_ai.events import SettingsChanged
from resilient_ai.types import AdaptiveLimit, CircuitBreaker, Degradation, EndpointHandle, Failover, Setting, Settings

assert_type(classify(ValueError()), Verdict)
assert_type(classify(ValueError()).error_type, ErrorType)

assert_type(registry.configure({"ask": {"circuit_breaker": {"failure_threshold": 8}}}), list[SettingsChanged])
assert_type(registry.load("resilience.toml", strict=True), list[SettingsChanged])
assert_type(registry.unset("ask"), list[SettingsChanged])
assert_type(registry.settings, Settings)
assert_type(registry.settings[0], Setting)
registry.configure({"ask": {"circuit_breaker": 8}})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
assert_type(registry.circuit_breakers["openai"], CircuitBreaker)
assert_type(registry.circuit_breakers["openai"].state, CircuitState)
assert_type(registry.limits["openai"], AdaptiveLimit)
assert_type(registry.failovers["openai"], Failover)
assert_type(registry.endpoints["openai"], EndpointHandle)
assert_type(registry.degradations["openai"], Degradation)
assert_type(registry.batches["openai"].stats().total_batches, int)
assert_type(registry.retries["openai"].stats().error_counts, dict[str, int])
