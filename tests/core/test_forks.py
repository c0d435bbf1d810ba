"""A forked child starts with free locks, no calls in flight and a chance of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
ROOT = Path(__file__).parents[2]

CHILD = """
import asyncio, os, select, signal, threading
from resilient_ai import *

def in_child(call, seconds=20):
    ready, done = os.pipe()
    if (pid := os.fork()) == 0:
        signal.alarm(seconds)
        asyncio._set_running_loop(None)
        os.write(done, repr(call()).encode())
        os._exit(0)
    os.close(done)
    said = os.read(ready, 1000).decode()
    os.close(ready)
    assert os.waitpid(pid, 0)[1] == 0, "the child hangs"
    return said
"""


def run(code):
    script = CHILD + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "policy",
    [
        "circuit_breaker(failure_threshold=10**9, registry=registry)",
        "classified_retry(max_attempts=1, reraise=True, registry=registry)",
        "degrade_to(lambda call: NO_ANSWER, registry=registry)",
        "degrade_to(memory, lambda call: NO_ANSWER, registry=registry)",
        "adaptive_limit(registry=registry)",
        "rate_limit(requests_per_minute=6e6, tokens_per_minute=6e9, registry=registry)",
        "spend_limit(usd_per_hour=1e9, registry=registry)",
        "circuit_breaker(key=lambda: 1, failure_threshold=10**9, registry=registry)",
    ],
)
def test_a_child_that_is_forked_while_threads_are_busy_can_make_calls(policy):
    said = run(
        f"""
        registry, stop, memory = Registry(listeners=()), threading.Event(), LastAnswer()

        @{policy}
        async def ask():
            raise ConnectionError("refused")

        async def often(times):
            while times and not stop.is_set():
                times -= 1
                try: await ask()
                except (ConnectionError, ResilienceError): pass
            return "done"

        asyncio.run(often(1))  # what is imported at first use: a fork within an import hangs in Python itself
        threads = [threading.Thread(target=lambda: asyncio.run(often(-1)), daemon=True) for _ in range(3)]
        for each in threads: each.start()
        print({{in_child(lambda: asyncio.run(often(3))) for _ in range(15)}})
        stop.set()
        for each in threads: each.join()
        """
    )

    assert said == ["{\"'done'\"}"]


def test_calls_of_the_parent_are_not_in_flight_in_the_child():
    said = run(
        """
        registry = Registry(listeners=())

        @adaptive_limit("l", initial=2, min_limit=2, max_limit=2, registry=registry)
        @failover(Endpoint("us"), name="f", strategy="least_latency", registry=registry)
        async def ask(endpoint):
            await asyncio.sleep(0.05)
            return 7

        async def main():
            calls = [asyncio.ensure_future(ask()) for _ in range(5)]
            await asyncio.sleep(0.02)
            stats = registry.limits["l"].stats
            print(stats().in_flight, registry.endpoints["us"].stats().in_flight)
            print(in_child(lambda: (stats().in_flight, stats().waiting, registry.endpoints["us"].stats().in_flight)))
            print(in_child(lambda: asyncio.run(ask())))
            print(await asyncio.gather(*calls))

        asyncio.run(main())
        """
    )

    assert " ".join(said) == "2 2 (0, 0, 0) 7 [7, 7, 7, 7, 7]"


def test_a_probe_of_the_parent_takes_no_slot_in_the_child():
    said = run(
        """
        registry = Registry(listeners=())

        @circuit_breaker("c", failure_threshold=1, recovery_timeout=0.01, success_threshold=1, registry=registry)
        async def ask(seconds=0.0, error=None):
            await asyncio.sleep(seconds)
            if error: raise error
            return 7

        async def main():
            try: await ask(error=ConnectionError())
            except ConnectionError: pass
            await asyncio.sleep(0.02)
            probe = asyncio.ensure_future(ask(0.1))
            await asyncio.sleep(0.01)
            print(registry.circuit_breakers["c"].state.value)
            print(in_child(lambda: asyncio.run(ask())), await probe)

        asyncio.run(main())
        """
    )

    assert said == ["half_open", "7", "7"]


def test_a_fork_within_a_running_loop_leaves_the_child_to_its_own_loop():
    """As a process pool does that is used from async code: a time limit and a batch belong to the loop of the child."""
    said = run(
        """
        registry = Registry(listeners=())

        @circuit_breaker("forked limit", timeout_seconds=0.05, registry=registry)
        async def ask(seconds):
            await asyncio.sleep(seconds)

        @batched("forked batch", batch_size=2, batch_timeout=0.01, registry=registry)
        async def embed(texts):
            return texts

        async def call():
            try: await ask(60)
            except CallTimeoutError: return await embed("late")

        async def main():
            await call()
            waiting = asyncio.ensure_future(embed("parent"))
            await asyncio.sleep(0)
            print(in_child(lambda: asyncio.run(call())), await waiting)

        asyncio.run(main())
        """
    )

    assert said == ["'late'", "parent"]


def test_every_child_has_a_chance_of_its_own_and_a_given_one_repeats():
    said = run(
        """
        import random
        own, given = Registry(listeners=()), Registry(listeners=(), rng=random.Random(1))
        print(len({in_child(own.rng.random) for _ in range(3)}), len({in_child(given.rng.random) for _ in range(3)}))
        """
    )

    assert said == ["3", "1"]


def test_what_was_learnt_stays_in_the_child():
    said = run(
        """
        registry = Registry(listeners=())

        @circuit_breaker("c", registry=registry)
        async def ask():
            return 1

        asyncio.run(ask())
        print(in_child(lambda: registry.circuit_breakers["c"].stats().total_calls))
        """
    )

    assert said == ["1"]


GATES = """
import asyncio, os, signal, sqlite3, structlog, tempfile, tenacity, threading, uuid, wrapt
import anyio, anyio._backends._asyncio, anyio.to_thread, numpy

held, go, left, here = threading.Event(), threading.Event(), [0], threading.local()

class Gate:
    # A lock; whoever is to hold one stays in the n-th lock that it comes to, with the lock held.
    def __init__(self, make):
        self.lock = make()

    def __getattr__(self, name):  # what a condition asks of its lock
        return getattr(self.lock, name)

    def acquire(self, blocking=True, timeout=-1):
        got = self.lock.acquire(blocking, timeout)
        if got and getattr(here, "holds", False):
            left[0] -= 1
            if left[0] == 0:
                held.set()
                go.wait()
        return got

    def release(self):
        self.lock.release()

    __enter__ = acquire

    def __exit__(self, *_error):
        self.release()

threading.RLock = lambda make=threading.RLock: Gate(make)
threading.Lock = lambda make=threading.Lock: Gate(make)
"""


@pytest.mark.parametrize(
    "policy",
    [
        "circuit_breaker(failure_threshold=10**9, registry=registry)",
        "circuit_breaker(key=lambda item: item, failure_threshold=10**9, registry=registry)",
        "classified_retry(max_attempts=1, reraise=True, registry=registry)",
        "degrade_to(LastAnswer(), lambda call: NO_ANSWER, registry=registry)",
        "adaptive_limit(registry=registry)",
    ],
)
def test_a_child_that_is_forked_while_any_lock_of_the_package_is_held_can_make_calls(policy):
    """Deterministic: the fork comes while another thread holds the first lock, then the second one, and so on."""
    script = (
        GATES
        + CHILD
        + textwrap.dedent(
            f"""
        registry, numbers = Registry(listeners=()), iter(range(10**6))

        @{policy}
        async def ask(item):
            if item % 2: raise ConnectionError("refused")
            return item

        async def twice(first):
            for item in (first, first + 1):
                try: await ask(item)
                except (ConnectionError, ResilienceError): pass
            return "done"

        async def hold(first):
            here.holds = True
            await twice(first)
            here.holds = False

        asyncio.run(twice(0))
        for nth in range(1, 100):
            held.clear(); go.clear()
            left[0] = nth
            holder = threading.Thread(target=lambda: asyncio.run(hold(10 * nth)), daemon=True)
            holder.start()
            while holder.is_alive() and not held.wait(0.01): pass
            over = not held.is_set()
            said = in_child(lambda: asyncio.run(twice(10 * nth + 5)))
            assert said == "'done'", said
            go.set()
            holder.join()
            if over: break
        print(nth)
        """
        )
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2  # it came to some locks


def test_a_child_has_the_settings_of_its_parent_and_can_change_its_own():
    said = run(
        """
        registry = Registry(listeners=())
        stop, changing = threading.Event(), threading.Event()

        @circuit_breaker("ask", failure_threshold=3, registry=registry)
        async def ask(): ...

        def change(value):
            registry.configure({"ask": {"circuit_breaker": {"failure_threshold": value}}})

        def threshold():
            return describe(ask).layers[0].settings["failure_threshold"]

        def often():
            while not stop.is_set():
                change(8)
                registry.unset()
                changing.set()

        def child():
            change(9)
            return threshold()

        def children():
            return {in_child(child) for _ in range(10)}

        other = threading.Thread(target=often)
        other.start()
        changing.wait()
        busy = children()
        stop.set()
        other.join()
        change(7)
        print(busy, in_child(threshold), threshold())
        """
    )

    assert said == ["{'9'}", "7", "7"]
