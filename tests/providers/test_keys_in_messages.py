"""The keys that endpoints are given are found in messages, whatever they look like."""

from __future__ import annotations

import gc

import anthropic
import openai
import pytest
from google import genai

from resilient_ai import AIServiceError, classified_retry
from resilient_ai._core.scrub import scrub
from resilient_ai.events import AttemptFailed
from resilient_ai.providers import AnthropicEndpoint, GoogleEndpoint, HTTPEndpoint, OpenAIEndpoint

KEY = "correct horse battery"
MAKERS = {
    "openai": lambda: OpenAIEndpoint("us", model="m", api_key=KEY),
    "anthropic": lambda: AnthropicEndpoint("us", model="m", api_key=KEY),
    "google": lambda: GoogleEndpoint("us", model="m", api_key=KEY),
    "a client of OpenAI's": lambda: OpenAIEndpoint("us", model="m", client=openai.AsyncOpenAI(api_key=KEY)),
    "a client of Azure's": lambda: OpenAIEndpoint(
        "us",
        model="m",
        client=openai.AsyncAzureOpenAI(
            azure_endpoint="http://127.0.0.1:1", api_version="2024-10-21", azure_ad_token=KEY
        ),
    ),
    "a client of Anthropic's": lambda: AnthropicEndpoint(
        "us", model="m", client=anthropic.AsyncAnthropic(auth_token=KEY)
    ),
    "a client of Google's": lambda: GoogleEndpoint("us", model="m", client=genai.Client(api_key=KEY)),
}


@pytest.mark.parametrize("make", MAKERS)
def test_a_key_of_an_endpoint_stands_in_no_message_while_it_lives(make):
    endpoint = MAKERS[make]()

    assert scrub(f"refused: {KEY}") == "refused: [secret]"
    del endpoint
    gc.collect()
    assert scrub(f"refused: {KEY}") == f"refused: {KEY}"


@pytest.mark.parametrize("header", ["x-api-key", "Authorization", "Cookie", "X-Auth-Token"])
def test_a_header_that_is_named_as_a_secret_stands_in_no_message(header):
    endpoint = HTTPEndpoint(
        "mine", url="http://127.0.0.1:1/", headers={header: "Bearer correct.horse", "accept": "application/json"}
    )

    assert "horse" not in scrub("refused: correct.horse")
    assert scrub("refused: application/json") == "refused: application/json"
    assert endpoint.name == "mine"


async def test_a_failed_attempt_tells_nothing_of_the_key(registry, events):
    endpoint = OpenAIEndpoint("us", model="m", api_key=KEY)

    @classified_retry(max_attempts=1, registry=registry)
    async def ask():
        raise ConnectionError(f"{endpoint.name} did not take {KEY.upper()}")

    with pytest.raises(AIServiceError):
        await ask()

    assert [each.error_message for each in events if isinstance(each, AttemptFailed)] == ["us did not take [secret]"]
