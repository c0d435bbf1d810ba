"""What asyncio itself and the function's own exceptions do to callers."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its own ways to cancel are what is tested
import gc

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import BatchResultError, Registry, batched
from tests.batched.support import scene_in_real_time


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
