"""What a registry leaves behind in its process when it has left a fleet, whatever became of the server meanwhile."""

from __future__ import annotations

import gc
import os
import sys

import anyio
import pytest

from resilient_ai import Endpoint, failover, rate_limit
from tests.fleet.support import LITTER, until, worker
from tests.fleet.test_drills import store
from tests.helpers import scripted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts what the kernel has open for a process"),
    *LITTER,
]

TROUBLES = {
    "none": lambda running: None,
    "killed": lambda running: running.kill(),
    "frozen": lambda running: running.freeze(),
    "out of memory": lambda running: running.ask("CONFIG", "SET", "maxmemory", "1"),
    "no rights on channels": lambda running: running.ask("ACL", "SETUSER", "default", "resetchannels"),
}


def sockets():
    """The sockets of this process."""
    gc.collect()
    links = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    return {each for each in map(target, links) if each.startswith("socket:")}


def target(link):
    try:
        return os.readlink(link)
    except FileNotFoundError:  # the folder itself, while it was listed
        return ""


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_who_has_left_has_no_task_and_no_socket(running, trouble):
    registry = worker()

    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    async def ask(endpoint):
        return "pong"

    limited = rate_limit("quota", requests_per_minute=6_000, registry=registry)(scripted("pong"))
    tasks, before = len(anyio.get_running_tasks()), sockets()
    async with registry.join(store(running)):
        await until(lambda: registry.fleet.connected)
        await ask()
        await limited()
        during = len(anyio.get_running_tasks()), sockets() - before
        TROUBLES[trouble](running)
        if trouble in ("killed", "frozen", "out of memory"):
            await until(lambda: not registry.fleet.connected)
            await anyio.sleep(0.5)  # attempts to connect again
    await anyio.lowlevel.checkpoint()

    assert during[0] > tasks
    assert during[1]
    assert len(anyio.get_running_tasks()) == tasks
    assert sockets() <= before
