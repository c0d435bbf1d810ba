"""Retries of the SDKs' own: told at decoration, and counted at the server."""

from __future__ import annotations

import warnings

import anyio
import pytest

from resilient_ai import AIServiceError, DoubleRetryWarning, ErrorType, Registry, RetryRule, classified_retry
from tests.providers.clients import CLIENTS, quiet
from tests.providers.replay import replaying

HI = [{"role": "user", "content": "hi"}]
AT_ONCE = {kind: RetryRule(9, 0, 60) for kind in (ErrorType.RATE_LIMIT, ErrorType.INTERNAL_ERROR)}
BROKEN = {"status": 500, "headers": {}, "body": {"error": {"message": "Internal server error", "type": "server_error"}}}


@pytest.fixture
def server():
    with replaying() as server:
        server.script = [BROKEN]
        yield server


@pytest.fixture
def registry():
    return Registry(listeners=())


def installed(sdk):
    return pytest.mark.skipif(sdk not in CLIENTS, reason=f"{sdk} is not installed")


def _openai(url, **settings):
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="planted", base_url=url, **settings)


def _anthropic(url, **settings):
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(api_key="planted", base_url=url, **settings)


def _groq(url, **settings):
    from groq import AsyncGroq

    return AsyncGroq(api_key="planted", base_url=url, **settings)


def _together(url, **settings):
    from together import AsyncTogether

    return AsyncTogether(api_key="planted", base_url=url, **settings)


def _cohere(url, **settings):
    from cohere import AsyncClientV2

    return AsyncClientV2(api_key="planted", base_url=url, **settings)


SWITCH = r"client\.with_options\(max_retries=0\)"
CASES = [
    pytest.param("openai", _openai, lambda client: client.chat.completions.create, SWITCH, marks=installed("openai")),
    pytest.param("anthropic", _anthropic, lambda client: client.messages.create, SWITCH, marks=installed("anthropic")),
    pytest.param("groq", _groq, lambda client: client.chat.completions.create, SWITCH, marks=installed("groq")),
    pytest.param(
        "together", _together, lambda client: client.chat.completions.create, SWITCH, marks=installed("together")
    ),
    pytest.param(
        "cohere", _cohere, lambda client: client.embed, r'request_options={"max_retries": 0}', marks=installed("cohere")
    ),
]


@pytest.mark.parametrize(("sdk", "make", "method", "switch"), CASES)
def test_a_client_that_retries_by_itself_is_told_of_with_its_switch(server, registry, sdk, make, method, switch):
    with quiet():
        busy, calm = make(server.origin), make(server.origin, max_retries=0)

    with pytest.warns(DoubleRetryWarning, match=rf"the {sdk} client of .* up to 3 requests there; .*{switch}"):
        classified_retry(registry=registry)(method(busy))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classified_retry(registry=registry)(method(calm))


@installed("cohere")
def test_a_method_hidden_in_closures_is_seen_through(server, registry):
    with quiet():
        client = _cohere(server.origin)

    with pytest.warns(DoubleRetryWarning, match="the cohere client of"):
        classified_retry(registry=registry)(client.chat)


@installed("openai")
def test_wrappers_and_partials_are_seen_through(server, registry):
    import functools

    client = _openai(server.origin)
    for fn in (
        functools.partial(client.chat.completions.create, model="m"),
        client.chat.completions.with_raw_response.create,
    ):
        with pytest.warns(DoubleRetryWarning, match="the openai client of"):
            classified_retry(registry=registry)(fn)


@installed("bedrock")
async def test_boto_clients_are_told_of_and_can_be_decorated(server, registry, anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("aiobotocore runs on asyncio")
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    keys = {"aws_access_key_id": "planted", "aws_secret_access_key": "planted"}
    place = {"region_name": "us-east-1", "endpoint_url": f"{server.origin}/script/boto"}
    once = AioConfig(retries={"total_max_attempts": 1, "mode": "standard"})
    with quiet():
        async with get_session().create_client("bedrock-runtime", **place, **keys) as client:
            with pytest.warns(DoubleRetryWarning, match=r'up to 5 requests there; .*Config\(retries={"total_max_att'):
                classified_retry(registry=registry)(client.converse)
        async with get_session().create_client("bedrock-runtime", **place, **keys, config=once) as client:
            converse = classified_retry("boto", rules=AT_ONCE, max_attempts=3, registry=registry)(client.converse)
            with pytest.raises(AIServiceError, match="after 3 attempts"):
                await converse(modelId="m", messages=[{"role": "user", "content": [{"text": "hi"}]}])

    assert server.requests["boto"] == 3


@installed("google")
def test_googles_options_are_read(registry):
    from google import genai
    from google.genai import types

    def method(options):
        with quiet():
            client = genai.Client(api_key="planted", http_options=types.HttpOptions(retry_options=options))
        return client.aio.models.generate_content

    with pytest.warns(DoubleRetryWarning, match=r"up to 4 requests there; .*HttpRetryOptions\(attempts=1\)"):
        classified_retry(registry=registry)(method(types.HttpRetryOptions(attempts=4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoubleRetryWarning)
        classified_retry(registry=registry)(method(types.HttpRetryOptions(attempts=1)))


@pytest.mark.parametrize("sdk", [sdk for sdk in ("openai", "anthropic", "httpx2") if sdk in CLIENTS])
async def test_three_attempts_are_exactly_three_requests(server, registry, sdk):
    @classified_retry("ask", rules=AT_ONCE, max_attempts=3, registry=registry)
    async def ask() -> object:
        return await CLIENTS[sdk](f"{server.origin}/script/{sdk}", "chat", False, 10)

    with anyio.fail_after(20), pytest.raises(AIServiceError, match=r"failed with internal_error .* after 3 attempts"):
        await ask()

    assert server.requests[sdk] == 3


@installed("openai")
async def test_a_rate_limit_is_waited_out_for_as_long_as_the_provider_says(server, registry):
    limited = {
        "status": 429,
        "headers": {"retry-after-ms": "150"},
        "body": {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}},
    }
    answer = {
        "status": 200,
        "headers": {},
        "body": {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "pong"}}],
        },
    }
    server.script = [limited, answer]
    client = _openai(f"{server.origin}/script/limited", max_retries=0)
    create = classified_retry("create", registry=registry)(client.chat.completions.create)
    started = registry.clock.now()
    async with client:
        answered = await create(model="m", messages=HI)

    assert answered.choices[0].message.content == "pong"
    assert registry.clock.now() - started >= 0.15
    assert server.requests["limited"] == 2


@installed("openai")
async def test_a_used_up_quota_is_asked_once(server, registry):
    server.script = [
        {
            "status": 429,
            "headers": {},
            "body": {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        }
    ]
    client = _openai(f"{server.origin}/script/quota", max_retries=0)
    create = classified_retry("create", registry=registry)(client.chat.completions.create)
    async with client:
        with pytest.raises(AIServiceError, match="failed with quota_exceeded") as caught:
            await create(model="m", messages=HI)

    assert caught.value.error_type is ErrorType.QUOTA_EXCEEDED
    assert server.requests["quota"] == 1


@pytest.mark.parametrize(
    "sdk", [sdk for sdk in ("openai", "anthropic", "httpx2", "google", "aiohttp") if sdk in CLIENTS]
)
async def test_the_callers_own_deadline_is_no_timeout_of_the_provider(server, registry, sdk, anyio_backend_name):
    if sdk in ("google", "aiohttp") and anyio_backend_name == "trio":
        pytest.skip(f"{sdk} runs on asyncio")

    @classified_retry("ask", rules={ErrorType.TIMEOUT: RetryRule(2, 0, 0)}, registry=registry)
    async def ask(timeout: float) -> object:
        return await CLIENTS[sdk](f"{server.origin}/fault/stall_before_response", "chat", False, timeout)

    with quiet():
        with anyio.move_on_after(0.3) as scope:
            await ask(10.0)
        assert scope.cancelled_caught
        assert registry.retries["ask"].stats().error_counts == {}

        with pytest.raises(AIServiceError, match=r"failed with timeout .* after 3 attempts"):
            await ask(0.3)
    assert registry.retries["ask"].stats().error_counts == {"timeout": 3}
