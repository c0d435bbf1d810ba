"""Failures that come as a result."""

from __future__ import annotations

import pytest

from resilient_ai import ErrorType, classify_result

ANSWER = {"choices": [{"finish_reason": "stop", "message": {"content": "an error occurred: rate limit"}}]}


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("<html><body>502</body></html>", ErrorType.INTERNAL_ERROR),
        ({"error": {"code": 429, "message": "slow down"}}, ErrorType.RATE_LIMIT),
        ({"error": {"code": "insufficient_quota"}}, ErrorType.QUOTA_EXCEEDED),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "x"}}]}, ErrorType.INTERNAL_ERROR),
        ({"status": "failed"}, ErrorType.INTERNAL_ERROR),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ErrorType.CONTENT_FILTER),
        ({"candidates": [{"finishReason": "SAFETY"}]}, ErrorType.CONTENT_FILTER),
        ([{"type": "delta"}, {"type": "error", "code": "rate_limit_exceeded"}], ErrorType.RATE_LIMIT),
        (ANSWER, None),
        ("rate limit", None),
        ("", None),
        (None, None),
        (3.5, None),
        ({"error": None, "status": "completed"}, None),
    ],
)
def test_a_returned_failure_is_told_from_an_answer(result, kind):
    assert classify_result(result) is kind


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}, ErrorType.INTERNAL_ERROR),
        (
            {"error": {"code": 429, "message": "x"}, "choices": [{"delta": {}, "finish_reason": "error"}]},
            ErrorType.RATE_LIMIT,
        ),
        ({"finish_reason": "ERROR_TOXIC"}, ErrorType.CONTENT_FILTER),
        ({"type": "message-end", "delta": {"finish_reason": "ERROR"}}, ErrorType.INTERNAL_ERROR),
        ({"type": "response.failed", "response": {"status": "failed", "error": None}}, ErrorType.INTERNAL_ERROR),
        (
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded"}}},
            ErrorType.RATE_LIMIT,
        ),
        (
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            },
            ErrorType.CONTENT_FILTER,
        ),
        ({"type": "response.incomplete", "response": {"status": "incomplete"}}, ErrorType.INVALID_OUTPUT),
        ({"type": "response.refusal.delta", "delta": "I'm sorry"}, ErrorType.CONTENT_FILTER),
        (
            {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]},
            ErrorType.CONTENT_FILTER,
        ),
        ({"choices": [{"message": {"content": None, "refusal": "I'm sorry"}}]}, ErrorType.CONTENT_FILTER),
        ({"type": "message_delta", "delta": {"stop_reason": "refusal"}}, ErrorType.CONTENT_FILTER),
        (
            {"choices": [{"content_filter_results": {"hate": {"filtered": True, "severity": "high"}}}]},
            ErrorType.CONTENT_FILTER,
        ),
        (
            {"prompt_filter_results": [{"content_filter_results": {"violence": {"filtered": True}}}]},
            ErrorType.CONTENT_FILTER,
        ),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, ErrorType.INVALID_OUTPUT),
        ({"messageStop": {"stopReason": "guardrail_intervened"}}, ErrorType.CONTENT_FILTER),
        ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, ErrorType.INVALID_REQUEST),
        ({"message": "Too many requests", "code": 429}, ErrorType.RATE_LIMIT),
        ({"message": "x", "type": "overloaded_error"}, ErrorType.MODEL_OVERLOADED),
        ({"code": "Throttling", "message": "Requests rate limit exceeded", "request_id": "x"}, ErrorType.RATE_LIMIT),
        ({"choices": None, "message": "insufficient balance", "code": 402}, ErrorType.QUOTA_EXCEEDED),
        ({"detail": "Not authenticated", "status": 401}, ErrorType.AUTHENTICATION),
    ],
)
def test_what_ends_badly_without_saying_error_is_known(item, kind):
    assert classify_result(item) is kind


@pytest.mark.parametrize(
    "item",
    [
        {"choices": [{"delta": {"content": "Hel"}, "finish_reason": None}]},
        {"choices": [{"finish_reason": "length", "message": {"content": "half an answer"}}]},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"choices": [{"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]},
        {"choices": [{"message": {"content": "no", "refusal": None}}]},
        {"type": "response.output_text.delta", "delta": "an error"},
        {"type": "greeting", "message": "hello"},
        {"message": "hello", "code": 200},
        {"status": "ok", "message": "rate limit"},
        {"message": {"content": "hi"}, "type": "error_report"},
        {"base_resp": {"status_code": 0, "status_msg": "success"}, "choices": [{"message": {"content": "hi"}}]},
        {"code": 429, "meaning": "too many requests"},
        {"data": [{"embedding": [0.1]}], "object": "list"},
    ],
)
def test_an_answer_is_left_alone(item):
    assert classify_result(item) is None


async def test_an_answer_that_an_sdk_could_not_read_as_one_is_known_by_what_it_holds(registry):
    """A gateway's error that has the form of no answer: the SDK makes a completion of it, without choices."""
    from openai.types.chat import ChatCompletion

    error = ChatCompletion.model_construct(choices=None, message="Rate limit exceeded", code=429)

    assert classify_result(error) is ErrorType.RATE_LIMIT
