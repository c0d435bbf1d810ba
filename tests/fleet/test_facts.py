"""Which refusals the others are told of, and how long they believe it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import ErrorType
from resilient_ai._core.sharing import Subject
from resilient_ai._fleet.facts import believed, fact_of, hashed
from resilient_ai.redis._messages import News, news_of, news_of_row

KEY, WORKER = "0123456789abcdef01234567", "00ff00ff00ff00ff"
GOOD = {"k": KEY, "f": "rate_limit", "r": 5000, "c": 0, "by": WORKER}


@pytest.mark.parametrize(
    ("error_type", "wait", "alone", "confirmed"),
    [
        (ErrorType.RATE_LIMIT, 10.0, 10, 10),
        (ErrorType.RATE_LIMIT, 300.0, 60, 300),
        (ErrorType.RATE_LIMIT, 9000.0, 60, 600),
        (ErrorType.QUOTA_EXCEEDED, None, 10, 600),
        (ErrorType.AUTHENTICATION, None, 10, 600),
        (ErrorType.PERMISSION, 3.0, 3, 3),
    ],
)
def test_a_refusal_that_holds_for_all_is_a_fact_within_bounds(error_type, wait, alone, confirmed):
    fact = fact_of(error_type, wait)

    assert (fact.alone, fact.confirmed) == (alone, confirmed)


@pytest.mark.parametrize(
    "error_type",
    [each for each in ErrorType if each.name not in ("RATE_LIMIT", "QUOTA_EXCEEDED", "AUTHENTICATION", "PERMISSION")],
)
def test_what_may_be_one_worker_s_own_trouble_is_no_fact(error_type):
    assert fact_of(error_type, 30.0) is None


@pytest.mark.parametrize("wait", [None, 0.0, 0.9])
def test_a_rate_limit_without_a_wait_worth_telling_is_no_fact(wait):
    assert fact_of(ErrorType.RATE_LIMIT, wait) is None


@pytest.mark.parametrize("seconds", [1e12, 601.0])
def test_nobody_outside_can_rest_an_endpoint_for_longer_than_is_believed(seconds):
    assert believed(ErrorType.RATE_LIMIT, seconds, confirmed=False) == 60
    assert believed(ErrorType.AUTHENTICATION, seconds, confirmed=False) == 10
    assert believed(ErrorType.AUTHENTICATION, seconds, confirmed=True) == 600


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_duration_that_is_none_is_not_believed(seconds):
    assert believed(ErrorType.RATE_LIMIT, seconds, confirmed=True) == 0


def test_another_credential_or_fleet_is_another_subject():
    keys = [
        hashed("prod", Subject("us", "sk-secret")),
        hashed("prod", Subject("us", "sk-other")),
        hashed("prod", Subject("us")),
        hashed("test", Subject("us", "sk-secret")),
    ]

    assert len(set(keys)) == 4
    assert all(len(each) == 24 for each in keys)
    assert "secret" not in repr(Subject("us", "sk-secret"))


def test_a_message_is_read():
    assert news_of(json.dumps(GOOD)) == News(KEY, ErrorType.RATE_LIMIT, 5.0, False, WORKER)
    assert news_of(json.dumps({**GOOD, "f": "", "r": 0})).error_type is None
    assert news_of(json.dumps({"hi": WORKER})) == WORKER
    assert news_of_row([KEY, "rate_limit", 5000, WORKER, 1]) == News(KEY, ErrorType.RATE_LIMIT, 5.0, True, WORKER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": "short"}, {"k": None}, {"f": "no_such_type"}, {"f": 7}, {"r": -1}, {"r": 2**53}, {"r": 1.5}, {"r": "5"},
        {"r": True}, {"c": 2}, {"c": True}, {"c": None}, {"by": "A B"}, {"by": 7}, {"by": "x" * 33},
    ],
)  # fmt: skip
def test_a_message_that_does_not_fit_is_dropped(wrong):
    assert news_of(json.dumps({**GOOD, **wrong})) is None


@pytest.mark.parametrize("message", ["", "not json", "[]", "7", '{"hi": 7}', "[" * 1500, "x" * 3000, b"{}", None])
def test_what_is_no_message_is_dropped(message):
    assert news_of(message) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["k", "f", "r", "c", "by", "hi", "x"]), inner),
        max_leaves=10,
    )
)
def test_whatever_a_hostile_writer_sends_raises_nothing(value):
    found = news_of(json.dumps(value))
    row = news_of_row(value)

    assert all(each is None or isinstance(each, News | str) for each in (found, row))
