"""Many callers in an outage."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import degrade_to, key_sentences
from resilient_ai.events import RungFailed
from tests.degrade_to.support import failing, tenant


async def test_a_rung_that_takes_too_long_is_passed_over(registry, clock, events):
    async def slow(call):
        await clock.sleep(60)

    ask = degrade_to(slow, "static", rung_timeout=2, registry=registry)(failing())
    async with clock.autojump():
        assert await ask() == "static"

    assert clock.now() == 2
    assert isinstance(events[0], RungFailed)
    assert events[0].error == "CallTimeoutError: a call through 'slow' took longer than timeout_seconds=2"


async def test_equal_calls_are_computed_once_and_each_gets_its_own_answer(registry, clock):
    computed, answers = [], []

    async def small_model(call):
        computed.append(call.arguments["text"])
        await clock.sleep(0.02)
        return [call.arguments["text"]]

    @degrade_to(small_model, registry=registry)
    async def ask(text: str) -> list[str]:
        raise OSError

    async def caller(number):
        answers.append(await ask(f"question {number % 10}"))

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(caller, number)

    assert sorted(computed) == sorted(f"question {number}" for number in range(10))
    assert len(answers) == len({id(answer) for answer in answers}) == 1_000
    assert clock.now() == pytest.approx(0.02)
    assert registry.degradations[ask.__qualname__].stats().degraded == 1_000


async def test_equal_calls_that_fail_together_are_computed_once_also_by_a_plain_function(registry):
    computed, answers = [], []

    def rule(call):
        computed.append(call.args)
        return call.arguments["text"].upper()

    @degrade_to(rule, registry=registry)
    async def ask(text: str) -> str:
        raise OSError

    async def caller(text):
        answers.append(await ask(text))

    async with anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(caller, "ab"[number % 2])
    await ask("a")

    assert sorted(answers) == ["A"] * 500 + ["B"] * 500
    assert len(computed) == 3


async def test_few_rungs_work_at_a_time_and_nobody_waits_longer_than_the_limit(registry, clock):
    at_work = most = 0
    waited = []

    async def small_model(call):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await clock.sleep(0.05)
        at_work -= 1
        return call.arguments["number"]

    @degrade_to(small_model, "busy", rung_timeout=0.5, max_concurrency=20, name="crowd", registry=registry)
    async def ask(number: int):
        raise OSError

    async def caller(number):
        answer = await ask(number)
        assert answer in (number, "busy")
        waited.append(clock.now())

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(caller, number)
    by_rung = registry.degradations["crowd"].stats().by_rung

    assert most == 20
    assert max(waited) <= 0.5
    assert by_rung["small_model"] in range(180, 221)
    assert by_rung["small_model"] + by_rung["static"] == 1_000


async def test_a_hanging_rung_delays_a_thousand_callers_by_its_limit_only(registry, clock):
    async def hanging(call):
        await anyio.sleep_forever()

    @degrade_to(hanging, key_sentences, rung_timeout=2, registry=registry)
    async def ask(text: str) -> str:
        raise OSError

    answers = []

    async def caller(number):
        answers.append(await ask(f"Question {number}. Yes."))

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(caller, number)

    assert clock.now() == 2
    assert sorted(answers) == sorted(f"Question {number}. Yes." for number in range(1_000))


async def test_who_differs_in_anything_a_rung_can_see_never_shares_an_answer(registry, clock):
    async def looking(call):
        await clock.sleep(1)
        return tenant.get(), call.instance, type(call.error), call.args, call.kwargs

    class Bot:
        def __init__(self, error):
            self.error = error

        @degrade_to(looking, name="bots", registry=registry)
        async def ask(self, *args, **kwargs):
            raise self.error

    first, second = Bot(OSError()), Bot(TimeoutError())
    got = []

    async def caller(who, bot, args, kwargs):
        tenant.set(who)
        got.append((await bot.ask(*args, **kwargs), (who, bot, type(bot.error), args, kwargs)))

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for who in ("a", "b"):
            for bot in (first, second):
                for args in ((), (1,), (1.0,), (True,), ("1",), (b"1",), ([1],), ({"k": 1},), ({"k": True},)):
                    tasks.start_soon(caller, who, bot, args, {})
                    tasks.start_soon(caller, who, bot, args, {"k": args})
    first.error = TimeoutError()

    assert len(got) == 2 * 2 * 9 * 2
    for answer, asked in got:
        assert repr(answer) == repr(asked)


async def test_a_leader_that_leaves_does_not_take_the_others_with_it(registry, clock):
    started, begun = [], anyio.Event()

    async def slow(call):
        started.append(clock.now())
        begun.set()
        await clock.sleep(1)
        return "slow"

    @degrade_to(slow, registry=registry)
    async def ask(text: str) -> str:
        raise OSError

    answers = []

    async def caller():
        answers.append(await ask("hi"))

    async with clock.autojump(), anyio.create_task_group() as tasks:

        async def leader():
            with clock.move_on_after(0.5):
                await caller()

        tasks.start_soon(leader)
        await begun.wait()
        for _ in range(10):
            tasks.start_soon(caller)

    assert answers == ["slow"] * 10
    assert started == [0, 0.5]


async def test_arguments_that_cannot_be_compared_are_answered_all_the_same(registry):
    class Odd:
        __slots__ = ()
        __hash__ = None

    nested = []
    nested.append(nested)
    for value in (Odd(), nested):
        assert await degrade_to("sorry", name="odd", registry=registry)(failing())(value) == "sorry"
