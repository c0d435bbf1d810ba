"""Keys and prompts are found in whatever form a provider or a library quotes them."""

from __future__ import annotations

import base64
import html
import json
import quopri
import textwrap
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_ai._core.known_secrets import keep_secret
from resilient_ai._core.plain_form import plain_form
from resilient_ai._core.printable import printable
from resilient_ai._core.scrub import scrub

CHINESE = "你好，我的病历显示我患有严重的抑郁症，请不要告诉我的雇主和家人"
GERMAN = "Mein Chef heißt Hans Öle und wohnt in der Ulmenstraße fünf, mit einem Hund"
LINES = "my boss\nis called\nHans Ole\nand lives\nat Elm 5\nwith a dog"
EMOJI = "the lighthouse 🗼 keeper 👩‍🚒 told nobody 🤫 about it"


def numbered(text, form):
    return "".join(format(ord(sign), form) if ord(sign) > 127 or sign in "<&" else sign for sign in text)


ENCODINGS = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON without escapes": lambda text: json.dumps(text, ensure_ascii=False),
    "Python": repr,
    "Python, ASCII": ascii,
    "bytes of Python": lambda text: repr(text.encode()),
    "URL": urllib.parse.quote,
    "URL form": urllib.parse.quote_plus,
    "URL twice": lambda text: urllib.parse.quote(urllib.parse.quote(text)),
    "HTML": html.escape,
    "HTML, decimal": lambda text: (
        numbered(text, "").translate({}) if text.isascii() else "".join(f"&#{ord(sign)};" for sign in text)
    ),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(sign):X};" for sign in text),
    "HTML twice": lambda text: html.escape("".join(f"&#{ord(sign)};" for sign in text)),
    "capitals": str.upper,
    "no capitals": str.lower,
    "blanks joined": lambda text: " ".join(text.split()),
    "without blanks": lambda text: "".join(text.split()),
    "wrapped": lambda text: "\n> ".join(textwrap.wrap(text, 20)),
    "URL, as scripts escape": lambda text: "".join(
        f"%u{ord(sign):04X}" if ord(sign) < 0x10000 else sign for sign in text
    ),
    "C": lambda text: "".join(f"\\{byte:03o}" if byte > 126 or byte in b"\n" else chr(byte) for byte in text.encode()),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()).decode(),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, wrapped": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 within more": lambda text: base64.b64encode(f'{{"a":"{text}"}}'.encode()).decode(),
}


def left_of(said, written):
    """The longest run of what was quoted that is still said, in characters."""
    longest = 0
    for start in range(len(written)):
        while written[start : start + longest + 1] in said and start + longest < len(written):
            longest += 1
    return longest


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prompt", [CHINESE, GERMAN, LINES, EMOJI], ids=["zh", "de", "lines", "emoji"])
@pytest.mark.parametrize("share", [1.0, 0.75])
def test_a_prompt_is_taken_out_however_it_is_encoded_and_cut(encoding, prompt, share):
    written = ENCODINGS[encoding](prompt)
    written = written[: int(len(written) * share)]
    said = scrub(f"could not process {written}", private=([{"role": "user", "content": prompt}],))

    assert said.startswith("could not process ")
    assert "[request]" in said
    assert left_of(said, written) < 24  # of JSON in JSON, two characters


@given(
    st.text(st.characters(codec="utf-8", categories=["Lu", "Ll", "Lo", "Nd"]), min_size=30, max_size=80),
    st.sampled_from(sorted(set(ENCODINGS) - {"base64", "base64, wrapped", "base64 for URLs", "base64 within more"})),
    st.integers(0, 10),
)
@example(CHINESE, "JSON in JSON", 0)
def test_what_is_left_of_any_prompt_has_no_twelve_of_its_letters_in_a_row(prompt, encoding, start):
    written = ENCODINGS[encoding](prompt[start:])
    left = plain_form(scrub(written, private=(prompt,)).replace("[request]", " | "))
    plain = plain_form(prompt)

    assert not any(plain[at : at + 12] in left for at in range(len(plain) - 11))


@given(st.text(max_size=300), st.lists(st.text(max_size=100), max_size=4))
def test_any_text_with_any_request_ends_and_stays_one_short_printable_line(text, request):
    said = scrub(text, private=tuple(request))

    assert len(said) <= 200
    assert said.isprintable()


def test_a_message_that_is_made_to_match_everywhere_is_withheld_in_bounded_work():
    request = "".join(f"abcdef{number}" for number in range(3_000))
    text = "".join(f"abcdef{chr(0x4E00 + number)}" for number in range(140))

    assert scrub(text, private=(request,)) in ("[message withheld]", text[:199] + "…")


@pytest.mark.parametrize(
    "key",
    [
        "fw_3ZTq9Xn4kLmP7vBr2Wd8Yc",
        "sk-ant-api03-abcDEF123456-xyz",
        "sk-proj-****1234",
        "sk-svcacct-Ab12Cd34Ef56Gh78",
        "sk-or-v1-0123456789abcdef0123456789abcdef",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "AQ.Ab8RN6IabcdefGHIJKL123456",
        "gsk_abcdefGHIJKL1234567890",
        "xai-abcdefGHIJKL1234567890",
        "pplx-abcdef1234567890abcdef",
        "nvapi-abcDEF123_456-789xyz",
        "hf_abcdefGHIJKLmnopqrst12",
        "r8_abcdefGHIJKL1234567890",
        "csk-abcdef1234567890abcdef",
        "pcsk_abcDE_1234567890abcdef",
        "tvly-dev-abcdef1234567890",
        "jina_0123456789abcdefABCDEF",
        "lsv2_pt_0123456789abcdef0123_4567890abc",
        "ABSKQmVkcm9ja0FQSUtleS1hYmNkMTIzNDU2",
        "AKIAIOSFODNN7EXAMPLE",
        "LTAI5tAbcdEfgh1234567890",
        "ya29.a0AfH6SMBx1234567890",
        "GOCSPX-abcdefGHIJKL12345678",
        "ghp_abcdefGHIJKL1234567890abcdef1234",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "xoxb-123456789012-abcdefGHIJKL",
        "glpat-abcdefGHIJKL12345678",
        "0123456789abcdef0123456789abcdef",
        "8f14e45fceea167a5a36dedd4bea2543.Zx9KqLmN3vBc7RtY",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "dapi0123456789abcdef0123456789abcdef",
        "3ZTq9Xn4kLmP7vBr2Wd8Yc",
        "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    ],
)
@pytest.mark.parametrize("around", ["Illegal header value b'{}\\n'", "no access with {}.", "key={},next", "('{}', 1)"])
def test_a_key_of_any_provider_is_taken_out_without_being_named(key, around):
    said = scrub(around.format(key))

    assert left_of(said, key) < 8


@pytest.mark.parametrize(
    "text",
    [
        "Illegal header value b'short\\n'",
        "illegal header value: 'short'",
        "authorization: short",
        "password=short",
        '{"api_key": "short"}',
        "{'x-api-key': 'short'}",
        "Access-Token => short",
        "Bearer short1",
        "https://user:short@example.com",
        'body={\\"secret\\": \\"short\\"}',
        "[(b'content-type', b'text/plain'), (b'x-api-key', b'a short')]",
        "[('Proxy-Authorization', 'short')]",
        '["authorization", "short"]',
        "[(b'set-cookie', b'short'), (b'x-auth-token', b'short')]",
        "no https://example.com/v1/models?alt=sse&key=short&page=2",
        "no https://example.com/container?sig=short%2Bone",
        "Cookie: theme=dark; session=short; lang=en",
        "{'cookie': 'session=short'}",
    ],
)
def test_what_is_named_as_a_secret_is_taken_out_whatever_it_looks_like(text):
    assert "short" not in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "model claude-3-5-sonnet-20241022 is not available in eu-central-1",
        "Llama-3.3-70B-Instruct-Turbo: api_connection_error on the basic plan",
        "the bearer token is missing; skyscrapers are tall",
        "request req_011CSHoEeqs5C35K2UUqR7Fy: rate_limit_exceeded, try again in 6m0s",
        "generate_content_requests_per_minute_per_project_per_base_model: 1500",
        "Limit 30000, Used 29500, Requested 1000. Please try again in 1.2s",
        "deployment gpt-4o-mini-2024-07-18 in resource group production1234567890",
        "ServiceUnavailableException: the server is overloaded (503)",
        "GET https://example.com/v1/models?code=model_not_found&page=2 gave 404: ['token', 'world']",
        "the cookie banner: unexpected; the keys are 'token', 'usage' and 'model'",
    ],
)
def test_what_helps_to_understand_a_failure_stays(text):
    assert scrub(text) == text


def test_a_key_that_an_endpoint_holds_is_taken_out_whatever_it_looks_like():
    class Owner:
        """Weakly referenced."""

    owner = Owner()
    keep_secret(owner, "correct horse battery\n", None, "short")

    assert "horse" not in scrub("refused: correct horse battery")
    assert "horse" not in scrub(f"refused: {json.dumps('Correct Horse Battery')} in short")
    assert scrub("in short") == "in short"
    del owner
    assert scrub("refused: correct horse battery") == "refused: correct horse battery"


@pytest.mark.parametrize("name", ["SOMEBODYS_API_KEY", "GATEWAY_PASS", "DB_PWD"])
def test_a_key_in_the_environment_is_taken_out_whatever_it_looks_like(monkeypatch, name):
    monkeypatch.setenv(name, "correct horse battery")

    assert "horse" not in scrub("refused: correct horse battery")


def test_a_key_that_is_changed_in_the_environment_is_known_at_once(monkeypatch):
    monkeypatch.setenv("SOMEBODYS_API_KEY", "correct horse battery")
    scrub("refused")
    monkeypatch.setenv("SOMEBODYS_API_KEY", "another staple of them")
    monkeypatch.delenv("PATH")
    monkeypatch.setenv("SOMEBODYS_TOKEN", "the third one of all")

    assert scrub("refused: another staple of them") == "refused: [secret]"
    assert scrub("refused: the third one of all") == "refused: [secret]"


def test_words_that_lie_deep_in_a_request_are_of_the_request_too():
    """What a tool has said is a text in a part in a result in a message in the list of an argument."""
    said: object = "Mrs Brunnhuber owes 4711 euros"
    for _ in range(15):
        said = [{"content": said}]

    assert scrub("no such thing: Mrs Brunnhuber owes 4711 euros", private=((said,), {})) == "no such thing: [request]"


def test_a_request_that_holds_itself_is_read_once():
    messages: list[object] = ["Mrs Brunnhuber owes 4711 euros"]
    messages += [messages] * 50

    assert scrub("no such thing: Mrs Brunnhuber", private=(messages,)) == "no such thing: [request]"


def test_values_in_slots_and_bytes_and_long_names_of_arguments_are_of_the_request_too():
    class Message:
        __slots__ = ("content",)

        def __init__(self, content):
            self.content = content

    private = (Message("the lighthouse keeper"), b"told nobody about it", {"a very long name of one": 1})

    said = scrub("a: the lighthouse keeper, b: told nobody about it, c: a very long name of one", private=private)

    assert said == "a: [request], b: [request], c: [request]"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\x07", "\u202egnp.exe", "\u200b", "\r", "\x9b31m", "\ud800"])
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text):
    assert printable(text).isprintable()
    assert printable(text).isascii()


def test_what_a_terminal_shows_stays_as_it_is():
    assert printable("Straße 東京 🗼 é") == "Straße 東京 🗼 é"
