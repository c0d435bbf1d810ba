"""Replies with odd bodies, statuses and headers."""

from __future__ import annotations

import httpx
import pytest

from resilient_ai import classify
from tests.classification.support import kind, reply


@pytest.mark.parametrize(
    "body",
    [
        {"message": "x", "code": "insufficient_quota"},
        {"error": {"message": "x", "code": "insufficient_quota"}},
        [{"error": {"code": "insufficient_quota"}}],
        '{"error": {"code": "insufficient_quota"}}',
        b'{"error": {"type": "insufficient_quota"}}',
        {"error": "insufficient_quota"},
        {"detail": [{"error": {"reason": "insufficient_quota"}}]},
        {"error": {"message": '{"error": {"code": "insufficient_quota"}}'}},
    ],
)
def test_a_code_is_found_in_a_body_of_any_shape(body):
    assert kind(reply(429, body)) == "quota_exceeded"


@pytest.mark.parametrize("body", [None, "", "<html><title>503</title></html>", 3, [], {}, "\ufeff{", "[" * 10_000])
def test_without_a_readable_body_the_status_decides(body):
    assert kind(reply(429, body)) == "rate_limit"
    assert kind(reply(503, body)) == "model_overloaded"
    assert kind(reply(400, body)) == "invalid_request"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("このモデルの最大コンテキスト長は32768トークンです", "context_length"),
        ("最大上下文为 32768 个 token", "context_length"),
        ("La longitud máxima de contexto es 8192", "context_length"),
        ("Maximale Kontextlänge: 8192 Tokens", "context_length"),
        ("max_tokensの最大値は8192です", "invalid_request"),
        ("A resposta foi bloqueada pelo filtro de conteúdo", "content_filter"),
        ("Bloqueado por el filtro de contenido", "content_filter"),
        ("Vom Inhaltsfilter zurückgehalten", "content_filter"),
        ("Ответ заблокирован фильтром контента", "content_filter"),
    ],
)
def test_windows_and_filters_are_known_in_other_languages(text, meaning):
    assert kind(reply(400, {"error": {"message": text}})) == meaning


@pytest.mark.parametrize("status", [200, -1, None])
def test_a_status_that_lies_is_no_status(status):
    error = reply(status, {"error": {"type": "overloaded_error", "message": "Overloaded"}})

    assert kind(error) == "model_overloaded"
    assert classify(error).in_stream


def test_a_status_is_found_wherever_it_is():
    for attributes in (
        {"code": 429},
        {"status": 429},
        {"http_status": 429},
        {"status_code": "429"},
        {"response": httpx.Response(429)},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": 429}}},
    ):
        assert kind(reply(module="somebody", **attributes)) == "rate_limit", attributes


def test_the_request_that_a_server_echoes_is_no_evidence():
    echo = {"error": {"message": "bad", "param": "x"}, "input": {"code": "insufficient_quota", "message": "overloaded"}}

    assert kind(reply(400, echo)) == "invalid_request"


def test_a_page_from_a_proxy_speaks_through_its_title_only():
    page = "<html><head><title>502 Bad Gateway</title></head><body>see our billing page, credit balance</body></html>"

    assert kind(reply(502, page)) == "internal_error"


def test_x_should_retry_overrules_the_table_of_statuses():
    for status, told, retryable in ((500, "false", False), (429, "false", False), (400, "true", True)):
        assert classify(reply(status, headers={"x-should-retry": told})).retryable is retryable
    quota = reply(429, {"code": "insufficient_quota"}, {"x-should-retry": "true"})

    assert not classify(quota).retryable


def test_statuses_without_words_have_a_class():
    expected = {
        401: "authentication", 402: "quota_exceeded", 403: "permission", 404: "not_found", 408: "timeout",
        409: "internal_error", 410: "not_found", 413: "invalid_request", 418: "invalid_request", 422: "invalid_request",
        424: "invalid_request", 425: "internal_error", 429: "rate_limit", 451: "permission", 499: "timeout",
        500: "internal_error", 501: "internal_error", 502: "internal_error", 503: "model_overloaded", 504: "timeout",
        520: "internal_error", 522: "timeout", 524: "timeout", 529: "model_overloaded", 599: "internal_error",
    }  # fmt: skip

    assert {status: kind(reply(status)) for status in expected} == expected
    assert not classify(reply(501)).retryable


def test_a_token_of_the_text_is_no_credential():
    for said in ("invalid token 84297", "Invalid token ids: [7]", "token 12 is invalid", "invalid token at position 3"):
        assert kind(reply(400, {"message": said})) == "invalid_request", said
    for said in (
        "invalid token",
        "Invalid token.",
        "The token has expired",
        "bad token provided",
        "missing auth token",
    ):
        assert kind(reply(400, {"message": said})) == "authentication", said


def test_what_is_not_allowed_in_a_request_is_no_lack_of_permission():
    for said in ("special token '<|im_start|>' is not allowed in text", "'x' is not allowed in tools[0]"):
        assert kind(reply(400, {"message": said})) == "invalid_request", said
    assert kind(reply(400, {"message": "The model is not allowed in your country"})) == "permission"


def test_what_there_is_no_access_to_is_no_matter_of_money():
    assert kind(reply(403, {"message": "You do not have access to credits management"})) == "permission"
    assert kind(reply(403, {"message": "Your team doesn't have any credits yet"})) == "quota_exceeded"


def test_a_quota_of_googles_is_a_rate_unless_it_is_for_the_day():
    said = "Quota exceeded for aiplatform.googleapis.com/generate_requests_per_{} with base model: m."

    assert kind(reply(429, {"message": said.format("minute")})) == "rate_limit"
    assert kind(reply(429, {"message": said.format("model")})) == "rate_limit"
    assert kind(reply(429, {"message": said.format("day")})) == "quota_exceeded"
