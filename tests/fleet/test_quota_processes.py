"""A quota that processes share, one of which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute

from tests.fleet.quota_worker import QUOTA
from tests.fleet.support import LITTER
from tests.rate_limit.simulation import Provider, World

pytestmark = [pytest.mark.slow, *LITTER]
ROOT = Path(__file__).parents[2]
WORKERS, RATE = 3, 30.0  # calls a second of each; two of them want more than the quota
AGAIN = 2.0  # seconds after a death within which the others use all of the quota


class CountingProvider:
    """
    Answers each question by how long the caller has to wait, 0 being an answer; holds 1.5 s of its quota.

    Attributes:
        sent: When it answered.
        refused: When it did not.
    """

    def __init__(self):
        self.bucket = Provider(World(1.0, calls=float(QUOTA), tokens=1e9, window=1.5))
        self.began = time.monotonic()
        self.sent, self.refused = [], []

    async def serve(self, line):
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with line:
                while await line.receive(1):
                    now = time.monotonic()
                    wait = self.bucket.ask(1.0, now - self.began, counted=True)
                    (self.sent if wait is None else self.refused).append(now)
                    await line.send(b"%f\n" % (wait or 0.0))

    async def listen(self, *, task_status):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            task_status.started(listener.extra(SocketAttribute.local_port))
            await listener.serve(self.serve)


@contextmanager
def process(environment, backend):
    command = [sys.executable, "-m", "tests.fleet.quota_worker", backend, str(WORKERS), str(RATE)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


async def test_when_one_of_three_processes_is_killed_the_others_soon_use_all_of_the_quota(running, anyio_backend_name):
    provider = CountingProvider()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(provider.listen)
        environment = {**os.environ, "PYTHONPATH": path, "SERVER": running.url, "PROVIDER": str(port)}
        with ExitStack() as stack:
            processes = [stack.enter_context(process(environment, anyio_backend_name)) for _ in range(WORKERS)]
            with anyio.fail_after(60):
                for each in processes:
                    assert await anyio.to_thread.run_sync(each.stdout.readline, abandon_on_cancel=True) == b"joined\n"
            await anyio.sleep(4.0)
            processes[0].kill()  # without a word, with what it has in stock and was promised
            killed = time.monotonic()
            await anyio.sleep(AGAIN + 3.0)
        tasks.cancel_scope.cancel()
    used = sum(killed + AGAIN <= each < killed + AGAIN + 3.0 for each in provider.sent) / (3.0 * QUOTA)
    refused = sum(each >= killed - 3.0 for each in provider.refused)

    assert 0.9 <= used <= 1.1
    assert refused <= 0.01 * (6.0 + AGAIN) * QUOTA
