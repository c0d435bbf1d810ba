"""Loops that end, and threads that share a batched function."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its own ways to cancel are what is tested
import gc
import subprocess
import sys
import threading
import weakref

import anyio
import anyio.lowlevel
import pytest
import trio

from resilient_ai import Registry, batched
from resilient_ai.testing import VirtualClock
from tests.batched.support import Scene, scene_in_real_time


def test_one_function_works_in_loops_after_one_another_on_any_backend(anyio_backend):
    scene = scene_in_real_time(batch_size=2, batch_timeout=0.001)

    async def main():
        scene.gate = anyio.Event()
        scene.gate.set()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                await scene.start(tasks, *"abc")

    for backend in (anyio_backend, "trio", "asyncio", anyio_backend):
        anyio.run(main, backend=backend)

    assert scene.is_idle()
    assert scene.stats.total_requests == 12


@pytest.mark.parametrize("waiting", [1, 2])
@pytest.mark.parametrize("in_flight", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_loop_closed_with_callers_waiting_takes_them_along_and_the_next_starts_afresh(waiting, in_flight, kept):
    scene = scene_in_real_time(batch_size=2 if in_flight else 5, batch_timeout=60)

    async def leave_waiting():
        scene.gate = anyio.Event()
        return [asyncio.ensure_future(scene.send(item)) for item in "ab"[:waiting]], await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending!"
    left = loop.run_until_complete(leave_waiting())
    loop.close()
    if not kept:
        del left, loop
        gc.collect()

    items = "vwxyz"[: 2 if in_flight else 5]

    async def main():
        scene.gate = anyio.Event()
        scene.gate.set()
        return await asyncio.wait_for(asyncio.gather(*(scene.send(item) for item in items)), 5)

    assert scene.stats.queue_size == scene.stats.in_flight == 0
    assert asyncio.run(main()) == [f"<{item}>" for item in items]


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio"), ("trio", "trio")])
def test_threads_with_a_loop_each_share_the_numbers_and_never_a_batch(backends):
    registry = Registry(listeners=())
    threads_seen = []

    @batched("shared", batch_size=7, batch_timeout=0.001, max_queue_size=10_000, registry=registry)
    async def send(items: list[tuple[int, int]]) -> list[tuple[int, int]]:
        threads_seen.append({thread for thread, _ in items})
        await anyio.lowlevel.checkpoint()
        return items

    wrong = []

    def work(number, backend):
        async def call(item):
            if await send((number, item)) != (number, item):
                wrong.append(item)

        async def main():
            for start in range(0, 2000, 100):
                async with anyio.create_task_group() as tasks:
                    for item in range(start, start + 100):
                        tasks.start_soon(call, item)

        anyio.run(main, backend=backend)

    threads = [threading.Thread(target=work, args=each) for each in enumerate(backends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stats = registry.batches["shared"].stats()

    assert wrong == []
    assert all(len(seen) == 1 for seen in threads_seen)
    assert (stats.total_requests, stats.ok, stats.total_batches) == (4000, 4000, len(threads_seen))
    assert stats.avg_batch_size * stats.total_batches == pytest.approx(4000)
    assert not stats.is_running


@pytest.mark.parametrize("stage", ["no lowlevel yet", "an empty lowlevel"])
def test_a_caller_on_asyncio_is_served_while_another_thread_is_at_importing_trio(stage):
    script = f"""
import asyncio, sys, types
from resilient_ai import Registry, batched

half = sys.modules["trio"] = types.ModuleType("trio")
if {stage!r} == "an empty lowlevel":
    half.lowlevel = types.ModuleType("trio.lowlevel")

@batched(registry=Registry(listeners=()))
async def send(items):
    return items

print(asyncio.run(send("a")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("a\n", "")


def test_in_trio_guest_mode_each_caller_is_served_by_its_own_loop():
    """An asyncio loop runs below trio's, and both have callers."""
    registry = Registry(listeners=())

    @batched("guest", batch_size=2, batch_timeout=0.01, registry=registry)
    async def send(items: list[str]) -> list[str]:
        return [f"{item} on {'trio' if trio.lowlevel.in_trio_task() else 'asyncio'}" for item in items]

    async def guest():
        results = {}

        async def call(item):
            results[item] = await send(item)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "a")
            nursery.start_soon(call, "b")
        return results

    async def host():
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended.set_result
        )
        own = await asyncio.gather(send("c"), send("d"))
        return (await ended).unwrap(), own

    assert asyncio.run(host()) == ({"a": "a on trio", "b": "b on trio"}, ["c on asyncio", "d on asyncio"])


def test_a_batcher_keeps_no_finished_loop_alive():
    scene = scene_in_real_time(batch_size=2, batch_timeout=0)
    loops = []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        scene.gate = anyio.Event()
        scene.gate.set()
        await asyncio.gather(*(scene.send(item) for item in "abc"))

    for _ in range(3):
        asyncio.run(main())
    scene.gate = None
    gc.collect()

    assert [loop() for loop in loops[:-1]] == [None, None]
    assert scene.stats.total_requests == 9


def test_virtual_time_decides_the_windows_on_both_backends(anyio_backend):
    async def main():
        clock = VirtualClock()
        scene = Scene(Registry(clock=clock, listeners=()), batch_size=10, batch_timeout=3600)
        scene.gate.set()
        async with clock.autojump(), anyio.create_task_group() as tasks:
            for item in "ab":
                tasks.start_soon(scene.send, item)
        assert clock.now() == 3600
        assert [sorted(call) for call in scene.calls] == [["a", "b"]]

    anyio.run(main, backend=anyio_backend)
