"""A real server, the network before it, and what coredis leaves behind when the server goes."""

from __future__ import annotations

import gc

import pytest

from tests.fleet.proxy import Proxy
from tests.fleet.support import server


@pytest.fixture
def litter():
    """coredis leaves streams of its own unclosed when its server goes; they are collected here, where that is known."""
    yield
    gc.collect()


@pytest.fixture
def running():
    with server() as each:
        yield each


@pytest.fixture
def proxy(running):
    each = Proxy(running.port)
    yield each
    each.close()
