"""Fallbacks that have to come before their caller's deadline."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its timeout is what a caller has around a call
from contextlib import asynccontextmanager

import anyio
import pytest

from resilient_ai import (
    CallTimeoutError,
    Endpoint,
    ErrorType,
    Registry,
    circuit_breaker,
    deadline,
    degrade_to,
    failover,
    watch,
)
from resilient_ai.testing import capture_events, isolated_registry
from tests.core.support import JumpingLoop
from tests.degrade_to.support import Shelf, failing

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def virtual_time():
    with isolated_registry() as registry:
        async with registry.clock.autojump():
            yield registry


def hanging(clock):
    async def ask(*_given):
        await clock.sleep(1000)

    return ask


async def test_the_error_says_what_was_kept_for_the_fallback():
    async with virtual_time() as registry:
        with deadline(15), watch() as seen:
            assert await degrade_to("sorry")(hanging(registry.clock))() == "sorry"

    assert isinstance(seen.error, CallTimeoutError)
    assert (seen.error.error_type, seen.error.timeout_seconds) == (ErrorType.TIMEOUT, 14.5)
    assert seen.error.__notes__ == ["resilient_ai: the caller's deadline left no more; 0.5 s are kept for the fallback"]


async def test_where_no_rung_answers_the_caller_hears_of_the_timeout():
    async with virtual_time() as registry:
        ask = degrade_to("sorry", on=ErrorType.RATE_LIMIT)(hanging(registry.clock))
        with pytest.raises(CallTimeoutError), deadline(15):
            await ask()


async def test_a_slow_rung_leaves_time_for_the_next_one():
    async with virtual_time() as registry:

        async def slow(call):
            await registry.clock.sleep(1)

        ask = degrade_to(slow, "sorry")(hanging(registry.clock))
        with capture_events() as events, deadline(15):
            assert await ask() == "sorry"

        assert registry.clock.now() == 14.75
        assert [each.error for each in events if type(each).__name__ == "RungFailed"] == [
            "CallTimeoutError: a call through 'slow' took longer than timeout_seconds=0.25"
        ]


async def test_the_last_rung_has_all_the_time():
    async with virtual_time() as registry:

        async def slow(call):
            await registry.clock.sleep(0.4)
            return "from far"

        with deadline(15):
            assert await degrade_to(slow)(hanging(registry.clock))() == "from far"


async def test_a_rung_keeps_its_own_time_where_that_is_shorter():
    async with virtual_time() as registry:

        async def slow(call):
            await registry.clock.sleep(100)

        with deadline(60):
            assert await degrade_to(slow, "sorry", rung_timeout=3)(failing())() == "sorry"

        assert registry.clock.now() == 3


async def test_a_function_with_a_memory_is_bounded_too():
    shelf = Shelf()
    async with virtual_time() as registry:

        @degrade_to(shelf)
        async def ask(seconds):
            await registry.clock.sleep(seconds)
            return "answer"

        with deadline(15):
            answers = [await ask(1), await ask(1000)]

    assert answers == ["answer", "answer"]
    assert shelf.kept == ["answer"]


async def test_equal_calls_with_deadlines_share_one_computation():
    """Deadlines differ from call to call and say nothing about the request."""
    computed = []
    async with virtual_time() as registry:

        async def rung(call):
            computed.append(call)
            await registry.clock.sleep(0.1)
            return "answer"

        ask, answers = degrade_to(rung, "sorry")(failing()), []

        async def caller(seconds):
            with deadline(seconds):
                answers.append(await ask("question"))

        async with anyio.create_task_group() as tasks:
            for seconds in (10, 20, 30):
                tasks.start_soon(caller, seconds)

    assert (answers, len(computed)) == (["answer"] * 3, 1)


def test_a_call_that_fails_past_its_callers_timeout_is_counted_and_holds_nothing():
    """A timeout that is one of many timers is seen by nobody before the call, and by the layers after it."""
    registry = Registry(listeners=())

    @degrade_to("sorry", registry=registry)
    @failover(Endpoint("late"), name="over", registry=registry)
    @circuit_breaker("late", registry=registry)
    async def ask(_endpoint):
        await asyncio.sleep(0.2)  # the other timers are gone by then
        asyncio.get_running_loop().jumped += 1  # a function that blocks: asyncio has no chance to cancel it
        raise ConnectionError("down")

    async def main():
        async with asyncio.timeout(0.5):
            for _ in range(20):
                asyncio.get_running_loop().call_later(0.1, str)
            return await ask()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:  # without anyio, which leaves traces
        assert runner.run(main()) == "sorry"
    assert registry.endpoints["late"].stats().in_flight == 0
    assert registry.circuit_breakers["late[late]"].stats().total_failures == 1
