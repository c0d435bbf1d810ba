"""What the rules that need no model promise: sentences of the text itself, and no opinion where there is none."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER, FailedCall, degrade_to, first_sentences, key_sentences, sentiment, static_texts
from resilient_ai._degrade_to.sentences import joined, key, sentences
from resilient_ai._degrade_to.sentiment import by_words
from resilient_ai.types import Sentiment

ANY_SCRIPT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("abc ABC .!?…。！？،؟۔।  \n\n\t\"'”’)」0123456789-•"),
        st.characters(min_codepoint=0x0600, max_codepoint=0x06FF),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF),
    ),
    max_size=400,
)
PIECES = [
    "Dr.",
    "Mr.",
    "3.14",
    "e.g.",
    "No.",
    "5",
    "U.S.",
    "The rain fell.",
    "Ends!",
    "雨。",
    "نعم.",
    "J.",
    "\n\n",
    "-",
]
WORDS = st.lists(st.sampled_from(PIECES), max_size=120).map(" ".join)


def letters(text):
    return [each for each in text if not each.isspace()]


def is_subsequence(part, whole):
    rest = iter(whole)
    return all(each in rest for each in part)


# -- sentences


@given(st.one_of(ANY_SCRIPT, WORDS))
def test_sentences_lose_nothing_but_blanks(text):
    assert letters("".join(sentences(text))) == letters(text)


@given(st.one_of(ANY_SCRIPT, WORDS), st.integers(1, 5))
def test_a_summary_is_made_of_the_texts_own_sentences_in_their_order(text, count):
    given_sentences = sentences(text)
    for summary in (first_sentences(text, count), key_sentences(text, count)):
        assert is_subsequence(letters(summary), letters(text))
        chosen = [each for each in given_sentences if each in summary]
        assert len(chosen) >= min(count, len(set(given_sentences)))
    assert first_sentences(text, count) == joined(given_sentences[:count])


@given(WORDS)
def test_a_summary_does_not_change_from_run_to_run(text):
    assert key(text, 2) == key(text, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Lee met Mr. J. K. Ross. They left.", ["Dr. Lee met Mr. J. K. Ross.", "They left."]),
        ("It costs $3.50 a month. Cheap.", ["It costs $3.50 a month.", "Cheap."]),
        ("See Fig. 3 and No. 5. He said no. We left.", ["See Fig. 3 and No. 5.", "He said no.", "We left."]),
        ("Smith et al. 2004 agree. So do I.", ["Smith et al. 2004 agree.", "So do I."]),
        ("We use e.g. Python, etc. and more. Done.", ["We use e.g. Python, etc. and more.", "Done."]),
        ("She lives in the U.S. We met at 5 p.m. on Jan. 5.", ["She lives in the U.S.", "We met at 5 p.m. on Jan. 5."]),
        ("He asked “Why?” Nobody knew. (Odd!) Yes.", ["He asked “Why?”", "Nobody knew.", "(Odd!)", "Yes."]),
        ("Well … maybe. Wait... what? No!!! Oh?!", ["Well … maybe.", "Wait... what?", "No!!!", "Oh?!"]),
        ("今天天气很好。我们去公园！你呢？", ["今天天气很好。", "我们去公园！", "你呢？"]),
        ("彼は「行こう。」と言った。雨だ。", ["彼は「行こう。」", "と言った。", "雨だ。"]),
        ("هل أنت بخير؟ نعم. شكرا!", ["هل أنت بخير؟", "نعم.", "شكرا!"]),
        ("वर्षा हुई। सब घर गए।", ["वर्षा हुई।", "सब घर गए।"]),
        ("Das kostet ca. 5 Euro, z.B. hier. Gut.", ["Das kostet ca. 5 Euro, z.B. hier.", "Gut."]),
        ("Title\n\nOne line\nbroken in two. Next.", ["Title", "One line\nbroken in two.", "Next."]),
        ("Steps:\n1. Boil.\n2. Eat.\n- enjoy", ["Steps:", "1. Boil.", "2. Eat.", "- enjoy"]),
        ("no full stop at all", ["no full stop at all"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_where_a_sentence_ends(text, expected):
    assert sentences(text) == expected


def test_no_blank_is_put_where_the_script_has_none():
    assert first_sentences("今天天气很好。我们去公园！你呢？", 2) == "今天天气很好。我们去公园！"


ARTICLE = """
The harbour bridge will close for repairs on Monday. Some residents enjoy fishing nearby.
Engineers found cracks in the bridge during an inspection of its steel cables. Lunch was served at noon.
The bridge repairs will take six weeks and cost two million, engineers said. A dog barked.
Drivers should expect delays, because the bridge carries most of the harbour traffic.
"""


def test_key_sentences_tell_what_the_text_is_about_and_leave_out_the_rest():
    summary = key_sentences(ARTICLE, 3)

    assert "The harbour bridge will close for repairs on Monday." in summary
    assert not any(aside in summary for aside in ("fishing", "Lunch", "dog"))


def test_key_sentences_do_not_say_the_same_twice():
    twice = "The bridge closes on Monday for repairs. " * 3 + "Engineers found cracks in the steel of the bridge."

    assert "cracks" in key_sentences(twice, 2)


def test_key_sentences_work_where_words_have_no_blanks():
    text = "大桥周一起关闭维修。今天的午饭很好吃。工程师在大桥上发现裂缝。大桥维修需要六周。有一只狗。"

    assert "狗" not in key_sentences(text, 3)
    assert "大桥" in key_sentences(text, 1)


@pytest.mark.parametrize(
    ("piece", "times"),
    [
        ("a", 3_000_000),
        ("A b. ", 400_000),
        ("é?", 300_000),
        (".", 1_000_000),
        ("\n\n", 500_000),
        ("a.b.", 300_000),
        ("“", 300_000),
        ("new word. ", 50_000),
    ],
)
def test_a_huge_text_is_answered_soon(piece, times):
    text = piece * times
    started = time.thread_time()
    key_sentences(text)
    first_sentences(text)
    sentiment(text)

    assert time.thread_time() - started < 5


# -- sentiment


@given(st.one_of(ANY_SCRIPT, WORDS))
def test_a_sentiment_never_raises_and_says_what_decided(text):
    for found in (sentiment(text), by_words(text)):
        assert found in ("positive", "negative", "neutral")
        assert -1 <= found.score <= 1
        assert found == "neutral" or found.words


@pytest.mark.parametrize(
    ("text", "label", "words"),
    [
        ("I love it, a great phone", "positive", ("love", "great")),
        ("This is not good", "negative", ("not good",)),
        ("The battery isn't bad", "positive", ("isn't bad",)),
        ("Terrible. Never again.", "negative", ("terrible",)),
        ("The room was nice but the service was horrible", "negative", ("nice", "horrible")),
        ("The room was horrible but the service was wonderful", "positive", ("horrible", "wonderful")),
        ("We could not be happier", "positive", ("happier",)),
        ("good, bad", "neutral", ("good", "bad")),
        ("The parcel arrived on Tuesday", "neutral", ()),
        ("He kind of runs like the wind", "neutral", ()),
        ("今天天气很好", "neutral", ()),
        ("", "neutral", ()),
    ],
)
def test_our_own_words_decide_with_their_negations(text, label, words):
    found = by_words(text)

    assert found == label
    assert found.words == words


def test_vader_is_asked_when_it_is_installed():
    pytest.importorskip("vaderSentiment")
    found = sentiment("The plot was meh, and the ending :-(")

    assert found == "negative"
    assert found.method == "vader"
    assert found.words == ("meh", ":-(")


def test_without_vader_our_own_words_are_asked():
    code = (
        "import sys; sys.modules['vaderSentiment'] = None;"
        "from resilient_ai import sentiment; print(sentiment('great').method)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "words\n"


def test_a_sentiment_is_text_and_travels():
    found = Sentiment("positive", 0.5, ("great",), "words")

    assert found.explained() == "positive (0.50): great"
    for twin in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert (twin, twin.score, twin.words, twin.method) == ("positive", 0.5, ("great",), "words")


# -- as rungs


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (first_sentences, "A great day. It rained. We left."),
        (first_sentences(1), "A great day."),
        (key_sentences(9), "A great day. It rained. We left. Good night."),
        (sentiment, "positive"),
        (sentiment(text="text"), "positive"),
    ],
    ids=["first_sentences", "first_sentences(1)", "key_sentences(9)", "sentiment", "sentiment(text)"],
)
async def test_a_rule_answers_from_the_text_of_the_call(registry, rule, expected):
    @degrade_to(rule, name="ruled", registry=registry)
    async def ask(model: int, text: str) -> str:
        raise OSError

    assert await ask(1, "A great day. It rained. We left. Good night.") == expected
    (name,) = registry.degradations["ruled"].stats().by_rung
    assert name in ("first_sentences", "key_sentences", "sentiment")


@pytest.mark.parametrize("rule", [first_sentences, key_sentences, sentiment])
@pytest.mark.parametrize("arguments", [{"number": 5}, {"text": "   "}, {}])
def test_a_rule_passes_when_the_call_has_no_text(rule, arguments):
    assert rule(FailedCall("ask", arguments=arguments)) is NO_ANSWER


def test_a_rule_takes_the_text_it_is_told_to_take():
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi. Yo."}]},
    ]
    call = FailedCall("ask", arguments={"style": "dry.", "article": "One. Two.", "messages": chat})

    assert first_sentences(1, text="article")(call) == "One."
    assert first_sentences(1, text=lambda call: call.arguments["style"])(call) == "dry."
    assert first_sentences(1)(call) == "Hi."
    assert first_sentences(1, text="absent")(call) is NO_ANSWER


def test_equal_rules_may_share_a_name_and_others_may_not(registry):
    async def ask(text: str) -> str: ...

    for _ in range(2):
        degrade_to(first_sentences(2), key_sentences(text="text"), name="both", registry=registry)(ask)
    with pytest.raises(ValueError, match="'both' already exists with other settings"):
        degrade_to(first_sentences(3), key_sentences(text="text"), name="both", registry=registry)(ask)


async def test_static_texts_answer_by_the_kind_of_request(registry):
    texts = static_texts({"summary": "No summary now.", "translation": "No translation now."})

    @degrade_to(texts, "Not now.", mark="prefix", registry=registry)
    async def ask(request_type: str, text: str) -> str:
        raise OSError

    assert await ask("summary", "x") == "No summary now."
    assert await ask("poem", "x") == "Not now."
    by_task = static_texts({"sum": "s"}, request_type=lambda call: call.kwargs.get("task"), default="d")
    assert by_task(FailedCall("ask", kwargs={"task": "sum"})) == "s"
    assert by_task(FailedCall("ask")) == "d"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: first_sentences(0), "count must be an integer of at least 1, got 0"),
        (lambda: key_sentences("text", 0), "count must be an integer of at least 1, got 0"),
        (lambda: static_texts({}), "static_texts needs texts by kind of request"),
    ],
    ids=["first", "key", "static"],
)
def test_a_bad_setting_is_a_value_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
