"""
What holds of a call's own timeout, whatever else cancels at the same time.

The asyncio tests run on a loop whose time jumps to the next timer, so that two deadlines can fall into one moment.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - native timeouts and cancellation are what this is about
import gc
import threading
import weakref
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import anyio
import pytest

from resilient_ai import CallTimeoutError, LimitReachedError, Registry, adaptive_limit, circuit_breaker
from resilient_ai._core.deadline import bounded, seconds_left
from resilient_ai.types import SystemClock
from tests.core.support import JumpingLoop

SECONDS = 10.0


def in_jumping_time(fn, *args):
    return anyio.run(fn, *args, backend="asyncio", backend_options={"loop_factory": JumpingLoop})


def with_deadline(fn, seconds=SECONDS):
    """`fn` under a deadline of real seconds, as policies use it."""

    async def inner(fn, _instance, args, kwargs):
        return await fn(*args, **kwargs)

    handler = bounded(inner, seconds, SystemClock(), "slow")

    async def call(*args, **kwargs):
        return await handler(fn, None, args, kwargs)

    return call


def now():
    return asyncio.get_running_loop().time()


def healthy():
    """Whether nothing of a cancellation sticks to the task."""
    return asyncio.current_task().cancelling() == 0


# -- what the call itself does


def test_a_call_that_takes_too_long_is_cancelled_on_time():
    async def main():
        start = now()
        with pytest.raises(CallTimeoutError, match="'slow' took longer than timeout_seconds=10"):
            await with_deadline(asyncio.sleep)(1000)
        return now() - start, healthy()

    assert in_jumping_time(main) == (SECONDS, True)


def test_a_call_in_time_gives_its_answer():
    async def main():
        return await with_deadline(asyncio.sleep)(SECONDS - 0.1, "answer"), healthy()

    assert in_jumping_time(main) == ("answer", True)


def test_errors_pass_as_they_are():
    async def main():
        async def fail():
            await asyncio.sleep(1)
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await with_deadline(fail)()
        return healthy()

    assert in_jumping_time(main)


def test_a_timed_out_call_can_clean_up():
    async def main():
        steps = []

        async def tidy():
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(1)
                steps.append("tidied")

        with pytest.raises(CallTimeoutError):
            await with_deadline(tidy)()
        return steps, healthy()

    assert in_jumping_time(main) == (["tidied"], True)


def test_an_answer_given_in_spite_of_the_deadline_counts():
    async def main():
        async def stubborn():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return "partial"

        return await with_deadline(stubborn)(), healthy()

    assert in_jumping_time(main) == ("partial", True)


def test_an_error_raised_because_of_the_deadline_is_what_the_caller_gets():
    async def main():
        async def translating():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                raise KeyError("translated") from None

        with pytest.raises(KeyError, match="translated"):
            await with_deadline(translating)()
        return healthy()

    assert in_jumping_time(main)


def test_a_call_within_a_call_ends_with_the_outer_one():
    async def main():
        async def recursive(depth):
            await asyncio.sleep(4)
            return await call(depth - 1) if depth else "bottom"

        call = with_deadline(recursive)
        assert await call(1) == "bottom"
        start = now()
        with pytest.raises(CallTimeoutError):
            await call(5)
        return now() - start, healthy()

    assert in_jumping_time(main) == (SECONDS, True)


def test_a_call_from_the_cleaning_up_has_a_deadline_too():
    async def main():
        async def slow(again):
            try:
                await asyncio.sleep(1000)
            finally:
                if again:
                    with pytest.raises(CallTimeoutError):
                        await call(False)

        call = with_deadline(slow)
        start = now()
        with pytest.raises(CallTimeoutError):
            await call(True)
        return now() - start, healthy()

    assert in_jumping_time(main) == (2 * SECONDS, True)


def test_among_many_calls_exactly_the_slow_ones_time_out():
    async def main():
        call = with_deadline(asyncio.sleep)
        late = []

        async def one(number):
            await asyncio.sleep(number % 7)
            try:
                await call(number % 20 + 0.5)
            except CallTimeoutError:
                late.append(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(one(number))
        return sorted(late)

    assert in_jumping_time(main) == [number for number in range(1000) if number % 20 + 0.5 > SECONDS]


# -- what comes from outside, and what the function itself opens


@asynccontextmanager
async def cancelled_by_its_maker(seconds):
    task, rung = asyncio.current_task(), []

    def cancel():
        rung.append(True)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, cancel)
    try:
        yield
    except asyncio.CancelledError:
        if not rung or task.uncancel():
            raise
        raise TimeoutError from None
    finally:
        timer.cancel()


@asynccontextmanager
async def anyio_scope(seconds):
    with anyio.fail_after(seconds):
        yield


@asynccontextmanager
async def anyio_task_group(seconds):
    async with anyio.create_task_group() as tasks:
        timer = asyncio.get_running_loop().call_later(seconds, tasks.cancel_scope.cancel)
        yield
        timer.cancel()
    if tasks.cancel_scope.cancelled_caught:
        raise TimeoutError


SCOPES = [cancelled_by_its_maker, asyncio.timeout, anyio_scope, anyio_task_group]


async def outcome(run):
    """How it ended, when, and whether the task can go on."""
    start = now()
    try:
        ended = await run()
    except (TimeoutError, ExceptionGroup) as error:
        while isinstance(error, ExceptionGroup):  # anyio's task groups wrap even one
            (error,) = error.exceptions
        ended = "ours" if isinstance(error, CallTimeoutError) else "theirs"
    taken = now() - start
    await asyncio.sleep(0)  # a cancellation that stuck would come out here
    await asyncio.sleep(1)
    return ended, taken, healthy()


@pytest.mark.parametrize("between", [None, *SCOPES], ids=lambda each: getattr(each, "__name__", "nothing"))
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("seconds", "expected"), [(4.0, {"theirs"}), (10.0, {"ours", "theirs"}), (16.0, {"ours"})])
@pytest.mark.parametrize("late", [False, True], ids=["armed-first", "armed-last"])
def test_of_a_deadline_outside_and_ours_the_earlier_one_wins(scope, between, seconds, expected, late):
    async def body():
        if between is None:
            await asyncio.sleep(1000)
        else:
            async with between(500):
                await asyncio.sleep(1000)

    async def main():
        async def run():
            if late:  # ours was on the loop's list before: an earlier call has armed the timer
                tasks = asyncio.create_task(suppressed(call))
                await asyncio.sleep(0)
            async with scope(seconds):
                await call()
            if late:
                await tasks

        call = with_deadline(body)
        return await outcome(run)

    ended, taken, fine = in_jumping_time(main)

    assert ended in expected
    assert taken == min(seconds, SECONDS)
    assert fine


async def suppressed(call):
    with suppress(CallTimeoutError):
        await call()


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("seconds", "expected"), [(4.0, {"theirs"}), (10.0, {"ours", "theirs"}), (16.0, {"ours"})])
def test_of_a_deadline_inside_and_ours_the_earlier_one_wins(scope, seconds, expected):
    async def body():
        async with scope(seconds):
            await asyncio.sleep(1000)

    async def main():
        return await outcome(with_deadline(body))

    ended, taken, fine = in_jumping_time(main)

    assert ended in expected
    assert taken == min(seconds, SECONDS)
    assert fine


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_inside_that_moves_on_in_the_same_moment_does_not_lose_our_deadline(scope):
    async def body():
        with suppress(TimeoutError):
            async with scope(SECONDS):
                await asyncio.sleep(1000)
        await asyncio.sleep(3)
        return "moved on"

    async def main():
        return await outcome(with_deadline(body))

    ended, taken, fine = in_jumping_time(main)

    # asyncio folds two cancellations of one moment into one: either the body never resumes, or it had its answer.
    assert (ended, taken) in [("ours", SECONDS), ("moved on", SECONDS + 3)]
    assert fine


@pytest.mark.parametrize("scope", SCOPES)
def test_a_shielded_body_ends_when_its_shield_does(scope):
    async def body():
        with anyio.CancelScope(shield=True):
            async with scope(500):
                await asyncio.sleep(3)
        return "answer"

    async def main():
        return await with_deadline(body)(), healthy()

    assert in_jumping_time(main) == ("answer", True)


def test_the_same_call_cancelled_over_and_over_leaves_nothing_behind():
    async def main():
        call = with_deadline(asyncio.sleep)
        for seconds in (1.0, 9.999, 10.0, 10.001, 50.0) * 20:
            with anyio.move_on_after(seconds), suppress(CallTimeoutError):
                await call(1000)
            await asyncio.sleep(0)
        return healthy(), seconds_left()

    assert in_jumping_time(main) == (True, float("inf"))


# -- loops


def test_loops_that_follow_one_another_each_have_their_deadlines():
    call = with_deadline(asyncio.sleep)

    async def main():
        with pytest.raises(CallTimeoutError):
            await call(1000)
        return await call(1, "answer")

    assert [in_jumping_time(main) for _ in range(3)] == ["answer"] * 3


def test_loops_in_threads_keep_their_deadlines_apart():
    call = with_deadline(asyncio.sleep, 0.02)
    ended = []

    async def main():
        for _ in range(3):
            try:
                await call(5)
            except CallTimeoutError:
                ended.append("late")
            ended.append(await call(0, "early"))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(ended) == ["early"] * 9 + ["late"] * 9


@pytest.mark.parametrize("outside", [0.005, 5.0])
async def test_in_real_time_it_ends_on_either_backend(outside):
    call = with_deadline(anyio.sleep, 0.02)
    with anyio.move_on_after(outside) as scope:
        with pytest.raises(CallTimeoutError):
            await call(5)
        return
    assert scope.cancelled_caught


# -- what others can see


def test_who_asks_for_the_time_left_is_told_of_our_deadline():
    async def main():
        async def ask():
            await asyncio.sleep(4)
            return seconds_left()

        with anyio.move_on_after(50):
            return await with_deadline(ask)(), seconds_left()

    assert in_jumping_time(main) == (6.0, 46.0)


def test_waiting_in_line_for_a_place_is_not_taken_for_a_slow_provider():
    async def main():
        class LoopClock(SystemClock):
            now = staticmethod(now)

        registry = Registry(clock=LoopClock(), listeners=())

        @circuit_breaker("provider", failure_threshold=1, timeout_seconds=SECONDS, registry=registry)
        @adaptive_limit("provider", initial=1, max_limit=1, registry=registry)
        async def ask():
            await asyncio.sleep(9)

        answers = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
        return [type(answer) for answer in answers], registry.circuit_breakers["provider"].stats().total_failures

    kinds, failures = in_jumping_time(main)

    assert kinds == [type(None)] + [LimitReachedError] * 4
    assert failures == 0


async def made_anew(calls):
    """A function that is decorated in the middle of a request, for this one alone."""
    variable, kept = ContextVar("request"), []

    class Request:
        pass

    async def request():
        variable.set(each := Request())
        kept.append(weakref.ref(each))

        @circuit_breaker("made anew", registry=registry)
        async def ask():
            return "pong"

        await ask()

    registry = Registry(listeners=())
    for _ in range(calls):
        await asyncio.create_task(request())
    gc.collect()
    await asyncio.sleep(0)
    return kept


def test_a_function_that_is_decorated_for_one_call_leaves_no_timer_and_no_context():
    async def main():
        kept = await made_anew(20)
        timers = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]

        assert timers == []
        assert [each for each in kept if each() is not None] == []

    asyncio.run(main())


def test_a_function_that_goes_in_another_thread_leaves_no_timer_in_its_loop():
    async def main():
        call = with_deadline(asyncio.sleep)
        await call(0)
        held = [call]
        del call
        await asyncio.to_thread(held.clear)
        await asyncio.to_thread(gc.collect)
        await asyncio.sleep(0.01)

        assert [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()] == []

    asyncio.run(main())


def test_a_kept_function_keeps_no_context_of_a_caller():
    kept = []

    class Request:
        pass

    async def main():
        variable, call = ContextVar("request"), with_deadline(asyncio.sleep)

        async def request():
            variable.set(each := Request())
            kept.append(weakref.ref(each))
            await call(0)

        await asyncio.create_task(request())
        await asyncio.sleep(0)  # the loop is through with the task
        gc.collect()

        assert kept[0]() is None

    asyncio.run(main())
