"""
The pytest plugin: fixtures from `resilient_ai.testing`.

pytest imports plugins at every start, even in projects that never use them. So the wheel contains a copy of this file
next to the package, which imports the package only when a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai import Registry
    from resilient_ai._core.events import Event
    from resilient_ai.testing import FakeProvider, VirtualClock


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that moves only when told to; the clock of `resilient_registry`."""
    from resilient_ai.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def resilient_registry(virtual_clock: VirtualClock) -> Iterator[Registry]:
    """A registry for one test, which decorators without `registry=` use during the test."""
    from resilient_ai.testing import isolated_registry

    with isolated_registry(clock=virtual_clock) as registry:
        yield registry


@pytest.fixture
def captured_events(resilient_registry: Registry) -> Iterator[list[Event]]:
    """The events of `resilient_registry`, as they happen."""
    from resilient_ai.testing import capture_events

    with capture_events(resilient_registry) as events:
        yield events


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A provider on loopback that answers like OpenAI, Anthropic and Google, with scripted faults."""
    from resilient_ai.testing import FakeProvider

    with FakeProvider() as provider:
        yield provider
