"""A fallback answers for plain functions as it does for async ones."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    NO_ANSWER,
    LastAnswer,
    classified_retry,
    deadline,
    degrade_to,
    first_sentences,
    key_sentences,
    sentiment,
    time_left,
    watch,
)
from resilient_ai.events import Degraded, RungFailed
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import isolated_registry
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")


@pytest.fixture
def guarded(caller, registry, clock):
    """What puts rungs on a function that answers at first, and is down a second later."""

    def ask(prompt):
        if clock.now() >= 1:
            raise ConnectionError
        return f"answer to {prompt}"

    return lambda *rungs, **settings: degrade_to(*rungs, name="ask", registry=registry, **settings)(
        caller.function(ask)
    )


def test_the_first_rung_that_has_an_answer_gives_it(caller, guarded, registry, events, clock):
    clock.advance(1)
    ask = guarded(lambda call: NO_ANSWER, lambda call: call.arguments["prompt"].upper(), "later")
    with watch() as seen:
        answer = caller.call(ask, "hi")

    assert answer == "HI"
    assert (seen.degraded, seen.source, type(seen.error)) == (True, "rung 2", ConnectionError)
    assert [type(event) for event in events] == [Degraded]
    assert registry.degradations["ask"].stats().by_rung["rung 2"] == 1


def test_a_mutable_value_is_a_copy_for_each_caller(caller, guarded, clock):
    clock.advance(1)
    ask = guarded({"text": "later"})
    first = caller.call(ask, "hi")
    first["text"] = "changed"

    assert caller.call(ask, "hi") == {"text": "later"}


def test_a_rung_that_raises_is_told_and_passed_over(caller, guarded, events, clock):
    clock.advance(1)
    ask = guarded(lambda call: 1 / 0, "later")

    assert caller.call(ask, "hi") == "later"
    assert [type(event) for event in events] == [RungFailed, Degraded]


def test_with_no_answer_the_caller_gets_the_original_error(caller, guarded, clock):
    clock.advance(1)
    with pytest.raises(ConnectionError):
        caller.call(guarded(lambda call: NO_ANSWER), "hi")


def test_a_memory_gives_what_the_provider_said(caller, guarded, clock):
    ask = guarded(LastAnswer(), mark="prefix")
    caller.call(ask, "hi")
    clock.advance(1)

    assert caller.call(ask, "hi") == "[CACHED] answer to hi"


def test_similar_answers_are_written_and_looked_up_beside_a_plain_function_too(registry, clock):
    @degrade_to(SimilarAnswers(embedder="trigrams"), registry=registry)
    def ask(prompt):
        if clock.now() >= 1:
            raise ConnectionError
        return f"answer to {prompt}"

    ask("what is the capital of France?")
    clock.advance(1)

    assert ask("What is the capital of France") == "answer to what is the capital of France?"


@pytest.mark.parametrize("rule", [first_sentences(1), key_sentences(1), sentiment], ids=["first", "key", "sentiment"])
def test_a_rule_works_on_long_texts_in_the_callers_own_thread(registry, rule):
    assert degrade_to(rule, registry=registry)(refused)("It is good. " * 5_000) in ("It is good.", "positive")


@pytest.mark.parametrize("kind", ["invalid_request", "context_length", "content_filter"])
def test_the_callers_own_mistakes_pass(caller, registry, kind):
    ask = degrade_to("later", registry=registry)(caller.scripted(ProviderError(kind)))
    with pytest.raises(ProviderError):
        caller.call(ask)


def test_a_bug_of_the_program_passes(caller, registry):
    ask = degrade_to("later", registry=registry)(caller.scripted(KeyError("typo")))
    with pytest.raises(KeyError):
        caller.call(ask)


def test_what_a_memory_keeps_is_parted_by_what_the_function_carries(registry, clock):
    memory = LastAnswer()

    def asking(tenant):
        @degrade_to(memory, name="carried", registry=registry)
        def ask(prompt):
            if clock.now() >= 1:
                raise ConnectionError
            return f"{tenant}: {prompt}"

        return ask

    ours, theirs = asking("ours"), asking("theirs")
    ours("hi")
    clock.advance(1)
    with pytest.raises(ConnectionError):
        theirs("hi")

    assert ours("hi") == "ours: hi"


# -- what a plain function cannot wait for


def test_an_async_rung_is_an_error_at_decoration(registry):
    async def look_up(call): ...

    def ask(): ...

    with pytest.raises(TypeError, match=r"rung look_up of @degrade_to has to be awaited, and .*ask is a plain"):
        degrade_to(look_up, registry=registry)(ask)


def test_a_timeout_of_a_rung_that_was_written_down_is_an_error_and_async_functions_may_have_one(registry):
    def ask(): ...
    async def ask_async(): ...

    with pytest.raises(ValueError, match=r"rung_timeout=5\.0 cannot stop a plain function"):
        degrade_to("later", rung_timeout=5.0, registry=registry)(ask)

    degrade_to("later", name="both", rung_timeout=1, registry=registry)(ask_async)
    degrade_to("later", name="both", registry=registry)(ask)


class Slow:
    """A memory that looks something up beside its caller."""

    def recall(self, call):
        return self.look_up()

    def remember(self, call, answer):
        return self.look_up()

    async def look_up(self):
        await anyio.lowlevel.checkpoint()
        return "looked up"


def test_what_a_memory_gives_to_be_awaited_is_waited_for_without_a_loop_of_the_callers(registry):
    ask = degrade_to(Slow(), "later", name="slow", registry=registry)(refused)

    assert ask() == "looked up"


async def test_within_a_running_loop_it_is_passed_over_and_told(registry, events):
    ask = degrade_to(Slow(), "later", name="slow", registry=registry)(refused)

    assert ask() == "later"
    assert [type(event) for event in events] == [RungFailed, Degraded]
    assert "waits for an event loop, which a plain function does not" in events[0].error


async def test_within_a_running_loop_rules_and_values_answer(registry):
    ask = degrade_to(key_sentences(1), "later", registry=registry)(refused)

    assert ask("It is good. " * 5_000) == "It is good."


async def test_a_wait_that_a_running_loop_forbids_is_degraded(registry):
    ask = degrade_to("later", registry=registry)(classified_retry("in a loop", registry=registry)(refused))

    assert ask() == "later"


def refused(*_args):
    raise ConnectionError


def test_a_function_is_told_an_earlier_end_than_its_caller_so_that_the_fallback_comes_in_time(registry):
    @degrade_to("later", registry=registry)
    def ask():
        return time_left()

    with isolated_registry(), deadline(15):
        assert (ask(), time_left()) == (14.5, 15)


def test_a_call_that_begins_too_late_is_told_so_and_made_all_the_same(registry):
    @degrade_to("later", registry=registry)
    def ask():
        return time_left()

    with isolated_registry(), deadline(0):
        assert ask() == 0.0
