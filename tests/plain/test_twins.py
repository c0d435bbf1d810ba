"""The twins of the endpoints for plain code: the same requests, replies and errors, by the SDKs' clients that block."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import ExitStack

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from resilient_ai import (
    StreamTruncatedError,
    circuit_breaker,
    classified_retry,
    classify,
    deadline,
    degrade_to,
    failover,
)
from resilient_ai.providers import (
    AnthropicEndpoint,
    HTTPEndpoint,
    MissingKeyError,
    OpenAIEndpoint,
    ParameterError,
    Reply,
    SyncEndpoint,
    SyncReplyStream,
)
from resilient_ai.testing import FakeProvider, Fault
from tests.providers.support import KINDS, make

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]


class Place(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def provider():
    with FakeProvider("p") as provider:
        yield provider


@pytest.fixture(params=KINDS)
def twin(request, provider):
    with make(request.param, provider, "p").sync as twin:
        yield twin


def test_it_completes_and_tells_what_it_knows(twin):
    reply = twin.complete("hello")

    finish = None if "HTTPEndpoint" in repr(twin) else "stop"  # a server of one's own need not say
    assert isinstance(reply, Reply)
    assert (reply, reply.finish_reason, reply.endpoint) == ("[p] hello", finish, "p")


def test_it_streams_and_has_the_reply_at_the_end(twin):
    stream = twin.stream("hello")
    before = stream.reply
    pieces = list(stream)

    assert isinstance(stream, SyncReplyStream)
    assert before is None
    assert "".join(pieces) == stream.reply == "[p] hello"


def test_a_stream_that_is_left_early_is_closed(twin, provider):
    with twin.stream("hello") as stream:
        next(stream)

    assert stream.reply is None
    assert twin.complete("again") == "[p] again"


def test_tools_and_schemas_work(twin):
    called = twin.complete("what is the weather in Paris?", tools=TOOLS)
    parsed = twin.complete("where is the moon", schema=Place)

    assert [call.name for call in called.tool_calls] == ["weather"]
    assert isinstance(parsed.parsed, Place)


@pytest.mark.parametrize("fault", ["rate_limit", "overloaded", "invalid_key", "refusal", 504])
def test_errors_mean_what_they_mean_at_the_async_endpoint(request, provider, twin, fault):
    provider.outage(fault)
    with pytest.raises(Exception) as caught:
        twin.complete("hello")
    with pytest.raises(Exception) as streamed:
        list(twin.stream("hello"))

    expected = {
        "rate_limit": "rate_limit",
        "overloaded": "model_overloaded",
        "invalid_key": "authentication",
        "refusal": "content_filter",
        504: "timeout",
    }[fault]
    assert classify(caught.value).error_type == expected
    assert classify(streamed.value).error_type == expected


def test_a_stream_that_was_cut_is_no_success(twin, provider):
    provider.outage(Fault.cut(after_items=1))
    with pytest.raises(StreamTruncatedError):
        list(twin.stream("hello"))


def test_a_parameter_that_the_api_does_not_take_is_refused_before_anything_is_sent(twin, provider):
    with pytest.raises(ParameterError):
        twin.complete("hello", max_tokens=-1)

    assert provider.count() == 0


def test_within_a_deadline_no_request_has_more_time_than_is_left(provider):
    provider.outage(Fault.slow(30))
    twin = OpenAIEndpoint("p", model="m", api_key="k", base_url=provider.base_url).sync
    with twin, pytest.raises(openai.APITimeoutError), deadline(0.05):
        twin.complete("hello")


def test_all_four_policies_move_from_vendor_to_vendor_below_a_plain_function(registry):
    with ExitStack() as open_things:
        providers = {kind: open_things.enter_context(FakeProvider(kind)) for kind in KINDS}
        endpoints = [make(kind, providers[kind], kind) for kind in KINDS]
        for each in endpoints:
            open_things.enter_context(each.sync)

        @degrade_to("later", registry=registry)
        @classified_retry(registry=registry)
        @failover(*endpoints, strategy="priority", registry=registry)
        @circuit_breaker(registry=registry)
        def ask(endpoint: SyncEndpoint, prompt: str) -> str:
            return endpoint.complete(prompt)

        @failover(*endpoints, name="pieces", strategy="priority", registry=registry)
        def pieces(endpoint: SyncEndpoint, prompt: str):
            with endpoint.stream(prompt) as stream:
                yield from stream

        @failover(*endpoints, name="streams", strategy="priority", registry=registry)
        def stream(endpoint: SyncEndpoint, prompt: str):
            return endpoint.stream(prompt)

        for kind in KINDS[:-1]:
            providers[kind].outage("overloaded")
        answers = [ask("hello"), "".join(pieces("hello")), "".join(stream("hello"))]

    assert answers == [f"[{KINDS[-1]}] hello"] * 3
    assert [registry.endpoints[kind].stats().healthy for kind in KINDS] == [False] * (len(KINDS) - 1) + [True]


async def test_an_endpoint_and_its_twin_are_one_to_the_registry(provider, registry):
    us = OpenAIEndpoint("us", model="m", api_key="k", base_url=provider.base_url)

    @failover(us, name="plain", registry=registry)
    def ask(endpoint):
        return endpoint.complete("hello")

    @failover(us, name="async", registry=registry)
    async def ask_async(endpoint):
        return await endpoint.complete("hello")

    async with us:
        answers = [ask(), await ask_async()]
    us.sync.close()

    assert answers == ["[p] hello"] * 2
    assert registry.endpoints["us"].stats().calls == 2


# -- clients


def test_a_client_of_the_users_is_used_with_its_retries_off_and_left_open(provider):
    with openai.OpenAI(api_key="k", base_url=provider.base_url, max_retries=3) as client:
        twin = OpenAIEndpoint("p", model="m", sync_client=client).sync
        provider.script("overloaded")
        with pytest.raises(openai.APIStatusError):
            twin.complete("hello")
        twin.close()

        assert twin.complete("hello") == "[p] hello"
        assert provider.count() == 2
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        assert AnthropicEndpoint("p", model="m", sync_client=client).sync.complete("hello") == "[p] hello"
    with httpx2.Client() as client:
        own = HTTPEndpoint("p", url=f"{provider.url}/complete", sync_client=client)
        assert own.sync.complete("hello") == "[p] hello"


async def test_an_async_client_alone_cannot_serve_plain_code_and_the_error_says_so(registry):
    async with openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9") as client:
        endpoint = OpenAIEndpoint("us", model="m", client=client)
        with pytest.raises(ValueError, match=r"endpoint .us. was given an async client, .* give sync_client= too"):
            failover(endpoint, registry=registry)(lambda endpoint: None)


def test_without_a_key_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        OpenAIEndpoint("us", model="m").sync.complete("hello")


def test_eight_threads_share_one_client(provider):
    endpoint = OpenAIEndpoint("p", model="m", api_key="k", base_url=provider.base_url)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(endpoint.sync.complete("hello"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    endpoint.sync.close()

    assert answers == ["[p] hello"] * 8


def test_a_twin_that_nobody_closes_is_closed_with_its_endpoint(provider):
    endpoint = OpenAIEndpoint("p", model="m", api_key="k", base_url=provider.base_url)
    endpoint.sync.complete("hello")
    del endpoint
    gc.collect()  # an unclosed socket would be a warning, and warnings are errors here

    assert provider.count() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_forked_child_opens_connections_of_its_own(provider):
    with OpenAIEndpoint("p", model="m", api_key="k", base_url=provider.base_url).sync as twin:
        twin.complete("hello")
        child = os.fork()
        if not child:
            os._exit(0 if twin.complete("from the child") == "[p] from the child" else 1)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        assert twin.complete("hello") == "[p] hello"


def test_its_repr_shows_no_key(provider):
    twin = OpenAIEndpoint("us", model="m", api_key="sk-secret").sync

    assert repr(twin) == "OpenAIEndpoint('us', model='m').sync"
    assert (twin.name, twin.provider, twin.model, twin.region, twin.weight, twin.context_window) == (
        "us",
        "openai",
        "m",
        None,
        1.0,
        None,
    )
