"""Functions within functions: each answer counts once for each of those that it is an answer of."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import anyio.lowlevel

from resilient_ai import classified_retry
from resilient_ai.usage import Usage, report_usage

TOLD = Usage(1)


def counted(function, registry):
    """The function, with its usage counted under its own name."""
    assert registry.usage is not None
    function.__qualname__ = function.__name__
    return classified_retry(max_attempts=1, registry=registry)(function)


def calls(registry):
    """Answers and tokens by function."""
    return {name.rpartition(".")[2]: (site.calls, site.usage.input_tokens) for name, site in registry.usage.items()}


async def test_an_answer_of_a_function_that_calls_itself_counts_once(registry):
    async def countdown(left):
        report_usage(TOLD, "m")
        if left:
            await call(left - 1)

    call = counted(countdown, registry)
    await call(3)

    assert calls(registry) == {"countdown": (4, 4)}
    assert [(site.calls, site.usage.input_tokens) for site in registry.usage.ever()] == [(4, 4)]


async def test_what_a_task_uses_after_its_starter_has_ended_is_not_billed_to_the_starter(registry):
    ended = anyio.Event()

    async def asked():
        report_usage(TOLD, "m")

    ask = counted(asked, registry)

    async def background():
        await ask()
        await ended.wait()
        for _ in range(10):
            await ask()

    async def starter(tasks):
        tasks.start_soon(background)
        await anyio.wait_all_tasks_blocked()

    start = counted(starter, registry)

    async def around():
        async with anyio.create_task_group() as tasks:
            await start(tasks)
            ended.set()

    await counted(around, registry)()

    # `around` lasts, and has begun before `starter`.
    assert calls(registry) == {"asked": (11, 11), "starter": (1, 1), "around": (11, 11)}


async def test_a_function_that_schedules_itself_again_counts_each_of_its_answers_once(registry):
    async def poll(left):
        report_usage(TOLD, "m")
        if left:
            tasks.start_soon(call, left - 1)
            await anyio.lowlevel.checkpoint()

    call = counted(poll, registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, 2_000)

    assert calls(registry) == {"poll": (2_001, 2_001)}


async def test_a_stream_that_is_left_within_another_is_counted_at_both(registry):
    async def inner():
        yield {"usage": {"prompt_tokens": 7, "completion_tokens": 0}}
        yield "more"

    read = counted(inner, registry)

    async def outer():
        async with aclosing(read()) as items:
            async for item in items:
                yield str(item)

    async with aclosing(counted(outer, registry)()) as items:
        await anext(items)

    assert {name: tokens for name, (_, tokens) in calls(registry).items()} == {"inner": 7, "outer": 7}
