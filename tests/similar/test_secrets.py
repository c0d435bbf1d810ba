"""Nothing that looks like a secret is ever kept, in a question or in an answer."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import SimilarAnswers
from resilient_ai.similar._question import looks_secret

ALNUM = string.ascii_letters + string.digits


def luhn(digits: str) -> str:
    """The digits with the check digit that makes them a card number."""
    total = sum(int(d) if i % 2 else sum(divmod(int(d) * 2, 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


secrets = st.one_of(
    st.builds("sk-{}".format, st.text(ALNUM, min_size=20, max_size=48)),
    st.builds("sk-ant-api03-{}".format, st.text(ALNUM, min_size=20, max_size=48)),
    st.builds("ghp_{}".format, st.text(ALNUM, min_size=36, max_size=36)),
    st.builds("AKIA{}".format, st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16)),
    st.builds("AIza{}".format, st.text(ALNUM, min_size=35, max_size=35)),
    st.builds("eyJ{}.{}.{}".format, *[st.text(ALNUM, min_size=12, max_size=30)] * 3),
    st.builds("Bearer {}".format, st.text(ALNUM, min_size=16, max_size=40)),
    st.builds("password: {}1!".format, st.text(ALNUM, min_size=4, max_size=12)),
    st.builds("my password is {}9".format, st.text(ALNUM, min_size=4, max_size=12)),
    st.builds("api_key={}7".format, st.text(ALNUM, min_size=6, max_size=20)),
    st.builds("https://user:{}@host/".format, st.text(ALNUM, min_size=3, max_size=12)),
    st.builds("4{}".format, st.text(string.digits, min_size=14, max_size=14)).map(luhn),
    st.just("-----BEGIN RSA PRIVATE KEY-----"),
    st.just("DE89370400440532013000"),
    st.just("123-45-6789"),
)


@given(secrets, st.booleans())
def test_a_secret_is_never_remembered(secret, in_answer):
    question = "How can I use this here?" if in_answer else f"How can I use {secret} here?"
    call = FailedCall("ask", (), {}, {"text": question})
    with SimilarAnswers(embedder="trigrams") as memory:
        memory.remember(call, f"Use {secret} so." if in_answer else "So.")
        memory.flush()

        assert memory.recall(call) is NO_ANSWER
        assert memory.stats().not_remembered == {"secret": 1}


@pytest.mark.parametrize(
    "answer",
    [
        "first\nsk-proj-abcdefghijklmnop1234\nlast",
        {"lines": ["first", "tab\tghp_abcdefghijklmnopqrstuvwxyz0123456789"]},
        {"password": "hunter2-forever"},
        [("a", b""), {1: "Bearer abcdefghijklmnopqrst"}],
    ],
)
def test_a_secret_is_seen_wherever_it_stands_in_an_answer(answer):
    with SimilarAnswers(embedder="trigrams") as memory:
        memory.remember(FailedCall("ask", (), {}, {"text": "How can I use this here?"}), answer)
        memory.flush()

        assert memory.stats().not_remembered == {"secret": 1}


@pytest.mark.parametrize(
    "text",
    [
        "How do I reset my password?",
        "My token is not accepted, what now?",
        "The PIN: where is it printed?",
        "Order 1234567890123456 has not arrived",
        "see https://example.com/docs/getting-started-with-the-command-line-interface",
        "What is the difference between a bearer bond and a basic bond?",
        "I passed the 2024-11-24 deadline",
        "The secret is to be patient",
        "a-very-long-kebab-case-identifier-that-someone-wrote",
    ],
)
def test_talking_about_secrets_is_no_secret(text):
    assert not looks_secret(text)


def test_a_question_with_an_address_of_somebody_is_not_kept():
    call = FailedCall("ask", (), {}, {"text": "Why does jane.doe@example.com get no mail?"})
    with SimilarAnswers(embedder="trigrams") as memory:
        memory.remember(call, "The box is full.")
        memory.flush()

        assert memory.stats().not_remembered == {"personal": 1}
