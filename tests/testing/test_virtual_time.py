"""Virtual time for users' tests."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what its loop is asked for is counted
import gc
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint

from resilient_ai.testing import VirtualClock
from tests.helpers import trio_in_ci, work_of


async def test_what_is_raised_under_autojump_comes_out_as_it_is(clock):
    with pytest.raises(LookupError, match="planted"):
        async with clock.autojump():
            raise LookupError("planted")


@trio_in_ci
async def test_a_wait_in_virtual_time_costs_the_same_beside_many_others():
    async def hurry(callers: int) -> float:
        clock = VirtualClock()

        async def caller(number: int) -> None:
            with clock.move_on_after(30):
                await clock.sleep(number % 7)
                await checkpoint()

        async def all_of_them() -> None:
            async with clock.autojump(), anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(caller, number)

        return await work_of(all_of_them) / callers

    assert await hurry(1_600) < 1.3 * await hurry(400)  # calls of functions


def test_on_asyncio_a_jump_takes_no_real_time():
    class Loop(asyncio.SelectorEventLoop):
        timers = 0

        def call_at(self, *args, **kwargs):
            self.timers += 1
            return super().call_at(*args, **kwargs)

    async def main() -> int:
        clock = VirtualClock()
        async with clock.autojump():
            for _ in range(50):
                await clock.sleep(1)
                await checkpoint()  # still at work one turn after it was woken
        return asyncio.get_running_loop().timers

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == 0


async def test_time_jumps_while_a_cancelled_task_cleans_up(clock):
    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await clock.sleep(60)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await clock.sleep(1)
        tasks.cancel_scope.cancel()

    assert clock.now() == 61


async def test_a_deadline_that_is_over_is_forgotten_although_the_time_stands_still(clock):
    for _ in range(200):
        with clock.move_on_after(30) as scope:
            await checkpoint()
    gone = weakref.ref(scope)
    del scope
    gc.collect()

    assert gone() is None
    assert repr(clock) == "VirtualClock(now=0, waiting=0)"
