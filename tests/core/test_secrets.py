"""A secret that is planted anywhere never shows up in what people and programs read."""

from __future__ import annotations

import io
import logging
import pickle
import traceback

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from resilient_ai import (
    AIServiceError,
    ErrorType,
    Registry,
    RejectedResultError,
    RetryRule,
    circuit_breaker,
    classified_retry,
    classify,
    describe,
)
from resilient_ai._core.log import log_event
from resilient_ai._core.scrub import args_hash, scrub

AT_ONCE = {kind: RetryRule(1, 0, 0) for kind in ErrorType}
KEYS = st.one_of(
    st.from_regex(r"sk-(proj-|ant-api03-)?[A-Za-z0-9]{20,40}", fullmatch=True),
    st.from_regex(r"AIza[A-Za-z0-9_]{35}", fullmatch=True),
    st.from_regex(r"(gsk|xai|hf)[_-][A-Za-z0-9]{20,40}", fullmatch=True),
    st.from_regex(r"[a-f0-9]{16}[0-9][a-f][a-f0-9]{14}", fullmatch=True),
    st.from_regex(r"eyJ[A-Za-z0-9]{12,30}\.eyJ[A-Za-z0-9]{12,30}\.[A-Za-z0-9_-]{20,40}", fullmatch=True),
)
AROUND = st.sampled_from(
    [
        "Incorrect API key provided: {}. You can find your key online",
        "Authorization: Bearer {}",
        "headers={{'authorization': 'Bearer {}'}}",
        "https://user:{}@example.com/v1 refused",
        '{{"api_key": "{}"}}',
        "x-api-key={}",
        "token: {}",
        "{}",
    ]
)
PROMPTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=16, max_size=200).filter(
    lambda text: len(set(text)) > 8 and text == " ".join(text.split())
)


class SdkError(Exception):
    """Text and attributes like an SDK's."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status_code = status
        self.body = {"error": {"message": text}}


@given(KEYS, AROUND)
def test_a_key_never_survives_scrubbing(key, around):
    assert key not in scrub(around.format(key))


@given(
    PROMPTS, st.sampled_from(["{}", "could not process: {}", "input '{}' is invalid", "{} … (truncated)"]), st.data()
)
def test_no_piece_of_a_prompt_survives_scrubbing_wherever_it_is_nested(prompt, around, data):
    start = data.draw(st.integers(0, len(prompt) - 14))
    quoted = prompt[start : start + data.draw(st.integers(14, 200))]
    nested = ([{"role": "user", "content": [{"type": "text", "text": prompt}]}],)
    said = scrub(around.format(quoted), private=(nested, {"model": "gpt"}))

    assert quoted not in said
    assert all(quoted[at : at + 12] not in said for at in range(len(quoted) - 11))


@pytest.mark.parametrize("word", ["proj", "live", "Abcd", "1234"])
def test_a_word_of_the_request_in_the_middle_of_a_key_does_not_uncover_the_rest(word):
    key = "sk-live-Abcd1234-proj_EfGh5678"
    said = scrub(f"Incorrect API key provided: {key}", private=({"role": word},))

    assert not any(part in said for part in key.split("-") if part != "sk")
    assert "EfGh" not in said
    assert said.startswith("Incorrect API key provided:")


def test_the_end_of_a_long_conversation_is_taken_out_even_if_it_is_cut():
    history = [{"role": "user", "content": f"message {number} " + "of many words " * 40} for number in range(300)]
    last = {"role": "user", "content": "nobody else knows about the lighthouse keeper"}
    said = scrub("could not read: nobody else knows about the light…", private=([*history, last],))

    assert said == "could not read: [request]…"


def test_an_argument_that_cannot_be_read_withholds_the_message():
    class Closed:
        @property
        def __dict__(self):
            raise RuntimeError("closed")

    assert scrub("the prompt", private=(Closed(),)) == "[message withheld]"


@pytest.fixture
def logged():
    """Everything that structlog writes, through its default configuration, as text."""
    written = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(written))
    yield written
    structlog.reset_defaults()


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_planted_secret_is_in_no_repr_str_event_log_or_pickle(logged, caplog, status):
    key, prompt = "sk-planted0123456789abcdefABCDEF", "my diary: I have told nobody about the lighthouse"
    heard = []
    registry = Registry(listeners=(log_event, heard.append))

    @classified_retry("ask", rules=AT_ONCE, max_attempts=2, registry=registry)
    @circuit_breaker("ask", failure_threshold=1, recovery_timeout=9, registry=registry)
    async def ask(messages, *, api_key=key):
        raise SdkError(f"Error for key {key}: could not read '{prompt}'", status)

    with caplog.at_level(logging.DEBUG), pytest.raises(AIServiceError) as caught:
        await ask([{"role": "user", "content": prompt}], api_key=key)
    given_up = caught.value
    given_up.original_error = given_up.__cause__ = None  # what the SDK said is the SDK's
    seen = [
        repr(given_up),
        str(given_up),
        "".join(traceback.format_exception_only(given_up)),
        repr(pickle.dumps(given_up)),
        repr(ask),
        repr(describe(ask)),
        repr(registry),
        registry._repr_html_(),
        repr(registry.as_dict()),
        repr(registry.error_stats()),
        *map(repr, registry.find("*")),
        *map(repr, heard),
        logged.getvalue(),
        caplog.text,
        repr(classify(SdkError(f"key {key}", status))),
    ]

    assert heard
    assert logged.getvalue()
    for text in seen:
        assert key not in text
        assert key[:20] not in text
        assert prompt not in text
        assert "lighthouse" not in text


def test_a_rejected_answer_is_kept_but_not_shown():
    error = RejectedResultError("the answer with a secret", ErrorType.CONTENT_FILTER)

    assert error.result == "the answer with a secret"
    assert "secret" not in str(error) + repr(error)


def test_a_verdict_quotes_nothing_of_the_message():
    said = classify(SdkError("Rate limit reached for key sk-planted0123456789 in my-org on requests per minute", 429))

    assert said.evidence == "text at 429: short window"


def test_hashes_of_requests_tell_nothing_and_never_raise():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert len(args_hash((Broken(),), {"a": Broken()})) == 8
    assert args_hash(("a",), {}) == args_hash(("a",), {}) != args_hash(("b",), {})
