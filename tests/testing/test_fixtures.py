"""Fixtures that pytest finds by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resilient_ai import circuit_breaker
from resilient_ai.testing import capture_events, isolated_registry


async def test_inside_an_isolated_registry_decorators_use_that_one():
    with isolated_registry() as registry, capture_events() as events:

        @circuit_breaker("inside", failure_threshold=1)
        async def ask() -> None:
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await ask()

        assert list(registry.circuit_breakers) == ["inside"]
    assert [event.name for event in events] == ["inside"]


FIXTURES = """
import pytest, httpx2
from resilient_ai import circuit_breaker, registry

pytestmark = pytest.mark.anyio

async def test_fixtures(fake_provider, virtual_clock, captured_events, resilient_registry):
    @circuit_breaker(failure_threshold=1, recovery_timeout=60)
    async def ask():
        async with httpx2.AsyncClient() as client:
            reply = await client.post(f"{fake_provider.url}/complete", json={"prompt": "hi"})
            return reply.raise_for_status().json()["content"]

    fake_provider.script(503)
    with pytest.raises(httpx2.HTTPStatusError):
        await ask()
    virtual_clock.advance(60)
    assert await ask() == "[fake] hi"
    assert [type(event).__name__ for event in captured_events] == ["CircuitOpened", "CircuitHalfOpened"]
    assert "ask" in repr(resilient_registry)
    assert "ask" not in repr(registry)
"""


def test_the_plugin_gives_fixtures_and_costs_nothing_until_one_is_used(tmp_path):
    (tmp_path / "test_it.py").write_text(FIXTURES)
    pytest_ = [sys.executable, "-m", "pytest", "-p", "_resilient_ai_pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*pytest_, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path)
    cost = subprocess.run(
        [sys.executable, "-c", "import sys, _resilient_ai_pytest; sys.exit('resilient_ai' in sys.modules)"], check=False
    )

    assert "2 passed" in done.stdout or "3 passed" in done.stdout, done.stdout
    assert cost.returncode == 0
