"""Memory: remembering while all is well, recalling in an outage."""

from __future__ import annotations

import gc
import threading
import weakref

import anyio
import pytest

from resilient_ai import AIServiceError, ErrorType, LastAnswer, Registry, classified_retry, degrade_to, watch
from resilient_ai.events import RungFailed
from resilient_ai.providers import Reply
from tests.degrade_to.support import Shelf, failing, lambda_async, tenant


async def echo(value):
    return value


async def test_a_memory_is_told_good_answers_and_asked_in_the_outage(registry):
    shelf, up = Shelf(), True

    @degrade_to(shelf, registry=registry)
    async def ask(text: str) -> str:
        if not up:
            raise OSError
        return text.upper()

    assert await ask("hi") == "HI"
    up = False

    assert await ask("ho") == "HI"
    assert shelf.kept == ["HI"]


async def test_a_fallbacks_answer_is_never_remembered_as_a_real_one(registry):
    shelf = Shelf()

    @degrade_to("inner", registry=registry)
    async def helper():
        raise OSError

    @degrade_to(shelf, name="same stack", registry=registry)
    @degrade_to("inner", name="below", registry=registry)
    async def stacked():
        raise OSError

    @degrade_to(shelf, name="inside", registry=registry)
    async def calling():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(helper)
        return "made of a fallback"

    @degrade_to(shelf, name="far inside", registry=registry)
    async def calling_the_caller():
        return await calling()

    assert await stacked() == "inner"
    assert await calling() == "made of a fallback"
    assert await calling_the_caller() == "made of a fallback"
    assert shelf.kept == []


async def test_what_is_rejected_half_read_or_empty_is_not_remembered(registry):
    shelf = Shelf()

    async def items():
        yield 1

    @degrade_to(shelf, registry=registry)
    @classified_retry(max_attempts=1, reject=lambda result: ErrorType.MODEL_OVERLOADED if result == "" else None)
    async def ask(result):
        return result

    with pytest.raises(AIServiceError):
        await ask("")
    stream = items()
    for result in (stream, iter([1]), None):
        await ask(result)
    await stream.aclose()

    assert shelf.kept == []


async def test_a_memory_that_breaks_does_not_break_the_call(registry, events):
    class Broken(Shelf):
        name = "broken shelf"

        def remember(self, call, answer):
            raise ValueError("full")

    ask = degrade_to(Broken(), "static", name="good", registry=registry)(lambda_async("HI"))

    assert await ask() == "HI"
    assert events == [RungFailed("good", "broken shelf", "remember", "ValueError: full")]


class SlowShelf(Shelf):
    """A memory behind a network, which answers once its gate is open."""

    def __init__(self):
        super().__init__()
        self.gate, self.at_work, self.most = anyio.Event(), 0, 0

    async def remember(self, call, answer):
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await self.gate.wait()
        self.at_work -= 1
        self.kept.append((tenant.get("nobody"), answer))


async def test_a_slow_memory_is_told_beside_the_caller_and_in_the_callers_context(registry):
    shelf = SlowShelf()
    ask = degrade_to(shelf, rung_timeout=None, registry=registry)(echo)

    async def caller(number):
        tenant.set(f"tenant {number}")
        assert await ask(number) == number

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(caller, number)
    assert shelf.kept == []
    shelf.gate.set()
    await anyio.wait_all_tasks_blocked()

    assert sorted(shelf.kept) == sorted((f"tenant {number}", number) for number in range(100))
    assert shelf.most == 8


async def test_a_memory_that_cannot_keep_up_forgets_the_oldest_and_says_how_many(registry):
    shelf = SlowShelf()
    ask = degrade_to(shelf, name="crowd", rung_timeout=None, registry=registry)(echo)
    for number in range(1_100):
        await ask(number)
    await anyio.wait_all_tasks_blocked()
    shelf.gate.set()
    await anyio.wait_all_tasks_blocked()

    assert registry.degradations["crowd"].stats().forgotten == 92
    assert sorted(answer for _, answer in shelf.kept) == [*range(8), *range(100, 1_100)]


async def test_a_memory_that_hangs_or_raises_later_is_told_and_holds_nobody_up(registry, clock, events):
    class Bad(SlowShelf):
        async def remember(self, call, answer):
            if answer == 0:
                raise ValueError("full")
            await anyio.sleep_forever()

    ask = degrade_to(Bad(), name="bad", rung_timeout=2, registry=registry)(echo)
    async with clock.autojump():
        for number in range(20):
            assert await ask(number) == number
        assert clock.now() == 0
        await clock.sleep(60)
    errors = [event.error for event in events]

    assert errors[0] == "ValueError: full"
    assert errors[1:] == ["CallTimeoutError: a call through 'Bad' took longer than timeout_seconds=2"] * 19
    assert {event.doing for event in events} == {"remember"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_end_of_a_loop_ends_what_is_still_being_remembered(backend):
    registry = Registry(listeners=())
    shelf = SlowShelf()
    ask = degrade_to(shelf, name="left", registry=registry)(echo)

    async def main():
        for number in range(50):
            await ask(number)
        await anyio.wait_all_tasks_blocked()

    anyio.run(main, backend=backend)
    gc.collect()

    assert shelf.kept == []
    assert registry.degradations["left"].stats().forgotten == 50


async def test_last_answer_gives_the_latest_answer_to_the_same_call_with_its_age(registry, clock):
    answers = ["old", ["new"]]

    @degrade_to(LastAnswer(max_age=60), registry=registry)
    async def ask(text: str, *, tone: str = "kind"):
        if not answers:
            raise OSError("down")
        return answers.pop(0)

    await ask("hi")
    clock.advance(5)
    given = await ask(text="hi", tone="kind")
    given.append("changed by the caller")
    clock.advance(60)
    with watch() as seen:
        first = await ask("hi")
        first.clear()

        assert await ask("hi") == ["new"]
    assert (seen.source, seen.age) == ("LastAnswer", 60)
    for other in (ask("hi", tone="dry"), ask("ho")):
        with pytest.raises(OSError, match="down"):
            await other
    clock.advance(0.1)
    with pytest.raises(OSError, match="down"):
        await ask("hi")


async def test_last_answer_is_bounded_and_keeps_what_is_used(registry):
    last, up = LastAnswer(max_entries=2), True

    @degrade_to(last, "forgotten", registry=registry)
    async def ask(number: int):
        if not up:
            raise OSError
        return number

    for number in (1, 2):
        await ask(number)
    up = False
    await ask(1)
    up = True
    await ask(3)
    up = False

    assert [await ask(number) for number in (1, 2, 3)] == [1, "forgotten", 3]
    stats = registry.stats()["degrade_to"][ask.__qualname__].rungs["LastAnswer"]
    assert stats == {"entries": 2, "hits": 3, "misses": 1, "too_old": 0}
    last.forget()
    assert await ask(1) == "forgotten"


async def test_last_answer_does_not_cross_functions_and_instances(registry):
    last = LastAnswer()

    class Bot:
        up = True

        @degrade_to(last, "none", name="bots", registry=registry)
        async def ask(self, text):
            if not self.up:
                raise OSError
            return "mine"

    asked = degrade_to(last, "none", name="function", registry=registry)(failing())
    bot, other = Bot(), Bot()
    await bot.ask("hi")
    bot.up = other.up = False

    assert await bot.ask("hi") == "mine"
    assert await other.ask("hi") == "none"
    assert await asked("hi") == "none"


async def test_last_answers_key_may_leave_out_and_add_what_tells_calls_apart(registry):
    last, up = LastAnswer(key=lambda call: (tenant.get(), call.arguments["text"])), True

    @degrade_to(last, "none", registry=registry)
    async def ask(text: str, request_id: object):
        if not up:
            raise OSError
        return text

    tenant.set("a")
    await ask("hi", object())
    up = False

    assert await ask("hi", object()) == "hi"
    tenant.set("b")
    assert await ask("hi", object()) == "none"


async def test_last_answer_keeps_no_argument_alive_and_nothing_it_cannot_copy(registry):
    class Session:
        pass

    last = LastAnswer()
    ask = degrade_to(last, registry=registry)(lambda_async("answer"))
    session = Session()
    gone = weakref.ref(session)
    await ask(session)
    await degrade_to(last, name="locks", registry=registry)(lambda_async(threading.Lock()))()
    del session
    gc.collect()

    assert gone() is None
    assert last.stats().entries == 1


NOT_WHOLE = {
    "cut": Reply("It rai", finish_reason="length"),
    "a tool call": Reply("", finish_reason="tool_calls"),
    "filtered": Reply("I can", finish_reason="content_filter"),
    "cut by an SDK": {"choices": [{"finish_reason": "length", "message": {"content": "It rai"}}]},
    "unfinished": {"status": "in_progress", "output": []},
    "blank": "  \n",
}


@pytest.mark.parametrize("memory", [Shelf, LastAnswer])
@pytest.mark.parametrize("answer", NOT_WHOLE.values(), ids=NOT_WHOLE)
async def test_an_answer_that_did_not_end_well_reaches_its_caller_and_no_memory(registry, memory, answer):
    outcomes = [answer]

    @degrade_to(memory(), "sorry", registry=registry)
    async def ask():
        if not outcomes:
            raise OSError
        return outcomes.pop()

    assert await ask() == answer
    assert await ask() == "sorry"


@pytest.mark.parametrize("answer", [Reply("It rains.", finish_reason="stop", model="small"), "plain", [], {}, 0, False])
async def test_last_answer_keeps_what_ended_well_with_all_that_it_knows(registry, answer):
    outcomes = [answer]

    @degrade_to(LastAnswer(), "sorry", registry=registry)
    async def ask():
        if not outcomes:
            raise OSError
        return outcomes.pop()

    await ask()
    again = await ask()

    assert again == answer
    assert type(again) is type(answer)
    assert getattr(again, "model", None) == getattr(answer, "model", None)
