"""The hard partition: calls that differ in anything but the question never share an answer."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import subprocess
import sys
from types import MappingProxyType
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall, Recalled
from resilient_ai._degrade_to.digest import NoScope, digest
from resilient_ai.similar import SimilarAnswers

QUESTION = "How can I reset my password today?"
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.binary(max_size=8),
        st.dates(),
        st.decimals(allow_nan=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.frozensets(st.integers() | st.text(max_size=4), max_size=3),
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def same(one, other):
    """Equal, and of equal types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return repr(one) == repr(other)


def call(text=QUESTION, **arguments):
    return FailedCall("bot.ask", (), {}, {"text": text, **arguments}, now=1.0)


@given(values, values)
def test_digests_are_equal_exactly_for_equal_values_of_equal_types(one, other):
    assert (digest(one) == digest(other)) == same(one, other)


@given(arguments, arguments)
def test_no_answer_ever_crosses_from_one_scope_to_another(one, other):
    with SimilarAnswers(embedder="trigrams", guard=None, threshold=0.8) as memory:
        memory.remember(call(**one), "the answer")
        memory.flush()
        found = memory.recall(call(**other))
        paraphrase = memory.recall(call("how can i reset the password today", **one))

    assert isinstance(found, Recalled) == same(one, other)
    assert isinstance(paraphrase, Recalled)


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12), st.booleans())
def test_tenants_share_nothing_even_where_a_tenant_is_the_question(one, other, first):
    assume(one != other)

    def order(tenant, text):
        return {"tenant": tenant, "text": text} if first else {"text": text, "tenant": tenant}

    for text in (None, lambda asked: asked.arguments["text"], "text"):
        with SimilarAnswers(embedder="trigrams", guard=None, text=text) as memory:
            memory.remember(FailedCall("f", (), {}, order(one, one)), "the answer")
            memory.flush()

            assert memory.recall(FailedCall("f", (), {}, order(other, one))) is NO_ANSWER


def test_values_that_look_alike_are_not_alike():
    numbers = [1, 1.0, True, "1", b"1", None, "None", decimal.Decimal(1)]
    alike = [*numbers, [1], (1,), {1}, {"1": 1}, {1: 1}, [[1], []], [[], [1]], ["a", "b"], ["ab"]]

    assert len({digest(each) for each in alike}) == len(alike)


class Colour(enum.Enum):
    RED = 1


class Mood(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.datetime


def test_enums_dataclasses_and_dates_count_by_value():
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    assert digest(Colour.RED) != digest(Mood.RED)
    assert digest(Point(1, now)) == digest(Point(1, now))
    assert digest(Point(1, now)) != digest(Point(2, now))


class Tenant(str):
    __slots__ = ()


class Pair(NamedTuple):
    one: int
    other: int


class NotGiven:
    """What SDKs have for a parameter that was not given."""


def test_classes_of_the_users_over_plain_values_count_with_their_value():
    assert digest(Tenant("a")) == digest(Tenant("a"))
    assert len({digest(each) for each in (Tenant("a"), Tenant("b"), "a", "b")}) == 4
    assert len({digest(each) for each in (Pair(1, 2), Pair(2, 1), (1, 2), [1, 2])}) == 4
    assert digest(MappingProxyType({"a": 1})) != digest(MappingProxyType({"a": 2}))


def test_an_object_with_nothing_in_it_counts_by_its_class():
    assert digest(NotGiven()) == digest(NotGiven())
    filled = NotGiven()
    filled.value = 1

    assert digest(NotGiven()) != digest(filled)


def test_objects_without_a_value_equal_only_themselves():
    class Client:
        pass

    one, other = Client(), Client()

    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_a_new_object_in_the_place_of_an_old_one_is_another():
    class Client:
        pass

    seen = {digest(Client()) for _ in range(50)}

    assert len(seen) == 50


def test_what_can_neither_be_compared_nor_told_apart_shares_with_nobody():
    with pytest.raises(NoScope):
        digest(object())
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NoScope):
        digest(loop)
    with SimilarAnswers(embedder="trigrams") as memory:
        memory.remember(call(client=object()), "the answer")

        assert memory.recall(call(client=object())) is NO_ANSWER
        assert memory.stats().not_remembered == {"no scope": 1}


def test_digests_are_the_same_in_another_process():
    code = "from resilient_ai._degrade_to.digest import digest; print(digest('a', [1, {'b': {2, 3}}], None))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert other.stdout.strip() == digest("a", [1, {"b": {3, 2}}], None)
