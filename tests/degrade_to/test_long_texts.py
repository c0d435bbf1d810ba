"""A long or a hostile text costs time in proportion to its length, and none of it in the event loop."""

from __future__ import annotations

import inspect
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import FailedCall, degrade_to, first_sentences, key_sentences, sentiment
from resilient_ai._degrade_to import sentiment as sentiment_file
from resilient_ai._degrade_to.sentences import key, sentences
from resilient_ai._degrade_to.sentiment import judged

FAMILIES = {
    "full stops": ".",
    "full stops and closers": ".)",
    "closers": '."”)))',
    "numbers of a list": "1. ",
    "abbreviations": "No. e.g. Dr. ",
    "blank lines": "\n \t",
    "list items": "\n-",
    "mixed marks": ".!?…",
    "apostrophes": "a'",
    "emoji": "😀",
    "emoji and words": "😀 good ",
    "good but": "good but ",
    "one long word": "a",
}


def text_of(piece, length):
    return f"Warm up. {piece * (length // len(piece))}x"


def seconds(work, text):
    best = 9e9
    for _ in range(3):
        started = time.thread_time()
        work(text)
        best = min(best, time.thread_time() - started)
    return best


@pytest.mark.parametrize("piece", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("work", [sentences, lambda text: key(text, 3), judged], ids=["sentences", "key", "sentiment"])
def test_four_times_the_text_takes_about_four_times_as_long(work, piece):
    work("Warm up.")
    # Long enough to be measured, and below the lengths at which texts are cut.
    short, long = (seconds(work, text_of(piece, length)) for length in (4_500, 18_000))

    assert long < 9 * short + 0.005


EMOJI = frozenset("😀😡")


@given(st.text(st.sampled_from("ab  \n.😀😡"), max_size=6_000), st.integers(1, 3))
def test_a_text_is_given_to_vader_in_small_pieces_and_whole(text, times):
    pieces = list(sentiment_file._pieces(text * times, EMOJI))

    for piece in pieces:
        assert len(piece) <= 2_000
        assert sum(sign in EMOJI for sign in piece) <= 20
    plain = [sign for sign in text * times if sign not in EMOJI]
    assert [sign for sign in "".join(pieces) if sign not in EMOJI] == plain
    if len(text) <= 1_000 and sum(sign in EMOJI for sign in text) < 20:
        assert list(sentiment_file._pieces(text, EMOJI)) == [text]


def test_the_end_of_a_long_text_counts_too():
    pytest.importorskip("vaderSentiment")
    neutral = "The parcel arrived on Tuesday. " * 200

    assert sentiment(neutral) == "neutral"
    assert sentiment(f"{neutral}The phone is terrible, awful, horrible and useless.") == "negative"
    assert sentiment(f"{neutral}The phone is great, wonderful, superb and lovely.") == "positive"


LONG = "The harbour bridge closes on Monday. Engineers found a terrible crack in its steel. " * 300


@pytest.mark.parametrize("rule", [key_sentences(2), sentiment], ids=["key_sentences", "sentiment"])
async def test_a_long_text_is_worked_on_beside_the_event_loop(registry, rule):
    waiting = rule(FailedCall("ask", arguments={"text": LONG}))
    assert inspect.isawaitable(waiting)
    answer = await waiting
    ask = degrade_to(rule, rung_timeout=None, registry=registry)(failing)

    assert await ask(LONG) == answer


async def failing(text):
    raise OSError


async def test_a_short_text_is_answered_at_once(registry):
    sentiment("loads the lexicon")
    for rule in (first_sentences, key_sentences(2), sentiment):
        assert isinstance(rule(FailedCall("ask", arguments={"text": "Great. Very good."})), str)


def test_outside_of_an_event_loop_every_text_is_answered_at_once():
    for rule in (key_sentences(2), sentiment):
        assert isinstance(rule(FailedCall("ask", arguments={"text": LONG})), str)


def test_of_a_huge_text_no_more_sentences_are_looked_for_than_are_wanted():
    assert first_sentences(LONG * 100, 1) == "The harbour bridge closes on Monday."
