"""The page about a user's own tests: its files are a project whose tests pass, and what it says of others is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from resilient_ai import CircuitOpenError, Registry, circuit_breaker, classified_retry, classify
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider
from tests.docs.test_docs import EXAMPLES, FILE, ROOT, blocks_of

# Whatever the order, and beside pytest-asyncio: what a project of a user's has.
CONFTEST = """
import os
import random

def pytest_collection_modifyitems(items):
    random.Random(os.environ["ORDER"]).shuffle(items)  # workers have to agree on it
"""


@pytest.fixture
def project(tmp_path):
    """The files of the page, and what belongs around them."""
    (tmp_path / "app").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / "tests/conftest.py").write_text(CONFTEST)
    for block in blocks_of(EXAMPLES / "testing.md"):
        if (file := FILE.match(block.code)) is not None:
            (tmp_path / file[1]).write_text(block.code)
    return tmp_path


def run_tests(project: Path, *options: str, configuration: str) -> subprocess.CompletedProcess[str]:
    (project / "pytest.ini").write_text(f"[pytest]\n{configuration}\n")
    # This checkout's plugin, not that of whatever is installed.
    plugins = "-p", "no:cacheprovider", "-p", "no:_resilient_ai_pytest", "-p", "resilient_ai.testing._pytest_plugin"
    without = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env={**without, "PYTHONPATH": f"{ROOT}{os.pathsep}{project}", "OPENAI_API_KEY": "none", "ORDER": str(uuid4())},
    )


def assert_pass(done: subprocess.CompletedProcess[str], number: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{number} passed", done.stdout, re.MULTILINE), done.stdout


PROCESSES = pytest.mark.parametrize("processes", ["-n0", pytest.param("-n2", marks=pytest.mark.slow)])


@PROCESSES
def test_the_pages_tests_pass_in_random_order_with_anyios_plugin(project, processes):
    assert_pass(run_tests(project, "-p", "no:asyncio", processes, configuration="anyio_mode = auto"), 12)


@PROCESSES
def test_the_pages_tests_pass_with_pytest_asyncio_in_auto_mode(project, processes):
    pytest.importorskip("pytest_asyncio", reason="needs the extra guides")
    configuration = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"
    assert_pass(run_tests(project, processes, configuration=configuration), 6)


# -- what the table says of other tools


async def _opened(registry):
    @circuit_breaker("ask", failure_threshold=1, recovery_timeout=30, timeout_seconds=None, registry=registry)
    async def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await ask()
    return ask


async def _refusal(ask):
    with pytest.raises(CircuitOpenError) as caught:
        await ask()
    return caught.value


def _told_by_a_date(moment):
    import httpx2
    import openai

    reply = httpx2.Response(429, headers={"retry-after": moment}, request=httpx2.Request("POST", "https://x.example"))
    return classify(openai.RateLimitError("slow down", response=reply, body=None)).retry_after


async def test_freezegun_moves_the_wall_clock_and_no_circuit():
    freezegun = pytest.importorskip("freezegun", reason="needs the extra guides")
    ask = await _opened(Registry(listeners=()))
    with freezegun.freeze_time("2030-01-01") as frozen:
        frozen.tick(3600)
        refusal = await _refusal(ask)

        assert refusal.retry_after == pytest.approx(30, abs=5)
        assert refusal.timestamp.isoformat() == "2030-01-01T01:00:00+00:00"
        assert _told_by_a_date("Tue, 01 Jan 2030 01:00:20 GMT") == 20


async def test_time_machine_moves_the_wall_clock_and_no_circuit():
    time_machine = pytest.importorskip("time_machine", reason="needs the extra guides")
    ask = await _opened(Registry(listeners=()))
    with time_machine.travel("2030-01-01 01:00+00:00", tick=False):
        refusal = await _refusal(ask)

        assert refusal.retry_after == pytest.approx(30, abs=5)
        assert refusal.timestamp.isoformat() == "2030-01-01T01:00:00+00:00"
        assert _told_by_a_date("Tue, 01 Jan 2030 01:00:20 GMT") == 20


async def test_the_virtual_clock_moves_circuits_inside_freezegun(registry, clock):
    freezegun = pytest.importorskip("freezegun", reason="needs the extra guides")
    with freezegun.freeze_time("2030-01-01", real_asyncio=True):
        ask = await _opened(registry)
        assert (await _refusal(ask)).retry_after == 30

        clock.advance(30)
        with pytest.raises(ConnectionError):
            await ask()  # a probe


async def test_respx_answers_for_httpx_and_does_not_see_the_sdks_that_ask_by_httpx2(registry):
    respx = pytest.importorskip("respx", reason="needs the extra guides")
    import httpx

    with FakeProvider() as provider, respx.mock(assert_all_called=False) as router:
        own = router.post(host="models.example").mock(
            side_effect=[httpx.Response(503), httpx.Response(200, text="own")]
        )
        others = router.post(host="127.0.0.1").mock(return_value=httpx.Response(500))

        @classified_retry("own", registry=registry)
        async def ask_by_httpx():
            async with httpx.AsyncClient() as client:
                reply = await client.post("https://models.example/complete")
                reply.raise_for_status()
                return reply.text

        with registry.testing(attempts=2):
            assert await ask_by_httpx() == "own"
        endpoint = OpenAIEndpoint("us", model="gpt-4o-mini", base_url=provider.base_url, api_key="none")
        assert "hello" in await endpoint.complete("hello")
        await endpoint.aclose()

    assert (own.call_count, others.call_count) == (2, 0)
