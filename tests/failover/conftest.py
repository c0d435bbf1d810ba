"""Fixtures that several files of this folder need."""

from __future__ import annotations

import pytest

from resilient_ai import failover
from tests.failover.support import Regions


@pytest.fixture
def regions() -> Regions:
    return Regions()


@pytest.fixture
def over(registry, regions):
    """`over(us, eu, strategy=…)`: a failover over the scripted endpoints."""

    def make(*endpoints, **settings):
        async def ask(endpoint, prompt: str = "hi") -> str:
            return await regions(endpoint, prompt)

        return failover(*endpoints, registry=registry, **{"name": "ask", **settings})(ask)

    return make
