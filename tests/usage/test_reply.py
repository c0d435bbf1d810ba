"""A reply is its text in every respect, and knows more."""

from __future__ import annotations

import copy
import json
import pickle
import sqlite3
from contextlib import closing

import pytest

from resilient_ai import LastAnswer, degrade_to
from resilient_ai._core.frozen import frozen
from resilient_ai.providers import Reply, ToolCall
from resilient_ai.usage import Usage

CALL = ToolCall("call_1", "weather", {"city": "Oslo"})


@pytest.fixture
def reply() -> Reply:
    return Reply(
        "It rains.",
        finish_reason="stop",
        usage=Usage(3, 2),
        tool_calls=[CALL],
        parsed={"rain": True},
        model="gpt-4o-mini",
        endpoint="us",
        raw=object(),
        extra={"google": {"signatures": {"call_1": "c2ln"}}},
    )


def test_it_compares_hashes_and_prints_like_its_text(reply):
    assert reply == "It rains."
    assert hash(reply) == hash("It rains.")
    assert {reply: 1}["It rains."] == 1
    assert (str(reply), repr(reply), f"{reply:>10}") == ("It rains.", "'It rains.'", " It rains.")
    assert type(str(reply)) is str
    assert json.loads(json.dumps({"answer": reply})) == {"answer": "It rains."}
    assert isinstance(reply, str)


def test_a_database_takes_it_for_a_text(reply):
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute("select ?", (reply,)).fetchone() == ("It rains.",)


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: text,
        lambda text: [text],
        lambda text: [text, "and", text],
        lambda text: (text, text),
        lambda text: {"role": "user", "content": text},
        lambda text: {text: [{text}]},
        lambda text: [text, 5],
    ],
    ids=["alone", "in a list", "among texts", "twice", "in a message", "as a key", "beside a number"],
)
def test_it_is_a_key_like_its_text_wherever_it_stands(reply, shape):
    assert frozen(shape(reply)) == frozen(shape("It rains."))
    assert frozen(shape(Reply(""))) == frozen(shape(""))


async def test_a_call_with_a_reply_is_the_call_with_its_text(reply, registry):
    answers = iter(["first", OSError("down")])

    @degrade_to(LastAnswer(), registry=registry)
    async def ask(history: list[str]) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await ask(["hello", reply])

    assert await ask(["hello", "It rains."]) == "first"


def test_a_reply_made_by_hand_knows_nothing_more():
    bare = Reply("text")

    assert bare == "text"
    assert (bare.finish_reason, bare.usage, bare.tool_calls, bare.parsed, bare.model, bare.endpoint, bare.raw) == (
        *(None, None, (), None, None, None, None),
    )
    assert Reply() == ""


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, *(lambda it, p=p: pickle.loads(pickle.dumps(it, p)) for p in range(2, 6))],
    ids=["copy", "deepcopy", "pickle 2", "pickle 3", "pickle 4", "pickle 5"],
)
def test_pickles_and_copies_keep_all_but_the_raw_result(reply, again):
    other = again(reply)

    assert type(other) is Reply
    assert other == reply
    assert (other.finish_reason, other.usage, other.tool_calls, other.parsed) == (
        *("stop", Usage(3, 2), (CALL,), {"rain": True}),
    )
    assert (other.model, other.endpoint, other.message) == ("gpt-4o-mini", "us", reply.message)
    assert other.raw is None


def test_a_deep_copy_shares_nothing_that_can_change(reply):
    other = copy.deepcopy(reply)
    other.tool_calls[0].arguments["city"] = "Bergen"

    assert reply.tool_calls[0].arguments == {"city": "Oslo"}


def test_another_text_can_have_the_same_facts(reply):
    marked = reply.with_text(f"[CACHED] {reply}")

    assert marked == "[CACHED] It rains."
    assert (marked.usage, marked.tool_calls, marked.raw) == (reply.usage, reply.tool_calls, reply.raw)


def test_it_is_a_message_to_go_on_from(reply):
    assert Reply("hi").message == {"role": "assistant", "content": "hi"}
    assert reply.message == {
        "role": "assistant",
        "content": "It rains.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        ],
        "extra_content": {"google": {"signatures": {"call_1": "c2ln"}}},
    }
    assert Reply(tool_calls=[CALL]).message["content"] is None
    json.dumps(reply.message)
