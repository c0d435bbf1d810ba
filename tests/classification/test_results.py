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
