"""
A timeout of ours ends a call, and before the call has ended its caller's scope or task is cancelled as well.

On asyncio the first cancellation goes on where a task group waits for its tasks meanwhile. It may not leave the block
of a scope that has been cancelled too: no scope takes it for its own.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its tasks and timeouts end calls as well

import anyio
import pytest

from resilient_ai import Endpoint, circuit_breaker, classified_retry, deadline, degrade_to, failover, watch
from tests.stacks.test_fast_path_in_time import in_jumping_time


async def slow_to_go():
    try:
        await anyio.sleep(1_000)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)


async def ask(*_endpoint):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow_to_go)
        await anyio.sleep(1_000)


async def ask_first(endpoint):
    return await ask() if endpoint.name == "us" else "an answer of the hedge"


async def ask_twice(endpoint):
    # No task group: of two within each other, anyio's take a cancellation of asyncio's back that is not theirs.
    return await (anyio.sleep(1_000) if endpoint.name == "us" else slow_to_go())


def endpoints():
    return Endpoint("us"), Endpoint("eu")


# Each ends its call after 5 s: by a timeout, for a fallback, for the next endpoint, or because a hedge has answered.
ENDING = {
    "circuit_breaker": lambda: circuit_breaker(timeout_seconds=5)(ask),
    "classified_retry": lambda: classified_retry(timeout_seconds=5)(ask),
    "retry of two": lambda: classified_retry(timeout_seconds=5)(circuit_breaker(timeout_seconds=60)(ask)),
    "fail_over": lambda: failover(*endpoints(), strategy="priority")(ask),
    "hedged": lambda: failover(*endpoints(), strategy="priority", hedge_after=5)(ask_first),
    "timeout of a hedged call": lambda: classified_retry(timeout_seconds=5)(
        failover(*endpoints(), strategy="priority", hedge_after=1)(ask_twice)
    ),
    "degrade_to": lambda: degrade_to("sorry")(circuit_breaker()(ask)),
}
BOUND = {"fail_over": 7.5, "degrade_to": 5.5}  # seconds of the deadline by which these end a call


async def call(ending, watched):
    with deadline(BOUND.get(ending, 60)):
        if not watched:
            return await ENDING[ending]()()
        with watch():
            return await ENDING[ending]()()


@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("watched", [False, True], ids=["fast path", "layers"])
def test_the_scope_of_the_caller_ends_its_block(ending, watched):
    async def main():
        with anyio.move_on_after(5.4) as scope:
            await call(ending, watched)
        await anyio.lowlevel.checkpoint()
        return scope.cancelled_caught, asyncio.current_task().cancelling()

    assert in_jumping_time(main) == (True, 0)


@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("watched", [False, True], ids=["fast path", "layers"])
def test_a_timeout_of_asyncio_ends_its_block(ending, watched):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.4):
                await call(ending, watched)
        return asyncio.current_task().cancelling()

    assert in_jumping_time(main) == 0


@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("watched", [False, True], ids=["fast path", "layers"])
def test_a_task_that_is_cancelled_is_cancelled(ending, watched):
    async def main():
        task = asyncio.create_task(call(ending, watched))
        await asyncio.sleep(5.4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling()

    assert in_jumping_time(main) == (True, 1)
