"""The three ways to call a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plain.support import Caller

if TYPE_CHECKING:
    from resilient_ai.testing import VirtualClock


@pytest.fixture(params=["asyncio", "trio", "threads"])
def caller(request: pytest.FixtureRequest, clock: VirtualClock) -> Caller:
    return Caller(request.param, clock)
