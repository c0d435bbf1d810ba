"""The keys that endpoints are given are found in messages, whatever they look like."""

from __future__ import annotations

import gc

import anthropic
import httpx2
import openai
import pytest
from google import genai

from resilient_ai import AIServiceError, classified_retry
from resilient_ai._core.scrub import scrub
from resilient_ai._core.sharing import credential_of
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
    "a plain client of OpenAI's": lambda: OpenAIEndpoint("us", model="m", sync_client=openai.OpenAI(api_key=KEY)),
    "a plain client of Anthropic's": lambda: AnthropicEndpoint(
        "us", model="m", sync_client=anthropic.Anthropic(api_key=KEY)
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


@pytest.mark.parametrize(
    "clients",
    [
        {"client": httpx2.AsyncClient(headers={"x-api-key": "correct.horse"})},
        {"sync_client": httpx2.Client(headers={"Authorization": "Bearer correct.horse"})},
    ],
    ids=list,
)
def test_the_headers_of_a_given_http_client_are_kept_secret_too(clients):
    endpoint = HTTPEndpoint("mine", url="http://127.0.0.1:1/", **clients)

    assert "horse" not in scrub("refused: correct.horse")
    assert endpoint.name == "mine"


def test_clients_with_one_key_are_one_credential():
    both = OpenAIEndpoint(
        "us", model="m", client=openai.AsyncOpenAI(api_key=KEY), sync_client=openai.OpenAI(api_key=KEY)
    )
    plain = OpenAIEndpoint("us", model="m", sync_client=openai.OpenAI(api_key=KEY))
    other = OpenAIEndpoint("us", model="m", sync_client=openai.OpenAI(api_key=KEY + " staple"))

    assert credential_of(both) == credential_of(plain) != credential_of(other)


def test_an_endpoint_shows_the_host_of_its_plain_client():
    client = anthropic.Anthropic(api_key=KEY, base_url="https://claude.example/")

    assert "host='claude.example'" in repr(AnthropicEndpoint("us", model="m", sync_client=client))


async def test_a_failed_attempt_tells_nothing_of_the_key(registry, events):
    endpoint = OpenAIEndpoint("us", model="m", api_key=KEY)

    @classified_retry(max_attempts=1, registry=registry)
    async def ask():
        raise ConnectionError(f"{endpoint.name} did not take {KEY.upper()}")

    with pytest.raises(AIServiceError):
        await ask()

    assert [each.error_message for each in events if isinstance(each, AttemptFailed)] == ["us did not take [secret]"]
