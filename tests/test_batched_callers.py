"""Callers of `@batched` who go away, loops that end, threads that share: nobody is hurt, nothing is left behind."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its own ways to cancel are what is tested
import contextvars
import gc
import random
import subprocess
import sys
import threading
import weakref

import anyio
import anyio.lowlevel
import pytest
import trio

from resilient_ai import BatchResultError, ErrorType, Registry, RejectedResultError, SystemClock, batched
from resilient_ai.testing import VirtualClock


async def settled():
    """Until every task waits for something."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()  # on asyncio, anyio looks only every 0.1 s
    await anyio.wait_all_tasks_blocked()


class Scene:
    """A batched function whose calls wait at a gate, and callers with a scope each."""

    def __init__(self, registry, **settings):
        self.registry = registry
        self.calls, self.cancelled, self.outcomes = [], [], {}
        self.gate = anyio.Event()
        self.scopes = {}

        @batched("scene", registry=registry, **settings)
        async def send(items: list[str]) -> list[str]:
            self.calls.append(list(items))
            try:
                await self.gate.wait()
            except BaseException:
                self.cancelled.append(list(items))
                raise
            return [f"<{item}>" for item in items]

        self.send = send

    async def _call(self, item):
        with anyio.CancelScope() as scope:
            self.scopes[item] = scope
            try:
                self.outcomes[item] = await self.send(item)
            except Exception as error:
                self.outcomes[item] = error
        if scope.cancelled_caught:
            self.outcomes[item] = "cancelled"

    async def start(self, tasks, *items):
        for item in items:
            tasks.start_soon(self._call, item)
            await settled()

    async def cancel(self, *items):
        for item in items:
            self.scopes[item].cancel()
        await settled()

    @property
    def stats(self):
        return self.registry.batches["scene"].stats()

    def is_idle(self):
        stats = self.stats
        ended = stats.answered + stats.failed + stats.left
        return not stats.is_running and stats.total_requests == ended


# -- cancellation, at every moment


@pytest.mark.parametrize("who", range(4))
async def test_who_leaves_before_the_batch_does_is_not_sent_and_hurts_nobody(registry, who):
    scene = Scene(registry, batch_size=4)
    scene.gate.set()
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc")
        leaver = "abcd"[who]
        if who < 3:
            await scene.cancel(leaver)
        await scene.start(tasks, "d")
        if who == 3:
            await scene.cancel("d")
        registry.clock.advance(0.1)

    stayed = [item for item in "abcd" if item != leaver or who == 3]
    assert scene.calls == [stayed]
    assert all(scene.outcomes[item] == f"<{item}>" for item in stayed)
    assert scene.is_idle()


@pytest.mark.parametrize("who", range(3))
async def test_who_leaves_in_flight_hurts_nobody(registry, who):
    scene = Scene(registry, batch_size=3)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc")
        leaver = "abc"[who]
        await scene.cancel(leaver)
        assert scene.outcomes == {leaver: "cancelled"}
        scene.gate.set()

    assert scene.cancelled == []
    assert [scene.outcomes[item] for item in "abc" if item != leaver] == [
        f"<{item}>" for item in "abc" if item != leaver
    ]
    assert (scene.stats.answered, scene.stats.left) == (2, 1)
    assert scene.is_idle()


@pytest.mark.parametrize("who", range(3))
async def test_who_leaves_at_the_moment_of_delivery_hurts_nobody(registry, who):
    scene = Scene(registry, batch_size=3)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc")
        scene.gate.set()
        scene.scopes["abc"[who]].cancel()

    assert all(scene.outcomes[item] in (f"<{item}>", "cancelled") for item in "abc")
    assert [scene.outcomes[item] for item in "abc"].count("cancelled") <= 1
    assert scene.is_idle()


async def test_when_all_have_left_the_batch_is_cancelled_and_its_place_is_free(registry):
    scene = Scene(registry, batch_size=3, max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc")
        await scene.start(tasks, "d", "e", "f")
        await scene.cancel(*"ab")
        assert scene.cancelled == []
        await scene.cancel("c")
        assert scene.cancelled == [["a", "b", "c"]]
        scene.gate.set()

    assert scene.calls[1:] == [["d", "e", "f"]]
    assert scene.is_idle()


@pytest.mark.parametrize("joined", [1, 2])
async def test_when_all_have_left_before_it_leaves_nothing_is_sent_and_the_next_starts_afresh(registry, joined):
    scene = Scene(registry, batch_size=3, batch_timeout=1)
    scene.gate.set()
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"ab"[:joined])
        await scene.cancel(*"ab"[:joined])
        registry.clock.advance(0.5)
        await scene.start(tasks, "x")
        registry.clock.advance(0.9)  # the window is the new one's own
        await settled()
        assert scene.calls == []
        registry.clock.advance(0.1)

    assert scene.calls == [["x"]]
    assert scene.is_idle()


@pytest.mark.parametrize("waiting", [1, 2, 3])
async def test_who_leaves_while_waiting_for_a_place_is_not_sent(registry, waiting):
    scene = Scene(registry, batch_size=3, batch_timeout=1, max_concurrency=1)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc", *"xyz"[:waiting])
        registry.clock.advance(2)
        await settled()
        await scene.cancel("x")
        scene.gate.set()

    assert scene.calls == [list("abc"), *([list("xyz"[1:waiting])] if waiting > 1 else [])]
    assert scene.is_idle()


async def test_a_callers_deadline_ends_its_own_waiting_only(registry, clock):
    scene = Scene(registry, batch_size=10, batch_timeout=5)
    scene.gate.set()
    async with anyio.create_task_group() as tasks:

        async def impatient():
            with clock.move_on_after(2):
                await scene.send("impatient")

        tasks.start_soon(impatient)
        await scene.start(tasks, "patient")
        clock.advance(2)
        await settled()
        clock.advance(3)

    assert scene.calls == [["patient"]]
    assert scene.outcomes == {"patient": "<patient>"}


async def test_a_caller_alone_runs_the_function_in_its_own_task_and_context_and_under_its_own_cancellation(registry):
    var = contextvars.ContextVar("var", default=0)
    seen, ended = [], []

    @batched(batch_timeout=0, registry=registry)
    async def send(items: list[str]) -> list[str]:
        seen.append((var.get(), anyio.get_current_task().id == caller))
        var.set(2)
        try:
            await gate.wait()
        except anyio.get_cancelled_exc_class():
            ended.append("cancelled")
            raise
        return items

    gate = anyio.Event()
    gate.set()
    caller = anyio.get_current_task().id
    var.set(1)
    await send("alone")
    assert (var.get(), seen) == (2, [(1, True)])

    gate = anyio.Event()
    with anyio.CancelScope() as scope:
        scope.deadline = anyio.current_time() + 0.01
        await send("late")
    assert ended == ["cancelled"]
    assert registry.batches[send.__qualname__].stats().left == 1


async def test_a_shared_batch_runs_outside_every_callers_scope(registry, clock):
    deadlines = []

    @batched(batch_size=2, registry=registry)
    async def send(items: list[str]) -> list[str]:
        deadlines.append(anyio.current_effective_deadline())
        return items

    async with anyio.create_task_group() as tasks:

        async def bounded(item):
            with anyio.fail_after(100):
                await send(item)

        tasks.start_soon(bounded, "a")
        tasks.start_soon(bounded, "b")

    assert deadlines == [float("inf")]


async def test_equal_items_sent_once_outlive_whichever_caller_leaves(registry):
    for leaver in ("first", "second"):
        scene = Scene(registry, batch_size=1, deduplicate=True)
        async with anyio.create_task_group() as tasks:

            async def call(name, scene=scene):
                with anyio.CancelScope() as scene.scopes[name]:
                    scene.outcomes[name] = await scene.send("same")

            for name in ("first", "second"):
                tasks.start_soon(call, name)
                await settled()
            await scene.cancel(leaver)
            scene.gate.set()

        assert scene.calls == [["same"]]
        assert list(scene.outcomes.values()) == ["<same>"]
        assert scene.is_idle()


async def test_an_equal_item_comes_too_late_for_one_that_was_left_and_not_sent(registry):
    """The halves of a refused batch leave out what nobody waits for; a newcomer must not wait for that."""
    gate, calls = anyio.Event(), []

    @batched("halves", batch_size=4, batch_timeout=1, deduplicate=True, bisect=True, registry=registry)
    async def send(items: list[str]) -> list[str]:
        calls.append(list(items))
        if len(items) > 2:
            raise RejectedResultError(items, ErrorType.INVALID_REQUEST)
        if len(calls) == 2:
            await gate.wait()
        return items

    outcomes = []

    async def call(item, scope):
        with scope:
            outcomes.append(await send(item))

    scopes = [anyio.CancelScope() for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for item, scope in zip("abcdc", scopes, strict=True):
            if scope is scopes[4]:
                scopes[2].cancel()
                await settled()
            tasks.start_soon(call, item, scope)
            await settled()
        gate.set()
        await settled()
        registry.clock.advance(1)

    assert sorted(outcomes) == ["a", "b", "c", "d"]
    assert calls == [["a", "b", "c", "d"], ["a", "b"], ["d"], ["c"]]


async def test_a_batch_that_all_have_left_takes_no_twins_on(registry):
    ended = anyio.Event()
    calls = []

    @batched("stubborn", batch_size=1, deduplicate=True, registry=registry)
    async def send(items: list[str]) -> list[str]:
        calls.append(items)
        if len(calls) == 1:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await ended.wait()
        return items

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "same")
        await settled()
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "same")
        await settled()
        ended.set()

    assert len(calls) == 2


@pytest.mark.parametrize("seed", range(20))
async def test_no_mixture_of_callers_errors_and_cancellations_hangs_or_mixes_results_up(seed, anyio_backend):
    chance = random.Random(seed)
    registry = Registry(clock=SystemClock(), listeners=())
    settings = {
        "batch_size": chance.choice([1, 2, 7, 50]),
        "batch_timeout": chance.choice([0, 0, 0.002]),
        "max_concurrency": chance.choice([None, 1, 3]),
        "deduplicate": chance.random() < 0.3,
        "bisect": chance.random() < 0.3,
    }

    @batched("stress", max_queue_size=10_000, registry=registry, **settings)
    async def send(items: list[int], group: int) -> list[object]:
        for _ in range(chance.randrange(4)):
            await anyio.lowlevel.checkpoint()
        if chance.random() < 0.1:
            raise OSError("down")
        return [KeyError(item) if item % 11 == 0 else (item, group) for item in items]

    outcomes = dict.fromkeys(["ok", "batch", "item", "cancelled", "mixed up"], 0)

    async def call(item):
        group = item % 3
        for _ in range(chance.randrange(6)):
            await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:
            if chance.random() < 0.3:
                chosen.append(scope)
            try:
                result = await send(item, group)
            except OSError:
                outcomes["batch"] += 1
            except KeyError as error:
                outcomes["item" if error.args == (item,) else "mixed up"] += 1
            else:
                outcomes["ok" if result == (item, group) else "mixed up"] += 1
            return
        outcomes["cancelled"] += 1

    chosen = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(400):
                tasks.start_soon(call, number % 150)
            while sum(outcomes.values()) < 400:
                await anyio.lowlevel.checkpoint()
                if chosen:
                    chosen.pop(chance.randrange(len(chosen))).cancel()
    stats = registry.batches["stress"].stats()

    assert sum(outcomes.values()) == 400
    assert outcomes["ok"] > 0
    assert outcomes["mixed up"] == 0
    with anyio.fail_after(5):
        while registry.batches["stress"].stats().in_flight:  # batches that all have left are still ending
            await anyio.lowlevel.checkpoint()
    assert stats.queue_size == 0
    assert stats.answered + stats.failed + stats.left == stats.total_requests


# -- the function goes its own ways


@pytest.mark.parametrize("callers", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_must_not_be_swallowed_reaches_the_callers(callers, error, anyio_backend):
    async def main():
        @batched(batch_size=callers, registry=Registry(listeners=()))
        async def send(items: list[int]) -> list[int]:
            raise error("now")

        async with anyio.create_task_group() as tasks:
            for number in range(callers):
                tasks.start_soon(send, number)

    with pytest.raises(BaseException) as caught:
        anyio.run(main, backend=anyio_backend)
    inner = caught.value
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    assert type(inner) is error


# -- asyncio's own ways


def run_quietly(main):
    """asyncio.run; whatever the loop would complain about is raised."""
    complaints = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        return await main()

    result = asyncio.run(watched())
    gc.collect()
    assert complaints == []
    return result


def scene_in_real_time(**settings):
    return Scene(Registry(listeners=()), **settings)


@pytest.mark.parametrize("moment", ["queued", "in flight"])
@pytest.mark.parametrize("who", range(3))
def test_a_native_cancellation_hurts_nobody_else(who, moment):
    async def main():
        scene = scene_in_real_time(batch_size=3 if moment == "in flight" else 4, batch_timeout=0.02)
        tasks = [asyncio.create_task(scene.send(item)) for item in "abc"]
        await asyncio.sleep(0.001)
        tasks[who].cancel()
        scene.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(results.pop(who), asyncio.CancelledError)
        assert results == [f"<{item}>" for item in "abc" if item != "abc"[who]]
        assert scene.is_idle()

    run_quietly(main)


def test_asyncio_timeouts_end_their_own_call_only():
    async def main():
        scene = scene_in_real_time(batch_size=3)

        async def timed():
            async with asyncio.timeout(0.01):
                await scene.send("a")

        tasks = [
            asyncio.create_task(timed()),
            asyncio.create_task(asyncio.wait_for(scene.send("b"), 0.01)),
            asyncio.create_task(scene.send("c")),
        ]
        done, _ = await asyncio.wait(tasks[:2])
        assert all(isinstance(task.exception(), TimeoutError) for task in done)
        scene.gate.set()
        assert await tasks[2] == "<c>"

    run_quietly(main)


def test_a_function_that_raises_a_cancellation_of_its_own_hangs_nobody():
    async def main():
        @batched(batch_size=2, registry=Registry(listeners=()))
        async def send(items: list[int]) -> list[int]:
            raise asyncio.CancelledError

        results = await asyncio.wait_for(asyncio.gather(send(1), send(2), return_exceptions=True), 1)
        assert [type(error) for error in results] == [BatchResultError] * 2
        assert "cancelled, but not by its callers" in str(results[0])
        assert await asyncio.wait_for(asyncio.gather(send(1), return_exceptions=True), 1)

    run_quietly(main)


def test_cancellations_among_the_results_are_no_cancellation_of_the_caller():
    async def main():
        @batched(batch_size=2, registry=Registry(listeners=()))
        async def send(items: list[int]) -> list[object]:
            return [asyncio.CancelledError(), 2]

        first, second = await asyncio.gather(send(1), send(2), return_exceptions=True)
        assert type(first) is BatchResultError
        assert second == 2

    run_quietly(main)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_task_that_somebody_else_cancels_tells_its_callers_and_frees_its_place(steps):
    """With 0 steps it is cancelled before its first, so that no `finally` of its own ever runs."""

    async def main():
        scene = scene_in_real_time(batch_size=2, max_concurrency=1)
        callers = [asyncio.create_task(scene.send(item)) for item in "ab"]
        others = {*callers, asyncio.current_task()}
        spawned = set()
        while not spawned:
            await asyncio.sleep(0)
            spawned = asyncio.all_tasks() - others
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in spawned:
            task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 1)
        assert [type(error) for error in results] == [BatchResultError] * 2

        scene.gate.set()
        assert await asyncio.wait_for(asyncio.gather(scene.send("c"), scene.send("d")), 1) == ["<c>", "<d>"]
        assert scene.is_idle()

    run_quietly(main)


@pytest.mark.parametrize("callers", [1, 2, 5])
def test_errors_nobody_fetches_are_no_complaint_of_the_loop(callers):
    async def main():
        @batched(batch_size=callers, registry=Registry(listeners=()))
        async def send(items: list[int]) -> list[object]:
            await asyncio.sleep(0)
            raise OSError("down")

        tasks = [asyncio.create_task(send(number)) for number in range(callers)]
        for _ in range(6):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()

    run_quietly(main)


def test_no_task_is_left_behind():
    async def main():
        scene = scene_in_real_time(batch_size=3, batch_timeout=0.001)
        scene.gate.set()
        await asyncio.gather(*(scene.send(str(number)) for number in range(10)))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_quietly(main)


# -- loops and threads


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
    assert (stats.total_requests, stats.answered, stats.total_batches) == (4000, 4000, len(threads_seen))
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
