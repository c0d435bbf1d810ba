"""
The pytest plugin: fixtures from `resilient_ai.testing`.

pytest imports plugins at every start, in projects that never use them too. So the wheel holds a copy of this file
beside the package, which imports nothing of it until a fixture is asked for.
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
    """A clock that stands still until it is told to move; `resilient_registry` goes by it."""
    from resilient_ai.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def resilient_registry(virtual_clock: VirtualClock) -> Iterator[Registry]:
    """A registry of the test's own, that decorators without `registry=` use during the test."""
    from resilient_ai.testing import isolated_registry

    with isolated_registry(clock=virtual_clock) as registry:
        yield registry


@pytest.fixture
def captured_events(resilient_registry: Registry) -> Iterator[list[Event]]:
    """What happened in `resilient_registry`, as it happens."""
    from resilient_ai.testing import capture_events

    with capture_events(resilient_registry) as events:
        yield events


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A provider on loopback that answers like OpenAI, Anthropic and Google, and fails when it is told."""
    from resilient_ai.testing import FakeProvider

    with FakeProvider() as provider:
        yield provider
