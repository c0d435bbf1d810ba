"""`deadline()` and `time_left()`: what they tell, to whom, and how their block ends."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its tasks, threads and timeouts inherit or do not, which is what this is about
import contextvars
import gc
import heapq
import math
import sys
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import Registry, deadline, time_left
from resilient_ai._core.asyncio_timeouts import _due_by
from resilient_ai._core.callers_deadline import Deadline
from resilient_ai._core.deadline import seconds_left
from resilient_ai.testing import VirtualClock, isolated_registry

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock():
    """Of the default registry."""
    with isolated_registry() as registry:
        yield registry.clock


# -- plain code


def test_without_a_deadline_there_is_all_the_time(clock):
    assert time_left() is None


def test_plain_code_is_told_and_not_interrupted(clock):
    with deadline(15):
        clock.advance(5)
        told = time_left()
        clock.advance(20)
        too_late = time_left()

    assert (told, too_late, time_left()) == (10.0, 0.0, None)


@pytest.mark.parametrize(("outer", "inner", "left"), [(5, 20, 5), (20, 5, 5), (5, None, 5), (math.inf, 5, 5)])
def test_of_nested_deadlines_the_soonest_holds(clock, outer, inner, left):
    with deadline(outer), deadline(inner):
        assert time_left() == left


def test_after_the_inner_block_the_outer_deadline_holds(clock):
    with deadline(20):
        with deadline(5):
            clock.advance(1)
        assert time_left() == 19


@pytest.mark.parametrize("seconds", [math.inf, None])
def test_no_end_is_no_deadline(clock, seconds):
    with deadline(seconds):
        assert time_left() is None


@pytest.mark.parametrize("seconds", [0, -3])
def test_a_budget_that_is_used_up_leaves_nothing(clock, seconds):
    with deadline(seconds):
        assert time_left() == 0.0


@pytest.mark.parametrize("seconds", [math.nan, "15", True, [15]])
def test_what_is_no_number_is_refused(seconds):
    with pytest.raises(ValueError, match=r"^seconds of a deadline must be a number or None, got "):
        deadline(seconds)


def test_one_object_is_for_one_block_at_a_time(clock):
    once = deadline(5)
    with once, pytest.raises(RuntimeError, match=r"^deadline\(5\) is in use already"):
        once.__enter__()

    with once:
        assert time_left() == 5


def test_it_is_counted_on_the_clock_of_the_default_registry(clock):
    other = Registry(clock=VirtualClock())
    with deadline(5):
        other.clock.advance(100)
        assert time_left() == 5


def test_a_context_manager_may_hold_one(clock):
    @contextmanager
    def patience():
        with deadline(5):
            yield

    with patience():
        assert time_left() == 5
    assert time_left() is None


def test_a_block_that_is_left_in_another_context_is_an_error(clock):
    def items():
        with deadline(5):
            yield 1

    reading = items()
    contextvars.copy_context().run(next, reading)

    with pytest.raises(RuntimeError, match="left in another context than it was entered in"):
        next(reading)


# -- tasks


async def test_in_a_task_the_block_ends_with_a_timeout(clock):
    async with clock.autojump():
        began = clock.now()
        with pytest.raises(TimeoutError, match=r"^the deadline of 15 s is over$"), deadline(15):
            await clock.sleep(1000)

    assert clock.now() - began == 15


async def test_who_is_done_in_time_is_left_in_peace(clock):
    async with clock.autojump():
        with deadline(15):
            await clock.sleep(14)
        await clock.sleep(100)


async def test_a_late_answer_that_was_not_waited_for_is_an_answer(clock):
    with deadline(15):
        clock.advance(20)
        answer = "late"

    assert answer == "late"


@pytest.mark.parametrize("seconds", [0, -3])
async def test_with_no_time_the_first_wait_is_cancelled(clock, seconds):
    began = []
    with pytest.raises(TimeoutError), deadline(seconds):
        began.append(True)
        await clock.sleep(1)
        began.append(False)

    assert began == [True]


async def test_errors_pass(clock):
    with pytest.raises(KeyError, match="mine"), deadline(5):
        raise KeyError("mine")


async def test_a_cancellation_from_outside_is_none_of_its_business(clock):
    with anyio.CancelScope() as scope:
        with deadline(15):
            scope.cancel()
            await clock.sleep(1)

    assert scope.cancelled_caught


async def test_the_sooner_block_is_the_one_that_ends(clock):
    ended = []
    async with clock.autojump():
        with pytest.raises(TimeoutError, match="of 5 s is over"), deadline(5):
            try:
                with deadline(20):
                    await clock.sleep(1000)
            except TimeoutError:
                ended.append("inner")

    assert ended == []


async def test_tasks_and_threads_inherit_it(clock):
    told = []

    async def child():
        told.append(time_left())

    with deadline(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
        told.append(await anyio.to_thread.run_sync(time_left))

    assert told == [15, 15]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks_and_threads_of_asyncio_inherit_it(clock):
    async def child():
        return time_left()

    with deadline(15):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(child())
        told = [task.result(), await asyncio.to_thread(time_left), *await asyncio.gather(child())]

    assert told == [15, 15, 15]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_outlives_the_block_is_not_bounded_any_more(clock):
    over = asyncio.Event()

    async def background():
        before = time_left()
        await over.wait()
        return before, time_left()

    with deadline(15):
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
    over.set()

    assert await task == (15, None)


@pytest.mark.parametrize("open_at_once", [1, 3])
def test_in_tasks_that_start_one_another_no_deadline_that_is_over_is_kept(clock, open_at_once):
    def kept():
        gc.collect()
        return sum(isinstance(each, Deadline) for each in gc.get_objects())

    before, context, inside = kept(), contextvars.copy_context(), []
    for _ in range(50):
        block = deadline(15)
        context.run(block.__enter__)
        inside.append((context, block))
        context = context.copy()
        if len(inside) == open_at_once:
            oldest, ended = inside.pop(0)
            oldest.run(ended.__exit__, None, None, None)

    assert kept() - before <= open_at_once + 1  # the latest knows of what was there when it was made
    assert context.run(time_left) == (15 if open_at_once > 1 else None)


# -- generators


async def test_around_a_yield_it_is_an_error_for_whoever_reads(clock):
    async def items():
        with deadline(5):
            yield 1

    reading = items()
    await anext(reading)
    with pytest.raises(RuntimeError, match=r"deadline\(\) in line \d+ of .*items is around a yield"):
        time_left()
    await reading.aclose()

    assert time_left() is None


async def test_between_the_yields_of_a_generator_it_is_well(clock):
    async def items():
        for _ in range(2):
            with deadline(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(child)
                item = time_left()
            yield item

    async def child():
        told.append(time_left())

    told = []

    assert [(item, time_left()) async for item in items()] == [(5, None)] * 2
    assert told == [5, 5]


async def test_an_async_context_manager_may_hold_one(clock):
    @asynccontextmanager
    async def patience():
        with deadline(5):
            yield

    async with patience():
        assert time_left() == 5
    assert time_left() is None


# -- what others have set


async def test_an_anyio_scope_around_the_task_counts():
    with anyio.move_on_after(50):
        await anyio.lowlevel.checkpoint()
        assert 49 < time_left() <= 50


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("others", [0, 1000])
async def test_an_asyncio_timeout_around_the_task_counts(others):
    """However many timers the loop has."""
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(100 - number / 100, int) for number in range(others)]
    async with asyncio.timeout(50), asyncio.timeout(70):
        inside = time_left()
        await anyio.lowlevel.checkpoint()
    after = time_left()
    for timer in timers:
        timer.cancel()

    assert 49 < inside <= 50
    assert after is None


@given(
    due=st.lists(st.floats(0, 100), max_size=60),
    until=st.sampled_from([-1.0, 0.0, 20.0, 50.0, 100.0, math.inf]),
    gone=st.integers(0, 20),
    most=st.sampled_from([4, 16, 256]),
)
def test_of_all_timers_only_those_are_looked_at_that_are_due_by_then(due, until, gone, most):
    loop = asyncio.new_event_loop()
    for each in due:
        loop.call_at(each, int)
    timers = loop._scheduled
    for _ in range(min(gone, len(timers))):
        heapq.heappop(timers)
    found = _due_by(timers, until, most)
    wanted = sorted(each.when() for each in timers if each.when() <= until)

    if len(wanted) > most:
        assert found is None
    else:
        assert sorted(each.when() for each in found) == wanted
    loop.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_timeout_that_is_due_soon_is_found_among_any_number_of_timers_that_are_due_later():
    """Even if all of them were set after it."""
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(1 + number / 10, int) for number in range(8)]
    async with asyncio.timeout(5):
        timers += [loop.call_later(30 + number / 100, int) for number in range(1000)]
        left = seconds_left(10)
        await anyio.lowlevel.checkpoint()
    for timer in timers:
        timer.cancel()

    assert 4 < left <= 5


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("within", "seen"), [(1, False), (49, False), (51, True), (math.inf, True)])
async def test_a_timeout_that_is_further_off_than_anybody_cares_for_is_not_looked_for(within, seen):
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(1 + number, int) for number in range(100)]
    async with asyncio.timeout(50):
        left = seconds_left(within)
        await anyio.lowlevel.checkpoint()
    for timer in timers:
        timer.cancel()

    assert (left <= 50) is seen


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_asyncio_timeout_of_another_task_does_not_count():
    async def other():
        async with asyncio.timeout(5):
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)

    assert time_left() is None
    await task


@pytest.mark.skipif(sys.version_info < (3, 12), reason="in a task of its own before")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_wait_for_counts():
    async def inside():
        return time_left()

    assert 49 < await asyncio.wait_for(inside(), 50) <= 50


async def test_outside_of_tasks_only_the_deadline_counts(clock):
    """In a callback of the loop, say."""
    with deadline(15), anyio.move_on_after(5):
        assert await anyio.to_thread.run_sync(partial(contextvars.copy_context().run, time_left)) == 15
