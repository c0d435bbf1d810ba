"""What `LastAnswer` keeps: little, nothing that can be read from its keys, nothing that it was told to forget."""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import dataclass, field

import pytest

from resilient_ai import NO_ANSWER, FailedCall, LastAnswer
from resilient_ai.types import Recalled


def call(*args, now=0.0, **arguments):
    return FailedCall("ask", args, arguments, arguments, now=now)


def recalled(memory, asked):
    found = memory.recall(asked)
    return found.answer if isinstance(found, Recalled) else None


def everything_in(thing):
    """All that can be reached from an object, in one text."""
    seen, left = {}, [thing]
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, type) or callable(part):
            continue
        seen[id(part)] = part
        left.extend(gc.get_referents(part))
    return " ".join(repr(part) for part in seen.values() if isinstance(part, str | bytes))


def test_no_prompt_can_be_read_from_what_is_kept():
    memory = LastAnswer()
    memory.remember(call(prompt="what about zebracorn", history=[{"content": "quuxhouse"}]), "an answer")

    assert recalled(memory, call(prompt="what about zebracorn", history=[{"content": "quuxhouse"}])) == "an answer"
    assert "an answer" in everything_in(memory)
    assert not any(word in everything_in(memory) for word in ("zebracorn", "quuxhouse"))


def test_two_memories_know_the_same_call_by_other_keys():
    one, other = LastAnswer(), LastAnswer()
    for memory in (one, other):
        memory.remember(call(prompt="hi"), "an answer")

    assert not set(one._kept) & set(other._kept)


def test_what_is_forgotten_is_gone():
    memory = LastAnswer()
    memory.remember(call(prompt="hi"), "zebracorn")
    memory.forget()

    assert memory.recall(call(prompt="hi")) is NO_ANSWER
    assert memory.stats().entries == 0
    assert "zebracorn" not in everything_in(memory)


@pytest.mark.parametrize(
    "answer",
    ["x" * 3_000, ["x" * 1_500, "y" * 1_500], {"text": "x" * 3_000}, {"deep": [{"text": "x" * 3_000}]}],
    ids=["text", "list", "dict", "deep"],
)
def test_it_is_bounded_by_bytes_and_the_least_recently_used_goes_first(answer):
    memory = LastAnswer(max_bytes=11_500)
    for number in range(3):
        memory.remember(call(number=number), answer)
    recalled(memory, call(number=0))
    memory.remember(call(number=3), answer)
    kept = [number for number in range(4) if recalled(memory, call(number=number)) is not None]

    assert 0 in kept
    assert 1 not in kept
    assert kept[-1] == 3


def test_an_answer_larger_than_all_room_is_not_kept_and_drops_no_other():
    memory = LastAnswer(max_bytes=4_000)
    memory.remember(call(number=0), "small")
    memory.remember(call(number=1), "x" * 10_000)
    memory.remember(call(number=2), [str(number) for number in range(50_000)])

    assert [recalled(memory, call(number=number)) for number in range(3)] == ["small", None, None]


def test_replacing_an_answer_takes_no_more_room():
    memory = LastAnswer(max_bytes=4_000)
    memory.remember(call(number=0), "small")
    for _ in range(10):
        memory.remember(call(number=1), "x" * 1_000)

    assert recalled(memory, call(number=0)) == "small"


@dataclass(frozen=True)
class Session:
    model: str
    token: str = field(compare=False)


class Odd:
    """Equal to all of its kind."""

    def __init__(self, tenant):
        self.tenant = tenant

    def __eq__(self, other):
        return isinstance(other, Odd)

    def __hash__(self):
        return 1


@pytest.mark.parametrize("make", [lambda tenant: Session("m", tenant), Odd], ids=["not compared", "always equal"])
def test_arguments_count_with_all_their_fields_compared_or_not(make):
    memory = LastAnswer()
    memory.remember(call(session=make("a")), "for a")

    assert recalled(memory, call(session=make("a"))) == "for a"
    assert recalled(memory, call(session=make("b"))) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_bytes": 0}, "max_bytes must be an integer of at least 1, got 0"),
        ({"scope": "acme"}, "scope must be a function of the call or None, got a str"),
    ],
)
def test_a_bad_setting_is_a_value_error(settings, message):
    with pytest.raises(ValueError, match=message):
        LastAnswer(**settings)


def test_what_changes_unseen_is_no_argument_to_know_a_call_by():
    numpy = pytest.importorskip("numpy")
    vector, line, memory = numpy.zeros(3), deque([1]), LastAnswer()
    for thing in (vector, line):
        memory.remember(call(thing=thing), "before")
    assert recalled(memory, call(thing=line)) == "before"
    vector[0] = 1
    line.append(2)

    assert recalled(memory, call(thing=vector)) is None
    assert recalled(memory, call(thing=line)) is None


def test_a_model_counts_by_its_values_given_or_defaulted():
    pydantic = pytest.importorskip("pydantic")

    class Request(pydantic.BaseModel):
        text: str
        tone: str = "kind"
        _token: str = pydantic.PrivateAttr(default="")

    memory, other = LastAnswer(), Request(text="hi")
    other._token = "another tenant's"
    memory.remember(call(request=Request(text="hi")), "an answer")

    assert recalled(memory, call(request=Request(text="hi", tone="kind"))) == "an answer"
    assert recalled(memory, call(request=Request(text="hi", tone="dry"))) is None
    assert recalled(memory, call(request=other)) is None
