"""Which rung answers."""

from __future__ import annotations

import pytest

from resilient_ai import NO_ANSWER, ErrorType, degrade_to
from resilient_ai.events import Degraded, RungFailed
from tests.degrade_to.support import Shelf, failing


def passes(call):
    return NO_ANSWER


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
