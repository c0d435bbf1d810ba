"""How a degraded answer is marked."""

from __future__ import annotations

import pytest

from resilient_ai import degrade_to, first_sentences
from resilient_ai.providers import Reply
from tests.degrade_to.support import Cached, failing


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


class Remembered:
    def recall(self, call):
        return Reply("text", model="small")


@pytest.mark.parametrize("rung", [lambda call: Reply("text", model="small"), Remembered()], ids=["function", "memory"])
async def test_a_marked_reply_is_a_reply_that_still_knows_what_it_knew(registry, rung):
    ask = degrade_to(rung, mark="prefix", registry=registry)(failing())
    answer = await ask()

    assert type(answer) is Reply
    assert answer in ("[RULE-BASED] text", "[CACHED] text")
    assert answer.model == "small"
