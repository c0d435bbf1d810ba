"""A child that is forked inside a block is in no fleet, says so, and leaves the block at once; its parent stays."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .support import server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
ROOT = Path(__file__).parents[2]

BEFORE = """
import gc, os, signal, sys, time
import anyio
from resilient_ai import Registry
from resilient_ai.redis import RedisStore
from resilient_ai.types import FleetStats

class Store:
    namespace, share, goodbyes = "prod", ("circuits", "facts", "rate_limits"), 0

    def check(self, *, in_thread):
        pass

    async def run(self, membership):
        left = anyio.Event()
        membership.wake_with(lambda: left.set() if membership.leaving else None)
        await left.wait()
        type(self).goodbyes += 1

def fork():
    if (pid := os.fork()) == 0:
        signal.alarm(30)  # the child ends by a signal if anything in it waits for what it does not have
    return pid

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait_for(pid):
    say("child", os.waitpid(pid, 0)[1])

registry = Registry(listeners=())
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BEFORE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_child_leaves_a_plain_block_at_once_and_its_parent_says_goodbye():
    said = run(
        """
        with registry.join(Store()) as fleet:
            if (pid := fork()) == 0:
                say(registry.fleet == fleet.stats() == FleetStats(), registry.workers, fleet)
        say("in the child" if pid == 0 else "in the parent", registry.fleet.joined, Store.goodbyes)
        if pid: wait_for(pid)
        """
    )

    child = [
        "True 1 <Fleet not joined: this process was forked from one that had joined; join again here>",
        "in the child False 0",
    ]
    assert sorted(said) == sorted([*child, "in the parent False 1", "child 0"])


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "del join, fleet; gc.collect(); sys.exit(0)"])
def test_a_child_ends_although_it_never_leaves_the_block(end):
    said = run(
        f"""
        join = registry.join(Store())
        fleet = join.__enter__()
        if (pid := fork()) == 0:
            {end}
        wait_for(pid)
        join.__exit__(None, None, None)
        """
    )

    assert said == ["child 0"]


def test_a_child_can_join_by_itself_inside_its_parents_block():
    said = run(
        """
        with registry.join(Store()) as outer:
            if (pid := fork()) == 0:
                inner = registry.join(Store())
                inner.__enter__()
        if pid == 0:
            say(registry.fleet.joined, outer.stats().joined)
            inner.__exit__(None, None, None)
            say(registry.fleet.joined, Store.goodbyes)
        else:
            wait_for(pid)
        """
    )

    assert said == ["True False", "False 1", "child 0"]


def test_a_child_leaves_an_async_block_without_a_goodbye():
    said = run(  # trio lets a child go on in its parent's event loop; asyncio says there that none is running
        """
        async def main():
            async with registry.join(Store()) as fleet:
                await anyio.sleep(0.01)
                if (pid := fork()) == 0:
                    say(registry.fleet == fleet.stats() == FleetStats())
            say("in the child" if pid == 0 else "in the parent", Store.goodbyes)
            if pid == 0: os._exit(0)
            wait_for(pid)

        anyio.run(main, backend="trio")
        """
    )

    assert sorted(said) == ["True", "child 0", "in the child 0", "in the parent 1"]


def test_a_child_whose_parent_s_thread_was_telling_something_reads_its_numbers():
    said = run(
        """
        with registry.join(Store()) as fleet:
            registry.sharing._lock.acquire()
            from threading import Thread
            codes = []
            def fork_here():
                if (pid := fork()) == 0:
                    os._exit(0 if fleet.stats() == FleetStats() else 1)
                codes.append(os.waitpid(pid, 0)[1])
            forking = Thread(target=fork_here)
            forking.start(); forking.join()
            registry.sharing._lock.release()
            say(codes)
        """
    )

    assert said == ["[0]"]


@pytest.mark.slow
def test_a_parent_stays_connected_to_a_real_server_while_its_children_come_and_go():
    with server() as running:
        said = run(
            f"""
            with registry.join(RedisStore({running.url!r}, namespace="forks", sync_interval=0.1)) as fleet:
                while not fleet.stats().connected: time.sleep(0.01)
                pids = [pid for _ in range(5) if (pid := fork())]
                if len(pids) == 5:
                    for pid in pids: wait_for(pid)
                    before = fleet.stats().commands
                    time.sleep(0.5)
                    stats = fleet.stats()
                    say(stats.connected, stats.last_error, stats.workers, stats.commands > before)
            """
        )

    assert said == ["child 0"] * 5 + ["True None 1 True"]
