"""An event loop that is closed with calls under way takes them along: no noise, and nothing is lost for good."""

from __future__ import annotations

import asyncio  # noqa: TID251 - only its loops can be closed with tasks under way
import gc
import threading
from contextlib import contextmanager

import anyio
import pytest

from resilient_ai import (
    Endpoint,
    LastAnswer,
    LimitReachedError,
    Registry,
    adaptive_limit,
    batched,
    degrade_to,
    failover,
)
from resilient_ai._core.call_facts import watch
from resilient_ai._core.event_loops import LoopUsage
from resilient_ai.testing import VirtualClock


@contextmanager
def closed_with(*calls):
    """A loop that began these calls and was closed; inside, its tasks are still referred to."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending!"

    async def begin():
        tasks = [asyncio.ensure_future(call()) for call in calls]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        return tasks

    tasks = loop.run_until_complete(begin())
    loop.close()
    yield
    del tasks, loop
    gc.collect()


@pytest.fixture
def registry():
    return Registry(listeners=())


# -- nothing is lost. The tasks are still there: nobody gives anything back.


async def forever():
    await anyio.sleep_forever()
    return "never"


def test_calls_of_a_closed_loop_hold_no_places(registry, anyio_backend):
    hang = [True]

    @adaptive_limit("places", initial=2, max_limit=2, max_wait=0, registry=registry)
    async def ask():
        return await forever() if hang[0] else "answer"

    async def both():
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(LimitReachedError):
                await ask()
            tasks.cancel_scope.cancel()

    stats = registry.limits["places"].stats
    with closed_with(ask, ask):
        assert stats().in_flight == 0
        anyio.run(both, backend=anyio_backend)
        hang[0] = False
        assert anyio.run(ask, backend=anyio_backend) == "answer"
        assert stats().in_flight == 0

    assert (stats().in_flight, stats().failed, stats().limit) == (0, 0, 2)


def test_batches_of_a_closed_loop_hold_no_places(registry, anyio_backend):
    hang = [True]

    @batched("batches", batch_size=2, batch_timeout=0.001, registry=registry)
    @adaptive_limit("below", initial=1, max_limit=1, max_wait=0, registry=registry)
    async def send(items: list[str]) -> list[str]:
        return await forever() if hang[0] else items

    async def two():
        async with anyio.create_task_group() as tasks:
            for item in "ab":
                tasks.start_soon(send, item)

    with closed_with(lambda: send("a"), lambda: send("b")):
        hang[0] = False
        anyio.run(two, backend=anyio_backend)

    assert registry.limits["below"].stats().in_flight == 0


def in_time(backend, call):
    async def main():
        with anyio.fail_after(5):
            return await call()

    return anyio.run(main, backend=backend)


def test_those_in_line_in_a_closed_loop_let_others_pass(registry, anyio_backend):
    hang = [True]

    @adaptive_limit("line", initial=1, max_limit=1, registry=registry)
    async def ask():
        return await forever() if hang[0] else "answer"

    with closed_with(ask, ask):
        hang[0] = False
        assert in_time(anyio_backend, ask) == "answer"

    assert (registry.limits["line"].stats().waiting, registry.limits["line"].stats().in_flight) == (0, 0)


def test_whoever_was_called_from_the_line_just_before_its_loop_was_closed_lets_others_pass(registry, anyio_backend):
    @adaptive_limit("called", initial=1, max_limit=1, registry=registry)
    async def ask(last_of=None):
        await anyio.sleep(0.001)
        if last_of is not None:
            last_of.stop()  # after this step, which calls the next in line
        return "answer"

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    tasks = [loop.create_task(ask(loop)), loop.create_task(ask())]
    loop.run_forever()
    loop.close()

    assert (registry.limits["called"].stats().waiting, registry.limits["called"].stats().in_flight) == (0, 0)
    assert in_time(anyio_backend, ask) == "answer"
    assert not tasks[1].done()


def test_a_limit_keeps_nothing_of_loops_that_have_ended(registry):
    @adaptive_limit(registry=registry)
    async def ask():
        return "pong"

    def ended():
        gc.collect()
        return sum(each.has_ended() for each in gc.get_objects() if type(each) is LoopUsage)

    before = ended()
    for _ in range(20):
        assert asyncio.run(ask()) == "pong"

    assert ended() - before <= 1


def test_calls_in_another_loop_are_counted_on(registry, anyio_backend):
    @adaptive_limit("living", initial=2, max_limit=2, max_wait=0, registry=registry)
    async def ask(gate=None):
        await (gate.wait() if gate is not None else forever())

    begun, closed = threading.Event(), threading.Event()

    async def living():
        gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, gate)
            await anyio.wait_all_tasks_blocked()
            begun.set()
            await anyio.to_thread.run_sync(closed.wait)
            assert registry.limits["living"].stats().in_flight == 1
            with anyio.move_on_after(0.001):
                await ask()
            gate.set()

    thread = threading.Thread(target=lambda: anyio.run(living, backend=anyio_backend))
    thread.start()
    begun.wait(5)
    with closed_with(ask):
        closed.set()
        thread.join(5)

    assert registry.limits["living"].stats().in_flight == 0


US, EU = Endpoint("us"), Endpoint("eu")


def test_calls_of_a_closed_loop_do_not_make_an_endpoint_look_busy(registry, anyio_backend):
    hang = [True]

    async def ask(endpoint):
        return await forever() if hang[0] and endpoint is US else endpoint.name

    only_us = failover(US, name="only", strategy="least_latency", registry=registry)(ask)
    either = failover(US, EU, name="either", strategy="least_latency", registry=registry)(ask)

    async def many():
        return [await either() for _ in range(200)]

    with closed_with(*[only_us] * 20):
        hang[0] = False
        chosen = in_time(anyio_backend, many)
        assert registry.endpoints["us"].stats().in_flight == 0

    assert "us" in chosen  # the other one would look idle for ever
    assert registry.endpoints["us"].stats().in_flight == 0


def test_trial_calls_of_a_closed_loop_do_not_keep_others_out_of_an_endpoint_that_comes_back(anyio_backend):
    clock = VirtualClock()
    registry = Registry(clock=clock, listeners=())
    answers = [OSError(), "good"]

    @failover(US, EU, name="back", strategy="priority", health_check_interval=1.0, registry=registry)
    async def ask(endpoint):
        if endpoint is EU or not answers:
            return endpoint.name if endpoint is EU or not hang else await forever()
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return endpoint.name

    async def until_it_returns():
        asked = [await ask()]
        clock.advance(10.0)
        return [*asked, await ask()]

    hang = [True]
    assert in_time(anyio_backend, until_it_returns) == ["eu", "us"]
    assert registry.endpoints["us"].stats().state == "returning"
    with closed_with(ask, ask):
        hang.clear()
        assert in_time(anyio_backend, ask) == "us"


# -- no noise. What a coroutine says when it is collected fails the test, because warnings are errors.


def test_a_call_whose_answer_was_to_be_remembered_is_collected_quietly(registry):
    ask = degrade_to(LastAnswer(), registry=registry)(anyio.sleep_forever)
    with closed_with(ask):
        pass

    assert registry.degradations["sleep_forever"].stats().degraded == 0


def test_a_degraded_stream_is_collected_quietly(registry):
    @degrade_to("sorry", name="stream", registry=registry)
    async def tokens():
        await anyio.sleep_forever()
        yield "never"

    async def read():
        return [item async for item in tokens()]

    with closed_with(read):
        pass

    assert registry.degradations["stream"].stats().degraded == 0


def test_a_batch_of_one_with_a_bound_is_collected_quietly(registry):
    @batched("one", batch_timeout=0, max_concurrency=1, registry=registry)
    async def send(items: list[str]) -> list[str]:
        await anyio.sleep_forever()
        return items

    with closed_with(lambda: send("a")):
        pass

    assert registry.batches["one"].stats().in_flight == 0


def test_who_was_watching_is_collected_quietly():
    async def look():
        with watch():
            await anyio.sleep_forever()

    with closed_with(look):
        pass
