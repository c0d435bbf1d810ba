"""Tools for tests: virtual time, a scripted provider on loopback, captured events, an isolated registry."""

from ._apis.answers import FakeAnswer
from ._chaos import InjectedError, chaos
from ._clock import VirtualClock
from ._faults import Fault, fault_names
from ._provider import FakeProvider
from ._received import Received
from ._registry import capture_events, isolated_registry
from ._trouble import Outage

__all__ = [
    "FakeAnswer",
    "FakeProvider",
    "Fault",
    "InjectedError",
    "Outage",
    "Received",
    "VirtualClock",
    "capture_events",
    "chaos",
    "fault_names",
    "isolated_registry",
]
