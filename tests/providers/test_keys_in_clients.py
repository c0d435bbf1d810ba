"""Wherever a client was given a key, a password or a cookie, no message of an endpoint with that client shows it."""

from __future__ import annotations

import base64
import html
import json
import pickle
import re
import urllib.parse

import anthropic
import httpx2
import openai
import pytest
from google import genai

from resilient_ai import AIServiceError, Endpoint, circuit_breaker, classified_retry, describe, failover
from resilient_ai._core.scrub import scrub
from resilient_ai._core.sharing import credential_of
from resilient_ai.providers import AnthropicEndpoint, GoogleEndpoint, HTTPEndpoint, OpenAIEndpoint
from resilient_ai.testing import FakeProvider, Fault

SECRET = "Zebra.stands-by+the/Lake"
IN_URL = urllib.parse.quote(SECRET, safe="")
COOKIES = {"sid": SECRET}
GIVEN = {  # as a client of an SDK or of HTTP can be given it
    "a header": {"headers": {"X-Gateway-Pass": SECRET}},
    "a header of any name": {"headers": {"X-Contoso": SECRET}},
    "a scheme of one's own": {"headers": {"Authorization": f"Contoso {SECRET}"}},
    "parameters of a scheme": {"headers": {"Authorization": f'Digest username="us", response="{SECRET}"'}},
    "a basic header": {"headers": {"authorization": "Basic " + base64.b64encode(f"us:{SECRET}".encode()).decode()}},
    "a cookie header": {"headers": {"Cookie": f"theme=dark; sid={SECRET}"}},
    "a query parameter": {"query": {"api-version": "2024-10-21", "code": SECRET}},
    "a query parameter of any name": {"query": {"contoso": SECRET}},
    "a password in the address": {"base_url": f"https://us:{IN_URL}@llm.example/v1"},
    "a user in the address": {"base_url": f"https://token-{IN_URL}@llm.example/v1"},
    "a key in the address": {"base_url": f"https://llm.example/v1?api-version=2024-10-21&subscription-key={IN_URL}"},
    "a way to sign in": {"http": {"auth": ("us", SECRET)}},
    "a digest": {"http": {"auth": httpx2.DigestAuth("us", SECRET)}},
    "cookies": {"http": {"cookies": COOKIES}},
    "a header of the HTTP client": {"http": {"headers": {"x-contoso": SECRET}}},
    "a query parameter of the HTTP client": {"http": {"params": {"contoso": SECRET}}},
}
ENCODINGS = {
    "as it is": str,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "URL twice": lambda text: urllib.parse.quote(urllib.parse.quote(text)),
    "HTML": lambda text: html.escape("".join(f"&#{ord(sign)};" for sign in text)),
    "Unicode escapes": lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    "base64": lambda text: base64.b64encode(f"us:{text}".encode()).decode(),
    "capitals": str.upper,
    "wrapped": lambda text: "=\n".join(text[at : at + 6] for at in range(0, len(text), 6)),
}


def openai_client(make, http, given):
    return make(
        api_key="none",
        base_url=given.get("base_url"),
        default_headers=given.get("headers"),
        default_query=given.get("query"),
        http_client=http(**given.get("http", {})),
    )


def google_client(given):
    options = {"base_url": given.get("base_url"), "headers": given.get("headers")}
    if "http" in given:
        options |= {"httpx_client": httpx2.Client(**given["http"])}
    return genai.Client(api_key="none", http_options={key: value for key, value in options.items() if value})


def http_client(given):
    settings = {"headers": given.get("headers"), "params": given.get("query"), "base_url": given.get("base_url", "")}
    return httpx2.AsyncClient(**settings | given.get("http", {}))


def address_of(given):
    query = f"?{urllib.parse.urlencode(given['query'])}" if "query" in given else ""
    return given.get("base_url", "https://llm.example/") + query


ENDPOINTS = {
    "openai": lambda given: OpenAIEndpoint(
        "us", model="m", client=openai_client(openai.AsyncOpenAI, httpx2.AsyncClient, given)
    ),
    "plain openai": lambda given: OpenAIEndpoint(
        "us", model="m", sync_client=openai_client(openai.OpenAI, httpx2.Client, given)
    ),
    "anthropic": lambda given: AnthropicEndpoint(
        "us", model="m", client=openai_client(anthropic.AsyncAnthropic, httpx2.AsyncClient, given)
    ),
    "google": lambda given: GoogleEndpoint("us", model="m", client=google_client(given)),
    "httpx2": lambda given: HTTPEndpoint("us", url="https://llm.example/", client=http_client(given)),
    "its own address": lambda given: HTTPEndpoint("us", url=address_of(given), headers=given.get("headers")),
    "parameters of its calls": lambda given: OpenAIEndpoint(
        "us",
        model="m",
        api_key="none",
        base_url=given.get("base_url"),
        params={"extra_headers": given.get("headers", {}), "extra_query": given.get("query", {})},
    ),
    "a plain one": lambda given: Endpoint(
        "us", url=address_of(given), headers=given.get("headers"), client=http_client(given)
    ),
}
WITHOUT_HTTP_CLIENT = {"its own address", "parameters of its calls"}


def takes(endpoint, given):
    return not (endpoint in WITHOUT_HTTP_CLIENT and "http" in given) and not (endpoint == "google" and "query" in given)


@pytest.mark.parametrize(
    ("endpoint", "given"), [(each, name) for each in ENDPOINTS for name in GIVEN if takes(each, GIVEN[name])]
)
def test_what_a_client_was_given_stands_in_no_message_however_it_is_encoded(endpoint, given):
    made = ENDPOINTS[endpoint](GIVEN[given])
    said = [scrub(f"refused: {encode(SECRET)} by the gateway") for encode in ENCODINGS.values()]

    assert all(re.fullmatch(r"refused: .{0,8}\[secret\].{0,8} by the gateway", text) for text in said), said
    assert "ebra" not in repr(made)


def test_what_is_no_secret_of_a_client_stays():
    client = openai.AsyncOpenAI(
        api_key="none",
        base_url="https://llm.example/v1?api-version=2024-10-21",
        default_headers={"X-Title": "weather station 7", "OpenAI-Beta": "assistants=v2", "X-Team": "forecasting"},
    )
    endpoint = OpenAIEndpoint("us", model="m", client=client)
    text = "llm.example: api-version 2024-10-21, assistants=v2, application/json; forecasting, weather station 7"

    assert scrub(text) == text
    assert credential_of(endpoint) == ""  # a key of four letters is none


def test_a_key_that_a_client_fetched_later_is_known():
    client = openai.AsyncOpenAI(api_key="none")
    endpoint = OpenAIEndpoint("us", model="m", client=client)
    endpoint._given.api_key = SECRET  # as the SDK does where `api_key` is a function

    assert scrub(f"refused: {SECRET}") == "refused: [secret]"


def test_an_endpoint_of_a_class_of_one_s_own_is_looked_through(registry):
    class Mine:
        name = "mine-looked-through"

        def __init__(self):
            self.api_key, self.region = SECRET, "eu-central-1"

    endpoint = Mine()

    @failover(endpoint, registry=registry)
    async def ask(endpoint):
        """Never called."""

    assert scrub(f"refused: {SECRET} in eu-central-1") == "refused: [secret] in eu-central-1"


def test_a_secret_that_is_not_to_be_had_yet_keeps_nobody_from_using_its_endpoint(registry):
    class Vault:
        def get_secret_value(self):
            raise ConnectionError("the vault is sealed")

    class Mine:
        name = "mine-in-a-vault"

        def __init__(self):
            self.api_key = Vault()

    @failover(Mine(), registry=registry)
    async def ask(endpoint):
        """Never called."""

    assert list(registry.endpoints) == ["mine-in-a-vault"]


def test_many_secrets_are_all_looked_for():
    owners = [Endpoint(f"e{number}", api_key=f"{number:04}-horse-battery-{number:04}") for number in range(2_000)]

    assert all("horse" not in scrub(f"no: {each.api_key}") for each in owners[::200])


async def test_a_server_that_quotes_what_it_was_sent_puts_no_secret_into_what_people_read(registry, events):
    quoted = {"error": {"message": f"/v1?code={IN_URL} with x-contoso {SECRET} is down", "type": "server_error"}}
    async with FakeProvider() as provider:
        provider.script(Fault("quoting", "reply", 500, body=quoted))
        headers, query = {"X-Contoso": SECRET}, {"code": SECRET}
        client = openai.AsyncOpenAI(
            api_key="none", base_url=provider.base_url, default_headers=headers, default_query=query
        )
        endpoint = OpenAIEndpoint("us-quoting", model="m", client=client)

        @classified_retry(max_attempts=1, registry=registry)
        @circuit_breaker(failure_threshold=1, registry=registry)
        async def ask():
            return await endpoint.complete("hi")

        with pytest.raises(AIServiceError) as first:
            await ask()
        with pytest.raises(AIServiceError) as second:
            await ask()
        await client.close()
    read = [events, registry, describe(ask), first.value, str(first.value), second.value, str(second.value)]
    opened_by = second.value.original_error.__cause__

    assert "[secret]" in repr(events)
    assert "ebra" not in repr([read, opened_by, str(opened_by), pickle.dumps([first.value, second.value])])
