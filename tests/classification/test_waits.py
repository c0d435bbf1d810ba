"""Waits that a provider names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import classify
from resilient_ai._classification.wait_hints import duration, wait_of
from tests.classification.support import reply


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "1234"}, 1.234),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after-ms": "-1", "retry-after": "4"}, 4),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "12.5s",
            },
            12.5,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "10"}, 10),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2015-10-21T07:28:00Z"}, 0),
    ],
)  # fmt: skip
def test_a_wait_in_headers_is_read_or_refused(headers, wait):
    assert wait_of(headers, [], "") == wait


def test_a_reset_may_be_a_unix_time_in_seconds_or_milliseconds():
    for factor in (1, 1000):
        moment = str(int((time.time() + 40) * factor))  # noqa: TID251 - the header is wall time
        wait = wait_of({"x-ratelimit-remaining": "0", "x-ratelimit-reset": moment}, [], "")

        assert wait == pytest.approx(40, abs=2)


def test_a_wait_in_a_body_is_read():
    assert wait_of({}, [{"error": {"details": [{"retryDelay": "18.25s"}]}}], "") == 18.25
    assert wait_of({}, [{"retryDelay": {"seconds": 3, "nanos": 500_000_000}}], "") == 3.5
    assert wait_of({}, [{"error": {"retry_after": 4}}], "") == 4
    assert wait_of({}, [{"error": {"retry_after_ms": 4}}], "") == 0.004
    assert wait_of({}, [{"retry_after": float("nan")}, {"retry_after": -1}, {"retry_after": True}], "") is None


def test_a_duration_in_a_message_about_a_bad_request_is_no_wait():
    assert classify(reply(400, {"message": "timeout must be less than 5 s, try again in 3 s"})).retry_after is None


@given(st.text(max_size=60))
def test_any_text_is_a_sane_duration_or_none(text):
    wait = duration(text)

    assert wait is None or 0 <= wait <= 366 * 86_400


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
                "x-should-retry",
            ]
        ),
        st.text(max_size=30) | st.floats().map(str) | st.integers().map(str),
    ),
    st.text(max_size=100),
)
def test_any_headers_give_a_sane_wait_or_none(headers, text):
    wait = wait_of(headers, [], text)

    assert wait is None or 0 <= wait <= 366 * 86_400


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_written_duration_is_read_back(hours, minutes, seconds, millis):
    text = f"{hours}h{minutes}m{seconds}.{millis:03}s"

    assert duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + millis / 1000)
