"""A long job: every item has one outcome, outages are waited out, and nothing is asked twice."""

from __future__ import annotations

import gc
from contextlib import aclosing, suppress

import anyio
import pytest

from resilient_ai import circuit_breaker, classified_retry, degrade_to
from resilient_ai.jobs import Outcome, run_all
from tests.helpers import ProviderError, trio_in_ci

pytestmark = pytest.mark.usefixtures("provider_errors")


async def outcomes_of(job):
    return [outcome async for outcome in job]


@pytest.fixture
def ask(registry):
    @classified_retry(registry=registry)
    async def ask(item):
        await anyio.lowlevel.checkpoint()
        return f"answer to {item}"

    return ask


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_every_item_has_one_outcome_with_its_answer(ask, concurrency):
    found = await outcomes_of(run_all(ask, range(20), concurrency=concurrency))

    assert sorted(each.item for each in found) == list(range(20))
    assert all(each.answer == f"answer to {each.item}" and each.error is None for each in found)
    assert {each.attempts for each in found} == {1}


async def test_items_may_come_one_after_the_other_for_ever(ask):
    async def endless():
        number = 0
        while True:
            yield number
            number += 1

    seen = []
    async with aclosing(run_all(ask, endless(), concurrency=4)) as job:
        async for outcome in job:
            seen.append(outcome.item)
            if len(seen) == 100:
                break

    assert len(set(seen)) == 100


async def test_no_more_items_are_in_flight_than_told_and_few_are_taken_ahead(registry):
    flying = most = taken = 0

    def items():
        nonlocal taken
        for taken in range(1, 101):  # noqa: UP028
            yield taken

    @classified_retry(registry=registry)
    async def ask(_item):
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await anyio.lowlevel.checkpoint()
        flying -= 1

    ahead, done = 0, 0
    async for _ in run_all(ask, items(), concurrency=5):
        done += 1
        ahead = max(ahead, taken - done)

    assert most == 5
    assert done == 100
    assert ahead <= 12


async def test_an_outage_of_ten_minutes_loses_no_item_and_sends_few_calls(registry, clock):
    calls = during = 0

    @circuit_breaker("ask", failure_threshold=3, recovery_timeout=5, registry=registry)
    async def ask(item):
        nonlocal calls, during
        await clock.sleep(0.5)
        calls += 1
        if 5 <= clock.now() - begun < 605:
            during += 1
            raise ProviderError("model_overloaded")
        return item

    begun = clock.now()
    async with clock.autojump():
        found = await outcomes_of(run_all(ask, range(300), concurrency=10))

    assert sorted(each.answer for each in found) == list(range(300))
    assert calls - during == 300
    assert during <= 100


async def test_a_degraded_answer_is_no_answer(registry, clock):
    failures = {"b": 2}

    @degrade_to("unavailable", registry=registry)
    async def ask(item):
        if failures.get(item, 0):
            failures[item] -= 1
            raise ProviderError("model_overloaded")
        return item.upper()

    async with clock.autojump():
        found = await outcomes_of(run_all(ask, "abc"))

    assert sorted((each.item, each.answer) for each in found) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert {each.item: each.attempts for each in found}["b"] == 3


async def test_an_item_that_the_provider_refuses_is_an_outcome_at_once(registry):
    error = ProviderError("content_filter")

    @classified_retry(reraise=True, registry=registry)
    async def ask(item):
        if item == 1:
            raise error
        return item

    found = await outcomes_of(run_all(ask, [1, 2]))

    assert {each.item: each.error for each in found} == {1: error, 2: None}


async def test_patience_ends_the_waiting_of_one_item_with_its_last_error(registry, clock):
    @classified_retry(max_attempts=1, registry=registry)
    async def ask(item):
        if item == "never":
            raise ProviderError("model_overloaded")
        return item

    async with clock.autojump():
        found = {each.item: each for each in await outcomes_of(run_all(ask, ["never", "now"], patience=30))}

    assert found["now"].answer == "now"
    assert found["never"].error is not None
    assert found["never"].seconds <= 30


async def test_one_item_that_fails_for_ever_does_not_hold_the_others(registry, clock):
    @classified_retry(max_attempts=1, registry=registry)
    async def ask(item):
        await clock.sleep(1)
        if item == 0:
            raise ProviderError("timeout")
        return item

    done = []
    async with clock.autojump(), aclosing(run_all(ask, range(200), concurrency=5)) as job:
        async for outcome in job:
            done.append(outcome.item)
            if len(done) == 199:
                break

    assert sorted(done) == list(range(1, 200))


async def test_a_bug_ends_the_job_as_it_was_raised(registry):
    @classified_retry(registry=registry)
    async def ask(item):
        return {}["missing"] if item == 3 else item

    with pytest.raises(KeyError, match="missing"):
        await outcomes_of(run_all(ask, range(10), concurrency=2))


async def test_what_the_items_raise_ends_the_job(ask):
    def items():
        yield 1
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        await outcomes_of(run_all(ask, items(), concurrency=1))


@pytest.mark.parametrize("leave", ["break", "cancel", "error"])
async def test_leaving_early_cancels_what_is_in_flight(registry, leave):
    begun, ended = set(), set()

    @classified_retry(registry=registry)
    async def ask(item):
        begun.add(item)
        try:
            if item:
                await anyio.sleep_forever()
            return item
        finally:
            ended.add(item)

    async def consume():
        async with aclosing(run_all(ask, range(9), concurrency=3)) as job:
            async for _ in job:
                if leave == "break":
                    break
                if leave == "error":
                    raise LookupError
                scope.cancel()

    with anyio.CancelScope() as scope:
        with suppress(LookupError):
            await consume()

    assert begun == ended
    assert len(begun) >= 3


async def test_a_job_that_nobody_begins_leaves_nothing(ask):
    job = run_all(ask, range(3))
    del job
    gc.collect()

    assert ask is not None


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"concurrency": 0}, "concurrency"), ({"patience": 0}, "patience"), ({"patience": float("nan")}, "patience")],
)
def test_a_bad_setting_is_told_at_once(ask, settings, told):
    with pytest.raises(ValueError, match=told):
        run_all(ask, [], **settings)


async def test_a_plain_async_function_will_do():
    async def ask(item):
        return item

    assert await outcomes_of(run_all(ask, [1])) == [Outcome(1, 1, None, pytest.approx(0, abs=5), 1)]


@trio_in_ci
async def test_memory_does_not_grow_with_the_number_of_items(ask):
    import tracemalloc

    async def go(number):
        async for _ in run_all(ask, range(number), concurrency=10):
            pass

    await go(200)
    tracemalloc.start()
    await go(200)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await go(2_000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 100_000


async def test_a_bar_counts_the_outcomes_on_standard_error(ask, capsys):
    pytest.importorskip("tqdm")
    await outcomes_of(run_all(ask, range(3), progress=True))
    said = capsys.readouterr()

    assert said.out == ""
    assert "3/3" in said.err
