"""What users of `@degrade_to` can rely on."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import aclosing
from contextvars import ContextVar
from json import JSONDecodeError

import anyio
import pytest

from resilient_ai import (
    NO_ANSWER,
    AIServiceError,
    CallTimeoutError,
    Endpoint,
    ErrorType,
    LastAnswer,
    Recalled,
    Registry,
    RejectedResultError,
    classified_retry,
    degrade_to,
    describe,
    failover,
    first_sentences,
    key_sentences,
    register_classifier,
    watch,
)
from resilient_ai._core.errors import BatchResultError
from resilient_ai._core.events import Degraded, RungFailed


def failing(error=None):
    """An async function that fails the same way at every call."""
    error = error if error is not None else OSError("down")

    async def ask(*args, **kwargs):
        raise error

    return ask


def passes(call):
    return NO_ANSWER


async def echo(value):
    return value


class Shelf:
    """A rung with a memory, as a user would write one."""

    def __init__(self):
        self.kept = []

    def recall(self, call):
        return self.kept[-1] if self.kept else NO_ANSWER

    def remember(self, call, answer):
        self.kept.append(answer)


# -- which rung answers


async def test_a_good_answer_passes_and_no_rung_is_asked(registry):
    asked = []

    @degrade_to(asked.append, registry=registry)
    async def ask(text: str) -> str:
        return text.upper()

    assert await ask("hi") == "HI"
    assert asked == []


@pytest.mark.parametrize("value", ["sorry", None, 0, "", False, ["sorry"], {"answer": "sorry"}])
async def test_a_value_answers_when_the_ai_is_unavailable(registry, value):
    assert await degrade_to(value, registry=registry)(failing())() == value


async def test_the_first_rung_that_answers_wins(registry):
    asked = []

    async def second(call):
        asked.append("second")
        return "2"

    def third(call):
        asked.append("third")
        return "3"

    ask = degrade_to(passes, second, third, "static", registry=registry)(failing())

    assert await ask() == "2"
    assert asked == ["second"]


async def test_a_rung_sees_the_call_and_why_it_failed(registry, clock):
    calls = []

    class Bot:
        @degrade_to(lambda call: calls.append(call) or "sorry", registry=registry)
        async def ask(self, text: str, *, tone: str = "kind") -> str:
            raise ConnectionError("down")

    bot = Bot()
    clock.advance(7)
    await bot.ask("hi")
    (call,) = calls

    assert call.function.endswith("Bot.ask")
    assert (call.args, call.kwargs, call.arguments) == (("hi",), {}, {"text": "hi", "tone": "kind"})
    assert call.instance is bot
    assert isinstance(call.error, ConnectionError)
    assert call.verdict.error_type is ErrorType.NETWORK_ERROR
    assert call.now == 7
    assert "hi" not in repr(call)


async def test_a_rung_that_raises_is_told_and_passed_over(registry, events):
    def broken(call):
        raise KeyError("my prompt", "sk-1234567890abcdef")

    ask = degrade_to(broken, "static", registry=registry)(failing())

    assert await ask("my prompt") == "static"
    assert [type(event) for event in events] == [RungFailed, Degraded]
    assert events[0].error == "KeyError: ('[request]', '[secret]')"
    assert registry.degradations["failing.<locals>.ask"].stats().rung_failures == {"broken": 1}


async def test_when_every_rung_passes_the_caller_gets_the_original_error_untouched(registry):
    error = OSError("down")
    cause = error.__cause__ = ValueError("why")

    def broken(call):
        raise RuntimeError("mine")

    with pytest.raises(OSError, match="down") as caught:
        await degrade_to(passes, broken, registry=registry)(failing(error))()
    frames = [entry.name for entry in caught.traceback]

    assert caught.value is error
    assert (error.__cause__, error.__context__) == (cause, None)
    assert not hasattr(error, "__notes__")
    assert frames[-1] == "ask"
    assert not {"recall", "climb", "broken", "passes"} & set(frames)


@pytest.mark.parametrize("value", [["a", {"b": 1}], {"k": ["v"]}, bytearray(b"x")])
async def test_a_mutable_value_is_every_callers_own(registry, value):
    before = repr(value)
    ask = degrade_to(value, registry=registry)(failing())
    first = await ask()
    first.clear()

    assert repr(await ask()) == before


async def test_a_memorys_answer_is_every_callers_own(registry):
    shelf = Shelf()
    shelf.kept.append(["kept"])
    ask = degrade_to(shelf, registry=registry)(failing())
    (await ask()).clear()

    assert await ask() == ["kept"]


# -- what degrades


@pytest.mark.parametrize(
    "error_type",
    [
        kind
        for kind in ErrorType
        if kind not in (ErrorType.INVALID_REQUEST, ErrorType.CONTEXT_LENGTH, ErrorType.CONTENT_FILTER)
    ],
)
async def test_every_kind_of_unavailability_degrades(registry, error_type):
    ask = degrade_to("sorry", registry=registry)(failing(RejectedResultError("…", error_type)))

    assert await ask() == "sorry"


@pytest.mark.parametrize("error_type", ["invalid_request", "context_length", "content_filter"])
async def test_a_request_that_is_itself_at_fault_is_not_degraded(registry, error_type):
    error = RejectedResultError("…", ErrorType(error_type))
    with pytest.raises(RejectedResultError) as caught:
        await degrade_to("sorry", registry=registry)(failing(error))()

    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        TypeError("t"),
        AttributeError("a"),
        KeyError("k"),
        IndexError("i"),
        NameError("n"),
        ValueError("v"),
        ZeroDivisionError("z"),
        AssertionError("s"),
        NotImplementedError("n"),
        ImportError("i"),
        RecursionError("r"),
        BatchResultError("3 results for 4 items"),
    ],
)
async def test_a_bug_is_never_hidden_behind_a_fallback(registry, error):
    with pytest.raises(type(error)) as caught:
        await degrade_to("sorry", registry=registry)(failing(error))()

    assert caught.value is error


async def test_a_bug_in_the_handling_of_a_provider_error_is_a_bug(registry):
    @degrade_to("sorry", registry=registry)
    async def ask():
        try:
            raise ConnectionError("down")
        except ConnectionError as error:
            return error.no_such_attribute

    with pytest.raises(AttributeError):
        await ask()


class OwnError(Exception):
    """Nothing recognises it."""


@pytest.mark.parametrize(
    "error",
    [RuntimeError("boom"), Exception("boom"), OwnError("boom"), JSONDecodeError("no JSON", "<html>", 0)],
    ids=["RuntimeError", "Exception", "own", "JSONDecodeError"],
)
async def test_an_error_that_nothing_recognises_and_no_bug_is_degraded(registry, error):
    assert await degrade_to("sorry", registry=registry)(failing(error))() == "sorry"


async def test_a_users_classifier_decides_also_for_python_errors(registry):
    stop = register_classifier(lambda error: ErrorType.NETWORK_ERROR if isinstance(error, KeyError) else None)
    try:
        assert await degrade_to("sorry", registry=registry)(failing(KeyError("k")))() == "sorry"
    finally:
        stop()


@pytest.mark.parametrize(
    ("on", "degraded", "raised"),
    [
        (KeyError, KeyError("k"), OSError("o")),
        ((KeyError, ErrorType.TIMEOUT), TimeoutError("t"), OSError("o")),
        (ErrorType.INTERNAL_ERROR, RuntimeError("r"), TypeError("t")),
        (lambda error: "busy" in str(error), TypeError("busy"), TypeError("idle")),
        (Exception, TypeError("t"), KeyboardInterrupt()),
        ([], OwnError("never"), OSError("o")),
    ],
)
async def test_on_replaces_what_degrades(registry, on, degraded, raised):
    if on:
        assert await degrade_to("sorry", name="on", on=on, registry=registry)(failing(degraded))() == "sorry"
    with pytest.raises(type(raised)):
        await degrade_to("sorry", name="on", on=on, registry=registry)(failing(raised))()


@pytest.mark.parametrize("where", ["function", "rung"])
async def test_cancellation_passes_through(registry, where):
    async def hanging(call):
        await anyio.sleep_forever()

    @degrade_to(hanging, "sorry", name="left", rung_timeout=None, registry=registry)
    async def ask() -> str:
        if where == "function":
            await anyio.sleep_forever()
        raise OSError

    answers = []

    async def caller():
        answers.append(await ask())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert answers == []
    assert registry.degradations["left"].stats().calls == 0


async def test_a_broken_predicate_does_not_replace_the_error(registry):
    def broken(error):
        raise LookupError("mine")

    error = OSError("down")
    with pytest.raises(OSError, match="down") as caught:
        await degrade_to("sorry", on=broken, registry=registry)(failing(error))()

    assert caught.value is error
    assert error.__notes__ == ["a predicate of on= raised LookupError; the failure is not degraded"]


# -- during an outage


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


tenant: ContextVar[str] = ContextVar("tenant")


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


# -- memory


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


def lambda_async(result):
    async def ask(*args):
        return result

    return ask


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


# -- marks


class Cached:
    def recall(self, call):
        return Recalled("text", similarity=0.9, age=3.0)


@pytest.mark.parametrize(
    ("rung", "expected"),
    [
        (Cached(), "[CACHED] text"),
        (lambda call: "text", "[RULE-BASED] text"),
        (first_sentences, "[RULE-BASED] Hi."),
        ("text", "text"),
        (lambda call: {"not": "text"}, {"not": "text"}),
    ],
    ids=["memory", "function", "rule", "value", "no text"],
)
async def test_the_prefix_tells_where_text_comes_from(registry, rung, expected):
    assert await degrade_to(rung, mark="prefix", registry=registry)(failing())("Hi.") == expected


async def test_a_mark_of_ones_own_sees_where_the_answer_comes_from(registry):
    def mark(recalled):
        return recalled.answer, recalled.source, recalled.similarity, recalled.age

    ask = degrade_to(Cached(), mark=mark, registry=registry)(failing())

    assert await ask() == ("text", "Cached", 0.9, 3.0)


async def test_an_answer_that_cannot_be_marked_is_not_given(registry, events):
    ask = degrade_to("text", mark=lambda recalled: 1 / 0, registry=registry)(failing())
    with pytest.raises(OSError, match="down"):
        await ask()

    assert events[0].doing == "mark"


# -- streams


def stream_of(registry, *rungs, items=(), error=None, **settings):
    @degrade_to(*rungs, name="stream", registry=registry, **settings)
    async def tokens(text: str = "Hi. Yo."):
        for item in items:
            yield item
        if error is not None:
            raise error

    return tokens


async def all_of(stream):
    return [item async for item in stream]


async def test_a_stream_that_fails_before_its_first_item_becomes_one_item_or_a_stream(registry):
    async def fallback(call):
        for word in ("from", "a", "rung"):
            yield word

    async def empty(call):
        return
        yield

    down = OSError("down")
    assert await all_of(stream_of(registry, "sorry", error=down)()) == ["sorry"]
    registry = Registry(listeners=())
    assert await all_of(stream_of(registry, empty, fallback, "sorry", error=down)()) == ["from", "a", "rung"]
    registry = Registry(listeners=())
    marked = stream_of(registry, fallback, mark="prefix", error=down)
    assert await all_of(marked()) == ["[RULE-BASED] from", "a", "rung"]
    assert registry.degradations["stream"].stats().by_rung == {"fallback": 1}


async def test_a_rung_may_give_what_an_async_for_takes(registry):
    class Reply:
        async def __aiter__(self):
            yield "a"
            yield "b"

    assert await all_of(stream_of(registry, lambda call: Reply(), error=OSError())()) == ["a", "b"]


async def test_a_stream_that_cannot_be_marked_is_not_given(registry, events):
    closed = []

    async def fallback(call):
        try:
            yield "text"
        finally:
            closed.append(True)

    tokens = stream_of(registry, fallback, mark=lambda recalled: 1 / 0, error=OSError("down"))
    with pytest.raises(OSError, match="down"):
        await all_of(tokens())

    assert closed == [True]
    assert events[0].doing == "mark"


async def test_after_the_first_item_an_error_is_the_consumers(registry):
    error = OSError("cut")
    seen = []
    with pytest.raises(OSError, match="cut") as caught:
        async for item in stream_of(registry, "sorry", items=["a", "b"], error=error)():
            seen.append(item)  # noqa: PERF401 - what came before the error counts

    assert seen == ["a", "b"]
    assert caught.value is error


async def test_a_rungs_stream_that_breaks_or_stalls_before_its_first_item_is_passed_over(registry, clock, events):
    closed = []

    async def broken(call):
        raise ValueError
        yield

    async def stalled(call):
        try:
            await anyio.sleep_forever()
            yield
        finally:
            closed.append(True)

    tokens = stream_of(registry, broken, stalled, "sorry", error=OSError(), rung_timeout=3)
    async with clock.autojump():
        assert await all_of(tokens()) == ["sorry"]

    assert clock.now() == 3
    assert closed == [True]
    assert [type(event) for event in events] == [RungFailed, RungFailed, Degraded]


async def test_an_iterator_that_breaks_at_its_first_item_is_closed(registry):
    class Connection:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise ValueError("handshake")

        async def aclose(self):
            self.closed = True

    connection = Connection()
    tokens = stream_of(registry, lambda call: connection, "sorry", error=OSError())

    assert await all_of(tokens()) == ["sorry"]
    assert connection.closed


async def test_a_rungs_stream_that_stalls_later_ends_in_an_error(registry, clock):
    async def stalling(call):
        yield "first"
        await anyio.sleep_forever()

    got = []
    async with clock.autojump():
        with pytest.raises(CallTimeoutError, match="'stalling' took longer than timeout_seconds=3"):
            async for item in stream_of(registry, stalling, error=OSError(), rung_timeout=3)():
                got.append(item)  # noqa: PERF401

    assert got == ["first"]


async def test_every_stream_is_closed_when_the_consumer_walks_away(registry):
    closed = []

    async def fallback(call):
        try:
            yield 1
            yield 2
        finally:
            closed.append("fallback")

    @degrade_to(fallback, mark=lambda recalled: recalled.answer, registry=registry)
    async def tokens(fail: bool):
        try:
            if fail:
                raise OSError
            yield 1
            yield 2
        finally:
            closed.append("stream")

    for fail in (False, True):
        async with aclosing(tokens(fail)) as stream:
            async for _ in stream:
                break

    assert closed == ["stream", "stream", "fallback"]
    assert registry.degradations[tokens.__qualname__].stats().degraded == 1


async def test_only_a_stream_that_was_read_to_its_end_is_remembered_as_one_text(registry):
    shelf = Shelf()
    whole = stream_of(registry, shelf, items=["a", "b", "c"])
    async with aclosing(whole()) as stream:
        async for _ in stream:
            break
    with pytest.raises(OSError):
        await all_of(stream_of(registry, shelf, items=["a", "b"], error=OSError())())
    await all_of(stream_of(registry, shelf, items=[1, 2])())
    await all_of(stream_of(registry, shelf, items=["x" * 600_000] * 2)())
    assert shelf.kept == []
    assert await all_of(whole()) == ["a", "b", "c"]

    assert shelf.kept == ["abc"]
    assert await all_of(stream_of(registry, shelf, error=OSError())()) == ["abc"]


async def test_a_stream_below_that_fell_back_is_not_remembered(registry):
    shelf = Shelf()

    @degrade_to(shelf, name="outer", registry=registry)
    @degrade_to("inner", name="inner", registry=registry)
    async def tokens():
        raise OSError
        yield

    assert await all_of(tokens()) == ["inner"]
    assert shelf.kept == []


# -- the numbers, and what people see


async def test_the_numbers_tell_what_happened(registry, clock):
    outcomes = ["good", OSError(), OSError(), TypeError(), TimeoutError()]

    @degrade_to(lambda call: "rule" if outcomes else NO_ANSWER, name="ask", registry=registry)
    async def ask() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    results = []
    for _ in range(5):
        try:
            results.append(await ask())
        except Exception as error:
            results.append(type(error))
    stats = registry.degradations["ask"].stats()

    assert results == ["good", "rule", "rule", TypeError, TimeoutError]
    assert (stats.calls, stats.degraded, stats.misses, stats.passed) == (5, 2, 1, 1)
    assert stats.by_rung == {"rung 1": 2}
    assert stats.degraded_share == 0.4
    assert "40% degraded" in repr(registry)
    assert repr(registry.degradations["ask"]) == "<Degradation 'ask': 5 calls, 2 degraded, 2 failed>"
    registry.reset()
    assert registry.degradations["ask"].stats().calls == 0


async def test_each_fallback_is_told_once_with_its_reason(registry, events):
    ask = degrade_to(Cached(), name="ask", registry=registry)(failing(TimeoutError()))
    await ask("my prompt")

    assert events == [Degraded("ask", "Cached", "timeout", 0.9, 3.0)]


async def test_a_memory_whose_numbers_cannot_be_read_does_not_hide_the_others(registry):
    class Mute(Cached):
        def stats(self):
            raise OSError("my prompt")

    degrade_to(Mute(), name="mute", registry=registry)(failing())

    assert registry.as_dict()["degrade_to"]["mute"]["rungs"] == {"Mute": "OSError while reading its stats()"}


def test_numbers_of_a_memory_that_are_no_json_come_out_as_text_or_none(registry):
    class Array:
        """Compared item by item, as numpy does it."""

        __hash__ = None

        def __eq__(self, other):
            return self

        def __bool__(self):
            raise ValueError("ambiguous")

        def __str__(self):
            return "[1 2]"

    class Counting(Cached):
        def stats(self):
            return {"counts": Array(), "mean": float("nan"), "most": float("inf"), "least": 2}

    degrade_to(Counting(), name="counting", registry=registry)(failing())
    shown = registry.as_dict()["degrade_to"]["counting"]["rungs"]

    assert shown == {"Counting": {"counts": "[1 2]", "mean": None, "most": None, "least": 2}}


def test_describe_names_the_rungs_and_hides_what_is_no_text(registry):
    @degrade_to(key_sentences(2), LastAnswer(), {"api_key": "secret"}, registry=registry)
    async def ask(text: str) -> str: ...

    shown = repr(describe(ask))

    assert "key_sentences, LastAnswer, <a dict>" in shown
    assert "secret" not in shown


async def test_one_name_is_one_set_of_numbers_and_needs_one_set_of_rungs(registry):
    for _ in range(2):
        await degrade_to("sorry", name="both", registry=registry)(failing())()
    with pytest.raises(ValueError, match=r"other settings: rungs \('sorry',\) there, \('no',\) here"):
        degrade_to("no", name="both", registry=registry)(failing())

    assert registry.degradations["both"].stats().degraded == 2


async def test_two_rungs_of_one_name_are_told_apart(registry):
    ask = degrade_to(Cached(), Cached(), name="twins", registry=registry)(failing())
    await ask()

    assert "Cached, Cached (2)" in repr(describe(ask))


@pytest.mark.parametrize(
    ("rungs", "settings", "message"),
    [
        ((), {}, "degrade_to needs a rung: a value, a function"),
        (("a", "b"), {}, "rung 1 is a value and always answers, so that rung 2 is never asked"),
        ((LastAnswer,), {}, r"rung 1 is the class LastAnswer; give LastAnswer\(...\)"),
        ((dict,), {}, "rung 1 is the class dict; give a function of the call"),
        (
            (lambda: "sorry",),
            {},
            r"rung 1, <lambda in line \d+>, is called with the failed call; let it take one argument",
        ),
        ((lambda text, system: text, "a"), {}, "is called with the failed call; let it take one argument"),
        (("a",), {"on": "timeout"}, "on takes exception types, ErrorTypes or predicates, got 'timeout'"),
        (("a",), {"on": 5}, "on takes exception types, ErrorTypes or predicates, got 5"),
        (("a",), {"on": [BaseException]}, "got the class BaseException; cancellation and exits are nobody's failure"),
        (("a",), {"mark": "suffix"}, 'mark must be "prefix", a function of the Recalled answer or None'),
        (("a",), {"rung_timeout": 0}, "rung_timeout must be a number above 0 or None, got 0"),
        (("a",), {"max_concurrency": 0}, "max_concurrency must be an integer of at least 1, got 0"),
        (("a",), {"name": ""}, "name of a degrade_to must be a non-empty string, got ''"),
    ],
)
def test_a_bad_setting_is_a_value_error_at_decoration(registry, rungs, settings, message):
    with pytest.raises(ValueError, match=message):
        degrade_to(*rungs, registry=registry, **settings)(failing())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_age": 0}, "max_age must be a number above 0 or None, got 0"),
        ({"max_entries": 0}, "max_entries must be an integer of at least 1, got 0"),
        ({"key": "text"}, "key must be a function of the call or None, got a str"),
    ],
)
def test_a_bad_setting_of_last_answer_is_a_value_error(settings, message):
    with pytest.raises(ValueError, match=message):
        LastAnswer(**settings)


@pytest.mark.parametrize(
    ("positional", "named", "got"),
    [
        (("hi",), {}, "got a str"),
        ((), {"text": "hi"}, "got the arguments of a call"),
        ((print, "hi"), {}, "got the arguments of a call"),
    ],
)
async def test_forgotten_parentheses_are_an_error_that_says_so(positional, named, got):
    @degrade_to
    async def ask(text: str) -> str: ...

    with pytest.raises(TypeError, match=rf"{got}; write @degrade_to\(fallback, ...\) with its rungs in parentheses"):
        await ask(*positional, **named)


async def test_a_stream_as_rung_of_a_plain_function_is_an_error_at_decoration(registry):
    async def tokens(call):
        yield 1

    with pytest.raises(TypeError, match=r"rung tokens of @degrade_to is a stream, but .* returns one answer"):
        degrade_to(tokens, registry=registry)(failing())


# -- with the others


async def test_below_a_failover_rungs_see_the_arguments_that_the_caller_passed(registry):
    seen = []

    @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
    @failover(Endpoint("a"), Endpoint("b"), registry=registry)
    async def ask(endpoint, prompt: str, tone: str = "kind") -> str:
        raise OSError

    class Bot:
        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @failover(Endpoint("a"), Endpoint("b"), registry=registry)
        async def ask(self, endpoint, prompt: str) -> str:
            raise OSError

        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @classmethod
        async def of_class(cls, prompt: str) -> str:
            raise OSError

        @degrade_to(lambda call: seen.append(call.arguments) or "sorry", registry=registry)
        @staticmethod
        async def of_none(prompt: str) -> str:
            raise OSError

    for answer in (ask("hi"), Bot().ask("hi"), Bot.of_class("hi"), Bot().of_none("hi")):
        assert await answer == "sorry"

    assert seen == [{"prompt": "hi", "tone": "kind"}, {"prompt": "hi"}, {"prompt": "hi"}, {"prompt": "hi"}]


async def test_what_args_and_kwargs_take_is_named_by_number_and_by_name(registry):
    @degrade_to(lambda call: call.arguments, registry=registry)
    async def ask(first, *more, tone="kind", **rest):
        raise OSError

    assert await ask("a", "b", "c", size=3) == {"first": "a", "1": "b", "2": "c", "tone": "kind", "size": 3}


async def test_nothing_of_a_call_stays_behind_in_cycles(registry):
    ask = degrade_to("sorry", registry=registry)(failing(None))
    good = degrade_to("sorry", name="good", registry=registry)(lambda_async("pong"))

    async def raising():
        raise OSError

    fresh = degrade_to("sorry", name="fresh", registry=registry)(raising)
    for call in (ask, good, fresh):
        await call()
        gc.collect()
        for _ in range(50):
            await call()

        assert gc.collect() < 50
