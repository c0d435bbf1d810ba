"""What users of `@degrade_to` can rely on."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import (
    NO_ANSWER,
    ErrorType,
    RejectedResultError,
    degrade_to,
    register_classifier,
)
from resilient_ai._errors import BatchResultError
from resilient_ai._events import Degraded, RungFailed


def failing(error=None):
    """An async function that fails the same way at every call."""
    error = error if error is not None else OSError("down")

    async def ask(*args, **kwargs):
        raise error

    return ask


def passes(call):
    return NO_ANSWER


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


@pytest.mark.parametrize("error", [RuntimeError("boom"), Exception("boom"), OwnError("boom")])
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
