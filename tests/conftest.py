"""Both backends for every async test, and virtual time."""

from __future__ import annotations

import gc
import os
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from resilient_ai import Registry
from resilient_ai._core import callables
from resilient_ai.testing import VirtualClock, capture_events
from tests.helpers import errors_mean_what_they_say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_ai.events import Event

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("full", max_examples=200, deadline=None, print_blob=True)  # what .ci/run takes
settings.register_profile("deep", max_examples=2_000, deadline=None)
settings.load_profile("quick")

# No test leaves this machine. Reading the certificates of all authorities takes 30 ms for each client that is built.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "nobodys_certificate.pem")
# Workers and child processes compile what they import once, also where the environment says to keep no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers() -> int:
    """
    Two processes more than there are processors, since many tests wait: for a server, a child, a thread or a socket.

    Three on two processors left a fifth of their time unused; a process costs 9 s to start.
    """
    return (os.cpu_count() or 1) + 2


MEMORY = Path("/dev/shm")  # a file system in memory, on Linux


def pytest_configure() -> None:
    """Keep the files of tests in memory where there is room: a database on a disk waits 3 ms for it at each commit."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    spare_what_was_imported()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Some SDKs are imported by the first test that needs them."""
    if len(sys.modules) > modules + 50:
        spare_what_was_imported()


modules = 0  # as many as the cycle collector is spared


def spare_what_was_imported() -> None:
    """Spare the cycle collector all that was imported: looking through the SDKs takes it 0.3 s each time."""
    global modules
    modules = len(sys.modules)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """A test that configures structlog, be it to capture what is logged, does so for itself alone."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(autouse=True)
def names_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is the same in every order of the tests: the first module that uses it has it to itself."""
    monkeypatch.setattr(callables, "_homes", {})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def registry(clock: VirtualClock) -> Registry:
    """A registry of the test's own: virtual time, repeatable chance, no log lines."""
    return Registry(clock=clock, rng=random.Random(1), listeners=())


@pytest.fixture
def provider_errors() -> Iterator[None]:
    """A `ProviderError` is classified as what it says."""
    with errors_mean_what_they_say():
        yield


@pytest.fixture
def events(registry: Registry) -> Iterator[list[Event]]:
    with capture_events(registry) as seen:
        yield seen
