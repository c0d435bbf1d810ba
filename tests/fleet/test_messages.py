"""What comes from the server is read strictly: whatever it is, it fits or it is dropped."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai._fleet.votes import Decision
from resilient_ai.redis._messages import News, news_of
from resilient_ai.redis._vote_messages import Question, decision_of_row, decision_of_state, pairs_of, question_of_pair

KEY = "0123456789abcdef01234567"
DECISION = {"k": KEY, "e": 7, "s": "o", "r": 500, "n": 1, "q": 6, "f": 61, "c": 88, "b": 12, "a": 14}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("kesrnqfcbahi"), inner, max_size=11),
    max_leaves=20,
)


def test_a_decision_is_read_as_it_was_written():
    expected = Decision(KEY, 7, True, 0.5, 1, 6, 61, 88, 12, 14)

    assert news_of(json.dumps(DECISION)) == expected
    assert decision_of_row([KEY, 7, "o", 500, 1, 6, 61, 88, 12, 14]) == expected
    assert decision_of_state(KEY, "7|o|1500|6|1|900|61|88|12|14", 1000) == expected
    assert news_of(json.dumps({"k": KEY, "q": 9})) == Question(KEY, 9)


@pytest.mark.parametrize(
    "change",
    [
        {"e": -1},
        {"e": 2**53},
        {"e": 1.5},
        {"e": True},
        {"e": "7"},
        {"s": "open"},
        {"s": None},
        {"r": -1},
        {"k": "short"},
        {"k": KEY.upper()},
        {"k": None},
        {"a": None},
        {"more": 1},
    ],
)
def test_a_decision_that_does_not_fit_in_one_field_is_dropped(change):
    assert news_of(json.dumps({**DECISION, **change})) is None


@given(JSON | st.just(DECISION))
def test_no_message_raises(told):
    assert isinstance(news_of(json.dumps(told)), News | Decision | Question | str | None)


@given(st.text(max_size=100))
def test_no_text_raises(text):
    assert not isinstance(news_of(text), News | Decision | Question)
    assert decision_of_state(KEY, text, 0) is None


@given(st.lists(JSON, max_size=12) | JSON)
def test_no_row_raises(row):
    assert isinstance(decision_of_row(row), Decision | None)
    assert isinstance(pairs_of(row), list)


def test_a_question_that_is_fetched_is_read_as_strictly_as_one_that_is_pushed():
    key = "0123456789abcdef01234567"
    refused = [
        ("x" * 1_000_000, "7"),
        ("../states", "7"),
        (key, "-7"),
        (key, "7.0"),
        (key, "9" * 16),
        (key, 7),
        (None, "7"),
    ]

    assert question_of_pair(key, "7") == Question(key, 7)
    assert [question_of_pair(*each) for each in refused] == [None] * len(refused)
