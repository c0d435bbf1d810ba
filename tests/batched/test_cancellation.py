"""Callers that leave at any moment hurt nobody."""

from __future__ import annotations

import contextvars
import random

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import ErrorType, Registry, RejectedResultError, batched
from resilient_ai.types import SystemClock
from tests.batched.support import Scene, settled


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
    assert (scene.stats.ok, scene.stats.neutral) == (2, 1)
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
    assert registry.batches[send.__qualname__].stats().neutral == 1


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


async def test_a_batch_that_all_have_left_takes_no_equal_item_on(registry):
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
        "max_queue_size": chance.choice([3, 10_000]),
        "when_full": "wait",
    }

    @batched("stress", registry=registry, **settings)
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
    assert stats.ok + stats.failed + stats.neutral == stats.total_requests
