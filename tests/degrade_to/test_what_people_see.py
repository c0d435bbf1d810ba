"""Events, numbers and reprs of a fallback."""

from __future__ import annotations

import pytest

from resilient_ai import NO_ANSWER, LastAnswer, degrade_to, describe, key_sentences
from resilient_ai.events import Degraded
from tests.degrade_to.support import Cached, failing


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


def test_no_key_in_a_fallback_text_is_shown(registry):
    key = "sk-proj-4f9d0a7be21c4485a0f5"

    @degrade_to(f"Use {key} with the other service", name="ask", registry=registry)
    async def ask() -> str: ...

    with pytest.raises(ValueError, match="already exists with other settings") as error:
        degrade_to("Come back later", name="ask", registry=registry)(ask)

    assert "rungs=('Use [secret] with the other service')" in repr(describe(ask))
    assert key not in f"{error.value} {describe(ask).layers}"


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


@pytest.mark.parametrize("streams", [False, True])
async def test_a_plain_generator_as_rung_of_an_async_function_is_an_error_at_decoration(registry, streams):
    def tokens(call):
        yield 1

    async def ask():
        return "answer"

    async def stream():
        yield "answer"

    with pytest.raises(
        TypeError, match=r"rung tokens of @degrade_to is a plain generator, .* make it `async def tokens`"
    ):
        degrade_to(tokens, registry=registry)(stream if streams else ask)


async def test_a_stream_as_rung_of_a_function_that_returns_a_text_is_an_error_at_decoration(registry):
    async def tokens(call):
        yield 1

    async def ask() -> str:
        return "answer"

    with pytest.raises(TypeError, match=r"rung tokens of @degrade_to is a stream, but .* returns one answer"):
        degrade_to(tokens, registry=registry)(ask)
