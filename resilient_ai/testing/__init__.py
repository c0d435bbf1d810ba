"""Parts for tests: virtual time, a scripted provider on loopback, captured events, a registry of one's own."""

from ._clock import VirtualClock
from ._registry import capture_events, isolated_registry

__all__ = ["VirtualClock", "capture_events", "isolated_registry"]
