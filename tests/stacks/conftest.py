"""Two providers on loopback."""

from __future__ import annotations

import pytest

from resilient_ai.testing import FakeProvider


@pytest.fixture
def us():
    with FakeProvider("us") as provider:
        yield provider


@pytest.fixture
def eu():
    with FakeProvider("eu") as provider:
        yield provider
