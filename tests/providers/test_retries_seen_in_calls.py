"""Retries of an SDK's own that nobody can see at decoration show in the errors that come back."""

from __future__ import annotations

import warnings

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    DoubleRetryWarning,
    Endpoint,
    ErrorType,
    Registry,
    RetryRule,
    classified_retry,
    failover,
)
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import replaying

HI = [{"role": "user", "content": "hi"}]
AT_ONCE = {ErrorType.INTERNAL_ERROR: RetryRule(1, 0, 60), ErrorType.NETWORK_ERROR: RetryRule(1, 0, 60)}
# The SDKs wait as long before they send their request again.
BROKEN = {
    "status": 500,
    "headers": {"retry-after-ms": "1"},
    "body": {"error": {"message": "Internal server error", "type": "server_error"}},
}


@pytest.fixture
def server():
    with replaying() as server:
        server.script = [BROKEN]
        yield server


@pytest.fixture
def registry():
    return Registry(listeners=())


def openai(url, **settings):
    from openai import AsyncOpenAI

    async def ask(*_given):
        """Makes its client itself, so that nobody sees it at decoration."""
        async with AsyncOpenAI(api_key="planted", base_url=url, **settings) as client:
            await client.chat.completions.create(model="m", messages=HI)

    return ask


def anthropic(url, **settings):
    from anthropic import AsyncAnthropic

    async def ask(*_given):
        async with AsyncAnthropic(api_key="planted", base_url=url, **settings) as client:
            await client.messages.create(model="m", messages=HI, max_tokens=9)

    return ask


SDKS = [
    pytest.param(make, make.__name__, marks=pytest.mark.skipif(make.__name__ not in CLIENTS, reason="not installed"))
    for make in (openai, anthropic)
]


async def warnings_of(call, error=AIServiceError, times=1):
    """The texts of the warnings while a call fails so often."""
    with quiet(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DoubleRetryWarning)
        for _ in range(times):
            with pytest.raises(error):
                await call()
    return [str(each.message) for each in caught if each.category is DoubleRetryWarning]


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_a_client_that_has_sent_its_request_again_is_told_of_once(server, registry, make, sdk):
    ask = classified_retry("ask", rules=AT_ONCE, registry=registry)(make(f"{server.origin}/script/hits"))

    [told] = await warnings_of(ask, times=3)

    assert told == (
        f"the {sdk} client that {sdk}.<locals>.ask calls retries by itself: one attempt here was 3 requests there;"
        " switch that off with client.with_options(max_retries=0)"
    )
    assert server.requests["hits"] == 18


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_a_client_that_does_not_is_not(server, registry, make, sdk):
    ask = classified_retry("ask", rules=AT_ONCE, registry=registry)(make(f"{server.origin}/script/hits", max_retries=0))

    assert await warnings_of(ask) == []


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_each_call_site_is_told(server, registry, make, sdk):
    asks = [
        classified_retry("ask", rules=AT_ONCE, registry=registry)(make(f"{server.origin}/script/hits"))
        for _ in range(2)
    ]

    assert [len(await warnings_of(each)) for each in asks] == [1, 1]


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_it_is_seen_through_a_failover(server, registry, make, sdk):
    over = failover(Endpoint("us"), Endpoint("eu"), registry=registry)(make(f"{server.origin}/script/hits"))
    ask = classified_retry(rules=AT_ONCE, reraise=True, registry=registry)(over)

    assert len(await warnings_of(ask, AllEndpointsFailedError)) == 1


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_it_is_seen_behind_an_error_of_the_users_own(server, registry, make, sdk):
    class OurError(Exception):
        pass

    send = make(f"{server.origin}/script/hits")

    @classified_retry(rules=AT_ONCE, reraise=True, registry=registry)
    async def ask():
        try:
            await send()
        except Exception as error:
            raise OurError("no answer") from error

    assert len(await warnings_of(ask, OurError)) == 1


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_no_connection_shows_it_too(registry, make, sdk):
    ask = classified_retry(rules={}, reraise=True, on=(), registry=registry)(make("http://127.0.0.1:9", max_retries=1))

    assert len(await warnings_of(ask, Exception)) == 1


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_where_warnings_are_errors_the_call_goes_on(server, registry, make, sdk):
    ask = classified_retry("ask", rules=AT_ONCE, registry=registry)(make(f"{server.origin}/script/hits"))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("error", DoubleRetryWarning)
        with pytest.raises(AIServiceError):
            await ask()

    assert server.requests["hits"] == 6


@pytest.mark.parametrize(("make", "sdk"), SDKS)
async def test_who_was_told_at_decoration_is_not_told_again(server, registry, make, sdk):
    with quiet():
        clients = {"openai": openai_client, "anthropic": anthropic_client}
        method, given = clients[sdk](f"{server.origin}/script/hits")
    with pytest.warns(DoubleRetryWarning):
        ask = classified_retry(rules=AT_ONCE, registry=registry)(method)

    assert await warnings_of(lambda: ask(**given)) == []


def openai_client(url):
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="planted", base_url=url).chat.completions.create, {"model": "m", "messages": HI}


def anthropic_client(url):
    from anthropic import AsyncAnthropic

    method = AsyncAnthropic(api_key="planted", base_url=url).messages.create
    return method, {"model": "m", "messages": HI, "max_tokens": 9}
