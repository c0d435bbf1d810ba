"""`watch()` tells beside the answer where it came from, and mixes nobody's calls up."""

from __future__ import annotations

import contextvars

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import classified_retry, degrade_to, watch
from resilient_ai.providers import Reply
from resilient_ai.types import Recalled, Seen
from resilient_ai.usage import Usage, report_usage


class Memory:
    def recall(self, call):
        return Recalled("kept", similarity=0.93, age=12.0)


def scripted(registry, *outcomes, rung="sorry"):
    left = list(outcomes)

    @degrade_to(rung, name="watched", registry=registry)
    async def ask():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return ask


async def test_a_providers_answer_has_no_other_source(registry):
    with watch() as seen:
        assert await scripted(registry, "good")() == "good"

    assert (seen.degraded, seen.source, seen.similarity, seen.age, seen.error) == (False, None, None, None, None)


async def test_a_recalled_answer_tells_its_rung_similarity_age_and_reason(registry):
    error = OSError("down")
    with watch() as seen:
        assert await scripted(registry, error, rung=Memory())() == "kept"

    assert (seen.degraded, seen.source, seen.similarity, seen.age) == (True, "Memory", 0.93, 12.0)
    assert seen.error is error


async def test_a_rung_may_name_its_own_source(registry):
    def rung(call):
        return Recalled("text", source="intranet wiki")

    with watch() as seen:
        await scripted(registry, OSError(), rung=rung)()

    assert seen.source == "intranet wiki"
    assert registry.degradations["watched"].stats().by_rung == {"rung": 1}


async def test_of_several_calls_the_latest_ones_facts_stay(registry):
    ask = scripted(registry, OSError(), "good", OSError(), TypeError())
    with watch() as seen:
        await ask()
        assert (seen.degraded, seen.source) == (True, "static")
        await ask()
        assert (seen.degraded, seen.source, seen.error) == (False, None, None)
        await ask()
        with pytest.raises(TypeError):
            await ask()

    assert (seen.degraded, seen.source) == (False, None)
    assert isinstance(seen.error, TypeError)


async def test_an_outer_policy_does_not_wipe_out_that_an_inner_one_fell_back(registry):
    @degrade_to("outer", name="outer", registry=registry)
    @degrade_to("inner", name="inner", registry=registry)
    async def ask():
        raise OSError

    with watch() as seen:
        assert await ask() == "inner"

    assert (seen.degraded, seen.source) == (True, "static")


async def test_a_stream_is_watched_too(registry):
    fail = True

    @degrade_to("sorry", registry=registry)
    async def tokens():
        if fail:
            raise OSError
        yield "good"

    with watch() as seen:
        assert [item async for item in tokens()] == ["sorry"]
        assert seen.degraded
        fail = False
        assert [item async for item in tokens()] == ["good"]

    assert not seen.degraded


async def test_tasks_started_inside_are_watched_and_others_are_not(registry, clock):
    ask = scripted(registry, *[OSError() for _ in range(3)])

    async def outsider(go):
        await go.wait()
        await ask()

    go = anyio.Event()
    async with anyio.create_task_group() as outside:
        outside.start_soon(outsider, go)
        with watch() as empty:
            go.set()
            await anyio.wait_all_tasks_blocked()
        with watch() as seen:
            async with anyio.create_task_group() as inside:
                inside.start_soon(ask)

    assert not empty.degraded
    assert seen.degraded


async def test_concurrent_watchers_see_their_own_calls_only(registry, clock):
    async def rung(call):
        await clock.sleep(1)
        return Recalled(call.arguments["number"], age=float(call.arguments["number"]))

    @degrade_to(rung, registry=registry)
    async def ask(number: int) -> int:
        if number % 2:
            raise OSError
        return number

    ages = {}

    async def caller(number):
        with watch() as seen:
            assert await ask(number) == number
        ages[number] = seen.age

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(caller, number)

    assert ages == {number: float(number) if number % 2 else None for number in range(100)}


async def test_callers_who_share_one_computation_are_each_told(registry, clock):
    async def rung(call):
        await clock.sleep(1)
        return Recalled("one for all", age=5.0)

    @degrade_to(rung, registry=registry)
    async def ask() -> str:
        raise OSError

    ages = []

    async def caller():
        with watch() as seen:
            await ask()
        ages.append((seen.degraded, seen.age))

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(caller)

    assert clock.now() == 1
    assert ages == [(True, 5.0)] * 50


async def test_the_inner_of_two_blocks_gets_the_facts(registry):
    ask = scripted(registry, OSError())
    with watch() as outer, watch() as inner:
        await ask()

    assert inner.degraded
    assert not outer.degraded


async def test_facts_from_every_layer_meet(registry, clock):
    @degrade_to("sorry", registry=registry)
    @classified_retry(max_attempts=3, registry=registry)
    async def ask():
        raise ConnectionError("down")

    async with clock.autojump():
        with watch() as seen:
            assert await ask() == "sorry"

    assert (seen.attempts, seen.retries, seen.degraded) == (3, 2, True)
    assert repr(seen) == "<Seen attempts=3 retries=2 degraded=True source='static' error=AIServiceError>"


def test_a_repr_shows_what_happened_and_no_message():
    assert repr(Seen()) == "<Seen nothing yet>"
    assert repr(Seen(error=OSError("my prompt"))) == "<Seen error=OSError>"


def test_a_watch_is_for_one_block():
    block = watch()
    with block as seen:
        pass

    assert isinstance(seen, Seen)
    with pytest.raises(RuntimeError, match="one block"), block:
        pass


# -- usage, which a function may report, return, or both


@pytest.mark.parametrize("reports", [True, False])
async def test_a_usage_that_is_reported_and_returned_counts_once(registry, reports):
    @classified_retry(registry=registry)
    async def ask():
        if reports:
            report_usage(Usage(5))
        return Reply("good", usage=Usage(5))

    with watch() as seen:
        await ask()

    assert seen.usage == Usage(5)


async def test_of_calls_at_once_each_ones_report_counts_in_place_of_its_own_usage_only(registry):
    @classified_retry(registry=registry)
    async def ask(reported):
        await anyio.lowlevel.checkpoint()
        if reported:
            report_usage(Usage(reported))
        await anyio.lowlevel.checkpoint()
        return Reply("good", usage=Usage(1))

    with watch() as seen:
        async with anyio.create_task_group() as tasks:
            for reported in (100, 0, 10):
                tasks.start_soon(ask, reported)

    assert seen.usage == Usage(111)


async def test_what_a_fallback_inside_reports_counts_in_place_of_the_outer_functions_usage(registry):
    def rung(call):
        report_usage(Usage(7))
        return "from the rung"

    @degrade_to(rung, name="inner", registry=registry)
    async def inner():
        raise OSError

    @classified_retry(registry=registry)
    async def outer():
        return Reply(await inner(), usage=Usage(7))

    with watch() as seen:
        await outer()

    assert (seen.usage, seen.degraded) == (Usage(7), True)


@pytest.mark.parametrize("outcome", ["good", TypeError()])
async def test_a_watched_call_leaves_no_mark_on_its_callers_context(registry, outcome):
    ask = scripted(registry, "good", outcome)
    await ask()
    with watch():
        before = dict(contextvars.copy_context())
        with pytest.raises(TypeError) if isinstance(outcome, Exception) else anyio.CancelScope():
            await ask()
        after = dict(contextvars.copy_context())

    assert after == before
