"""A planted key, prompt or answer is in no metric, span, snapshot or page."""

from __future__ import annotations

import contextlib

import pytest
from prometheus_client import generate_latest

from resilient_ai import ErrorType
from resilient_ai.dashboard import dashboard
from tests.dashboard.support import request
from tests.helpers import ProviderError
from tests.telemetry.support import OpenTelemetry, Prometheus, stack

KEY = "sk-planted0123456789abcdefABCDEF"
PROMPT = "my diary: I have told nobody about the lighthouse"
ANSWER = "the keeper hides a rowing boat"


class SdkError(ProviderError):
    """An error as SDKs raise them: with all that the provider has said."""

    def __str__(self) -> str:
        return f"Error for key {KEY}: could not read '{PROMPT}' after '{ANSWER}'"


async def fails_and_answers(endpoint, prompt, *, api_key):
    if prompt.endswith("fails") or endpoint.name == "us":
        cause = OSError(f"Authorization: Bearer {KEY}; body: {prompt}")
        raise SdkError(ErrorType.AUTHENTICATION if "refused" in prompt else ErrorType.INTERNAL_ERROR) from cause
    return ANSWER


@pytest.mark.usefixtures("provider_errors")
async def test_what_was_asked_answered_and_said_in_errors_is_in_none_of_them(registry, events):
    prometheus, otel = Prometheus(registry), OpenTelemetry(registry)
    app = dashboard(registry, view=lambda scope: True, act=lambda scope: "ops")
    ask = stack(registry, fails_and_answers)
    for prompt in (PROMPT, f"{PROMPT} refused, fails", f"{PROMPT} fails", f"{PROMPT} fails"):
        with contextlib.suppress(Exception):
            await ask(prompt, api_key=KEY)
    spans = otel.spans
    pages = [await request(app, path) for path in ("/", "/snapshot.json", "/settings.json")]
    seen = {
        "scrape": generate_latest(prometheus.registry).decode(),
        "metrics": repr(otel.metrics()),
        "spans": "".join(each.to_json() for each in spans),
        **{f"page {number}": page.body.decode() for number, page in enumerate(pages)},
    }

    assert "internal_error" in seen["scrape"]
    assert "internal_error" in seen["spans"]
    assert "us" in seen["page 1"]
    assert events
    for where, text in seen.items():
        for secret in (KEY, KEY[:16], "lighthouse", "rowing boat"):
            assert secret not in text, where
