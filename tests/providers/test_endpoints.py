"""Endpoints over the real SDKs: one way to ask, whatever the API, and clear words when it cannot work."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import aclosing

import anthropic
import anyio
import httpx2
import openai
import pytest

from resilient_ai import ErrorType, StreamTruncatedError, classify
from resilient_ai.providers import (
    AnthropicEndpoint,
    EndpointReplyError,
    HTTPEndpoint,
    MissingKeyError,
    OpenAIEndpoint,
    ParameterError,
    endpoints_from,
)
from resilient_ai.testing import FakeProvider, Fault
from tests.providers.support import KINDS, make


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


@pytest.fixture(params=KINDS)
async def endpoint(request, provider):
    async with make(request.param, provider) as endpoint:
        yield endpoint


async def test_every_endpoint_is_asked_alike(endpoint):
    assert await endpoint.complete("where are you") == "[moon] where are you"
    async with aclosing(endpoint.stream("where are you")) as stream:
        assert [piece async for piece in stream] == ["[moon]", " where", " are", " you"]
    await endpoint.check()


async def test_every_endpoint_takes_messages(endpoint):
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "where are you"},
    ]
    if isinstance(endpoint, HTTPEndpoint):
        with pytest.raises(EndpointReplyError, match="'here' replied with status 404"):
            await endpoint.complete(messages)  # the fake one takes prompts only
    else:
        assert await endpoint.complete(messages) == "[moon] where are you"


async def test_one_attempt_is_one_request(endpoint, provider):
    provider.script("overloaded")
    with pytest.raises(Exception, match=r"503|529|overloaded"):
        await endpoint.complete("hi")

    assert provider.count() == 1


@pytest.mark.parametrize("fault", ["rate_limit", "insufficient_quota", "overloaded", "invalid_key", "context_length"])
async def test_a_refusal_is_classified_the_same_everywhere(endpoint, provider, fault):
    expected = {
        "insufficient_quota": ErrorType.QUOTA_EXCEEDED,
        "overloaded": ErrorType.MODEL_OVERLOADED,
        "invalid_key": ErrorType.AUTHENTICATION,
    }.get(fault) or ErrorType(fault)
    provider.script(fault, fault)
    with pytest.raises(Exception) as plain:
        await endpoint.complete("hi")
    with pytest.raises(Exception) as streamed:
        await anext(endpoint.stream("hi"))

    assert classify(plain.value).error_type is expected
    assert classify(streamed.value).error_type is expected
    assert "planted" not in f"{plain.value!r} {plain.value}"


async def test_a_stream_that_is_cut_cleanly_is_an_error_all_the_same(endpoint, provider):
    provider.script(Fault.cut(after_items=2))
    said = []
    with pytest.raises(StreamTruncatedError, match="the stream of endpoint 'here' broke off after 2 items") as caught:
        async for piece in endpoint.stream("where are you"):
            said.append(piece)  # noqa: PERF401 - what came before the error is wanted

    assert said == ["[moon]", " where"]
    assert classify(caught.value).error_type is ErrorType.NETWORK_ERROR
    assert classify(caught.value).retryable


@pytest.mark.parametrize("fault", [Fault.tear(), Fault.reset(after_items=1)], ids=["tear", "reset"])
async def test_a_stream_whose_connection_breaks_is_a_network_error(endpoint, provider, fault):
    provider.script(fault)
    with pytest.raises(Exception) as caught:
        async for _ in endpoint.stream("where are you"):
            pass

    assert classify(caught.value).error_type is ErrorType.NETWORK_ERROR


async def test_an_error_inside_a_stream_is_told_with_its_class(endpoint, provider):
    provider.script(Fault.in_stream("overloaded"))
    with pytest.raises(Exception) as caught:
        async for _ in endpoint.stream("hi there"):
            pass

    assert classify(caught.value).error_type is ErrorType.MODEL_OVERLOADED


@pytest.mark.parametrize("entered", [lambda stream: stream, aclosing], ids=["itself", "aclosing"])
async def test_leaving_a_stream_early_closes_its_connection(endpoint, provider, entered):
    provider.script(Fault.stall(after_items=1))
    async with entered(endpoint.stream("where are you")) as stream:
        async for _ in stream:
            break
    await provider.until(lambda it: it.disconnects == 1)


async def test_cancelling_a_call_closes_its_connection(endpoint, provider):
    provider.script(Fault.stall(), Fault.stall(after_items=1))

    async def read() -> None:
        async with aclosing(endpoint.stream("hi")) as stream:
            async for _ in stream:
                pass

    for number, call in enumerate([lambda: endpoint.complete("hi"), read], 1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await provider.until(lambda it, number=number: it.count() == number and it.in_flight == 1)
            tasks.cancel_scope.cancel()
        await provider.until(lambda it, number=number: it.disconnects == number)


async def test_a_connection_serves_one_call_after_another(endpoint, provider):
    for _ in range(3):
        await endpoint.complete("hi")
        async with aclosing(endpoint.stream("hi")) as stream:
            assert [piece async for piece in stream]

    assert provider.connections == 1


async def test_check_costs_no_tokens_and_tells_when_the_provider_is_down(endpoint, provider):
    await endpoint.check()
    with provider.outage(503), pytest.raises(Exception, match="503"):
        await endpoint.check()

    assert {request.method for request in provider.requests} <= {"GET", "HEAD"}


async def test_shared_parameters_have_the_names_of_each_api(provider):
    shared = {"system": "be brief", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": "END"}
    for kind in KINDS:
        async with make(kind, provider) as endpoint:
            # Responses know no `stop`.
            await endpoint.complete("hi", **{**shared, "stop": None if kind == "responses" else "END"}, timeout=5)
    gpt, gpt_5, claude, gemini, plain = (request.body for request in provider.requests)

    assert gpt["messages"][0] == {"role": "system", "content": "be brief"}
    assert (gpt["max_tokens"], gpt["temperature"], gpt["top_p"], gpt["stop"]) == (9, 0.5, 0.9, "END")
    assert (gpt_5["instructions"], gpt_5["max_output_tokens"]) == ("be brief", 9)
    assert gemini["systemInstruction"]["parts"] == [{"text": "be brief"}]
    assert gemini["generationConfig"] == {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["END"],
    }
    assert claude["system"] == "be brief"
    assert (claude["max_tokens"], claude["temperature"], claude["top_p"]) == (9, 0.5, 0.9)
    assert claude["stop_sequences"] == ["END"]
    assert plain == {"prompt": "hi", **shared}


async def test_openai_itself_gets_the_new_name_of_max_tokens():
    asked = []

    def reply(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        message = {"role": "assistant", "content": "I will", "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        chat = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return httpx2.Response(200, json=chat)

    transport = httpx2.AsyncClient(transport=httpx2.MockTransport(reply))
    async with openai.AsyncOpenAI(api_key="sk-planted", http_client=transport) as client:
        endpoint = OpenAIEndpoint("own", model="m", client=client)

        assert await endpoint.complete("hi", max_tokens=7) == "I will"
        assert b'"max_completion_tokens":7' in asked[0].content
        assert endpoint.provider == "openai"
        await endpoint.check()
        assert asked[1].url.path == "/v1/models/m"
        await endpoint.aclose()
        assert not client.is_closed()


async def test_an_azure_client_is_used_as_it_is(provider):
    async with openai.AsyncAzureOpenAI(
        api_key="sk-planted", azure_endpoint=provider.url, api_version="2024-10-21"
    ) as client:
        endpoint = OpenAIEndpoint("azure", model="deployed", client=client)
        provider.script("azure_overloaded")
        with pytest.raises(openai.InternalServerError):
            await endpoint.complete("hi")

        assert await endpoint.complete("hi") == "[moon] hi"
    assert provider.requests[1].path == "/openai/deployments/deployed/chat/completions"
    assert provider.count() == 2


async def test_clients_of_your_own_are_used_with_their_retries_off_and_left_open(provider):
    provider.script("overloaded")
    async with anthropic.AsyncAnthropic(api_key="sk-planted", base_url=provider.url) as claude:
        async with AnthropicEndpoint("own", model="m", client=claude) as endpoint:
            with pytest.raises(anthropic.APIStatusError):
                await endpoint.complete("hi")
        assert not claude.is_closed()
    async with httpx2.AsyncClient() as client:
        async with HTTPEndpoint("own", url=f"{provider.url}/complete", client=client) as endpoint:
            assert await endpoint.complete("hi") == "[moon] hi"
        assert not client.is_closed

    assert provider.count() == 2


async def test_system_messages_are_taken_out_for_anthropic(provider):
    async with make("anthropic", provider) as endpoint:
        await endpoint.complete(
            [{"role": "system", "content": "in the list"}, {"role": "user", "content": "hi"}], system="by name"
        )

    assert provider.requests[0].body["system"] == "by name\n\nin the list"
    assert provider.requests[0].body["max_tokens"] == 1024


async def test_parameters_of_the_api_itself_are_passed_on(provider):
    async with make("openai", provider) as gpt, make("anthropic", provider) as claude:
        await gpt.complete("hi", seed=7, max_tokens=None)
        await claude.complete("hi", service_tier="auto", extra_body={"top_k": 3}, temperature=0.1)
    one, two = (request.body for request in provider.requests)

    assert one["seed"] == 7
    assert "max_tokens" not in one
    assert (two["service_tier"], two["top_k"], two["temperature"]) == ("auto", 3, 0.1)


@pytest.mark.parametrize(
    ("kind", "prompt", "params", "message"),
    [
        (
            "openai",
            "hi",
            {"temprature": 1},
            "the openai API takes no parameter 'temprature'; did you mean",
        ),
        ("openai", "hi", {"stream": True}, "takes no parameter 'stream'"),
        ("openai", "hi", {"model": "other"}, "takes no parameter 'model'"),
        ("anthropic", "hi", {"frequency_penalty": 1}, "the anthropic API takes no parameter 'frequency_penalty'"),
        ("anthropic", "hi", {"temperature": 1.5}, "temperature must be a number of at least 0 up to 1, got 1.5"),
        ("openai", "hi", {"temperature": "hot"}, "temperature must be a number of at least 0 up to 2, got 'hot'"),
        ("openai", "hi", {"max_tokens": 0}, "max_tokens must be an integer of at least 1, got 0"),
        ("openai", "hi", {"top_p": 2}, "top_p must be a number of at least 0 up to 1, got 2"),
        ("http", "hi", {"timeout": 0}, "timeout must be a number above 0, got 0"),
        ("openai", "hi", {"system": 5}, "system must be a text, got an int"),
        ("openai", "hi", {"stop": [5]}, "stop must be a text or a list of texts, got a list"),
        ("openai", "", {}, "the prompt is empty"),
        ("openai", [], {}, "a prompt is a text or a list of messages, got an empty one"),
        ("openai", {"role": "user"}, {}, "a prompt is a text or a list of messages, got a dict"),
        ("openai", [{"content": "hi"}], {}, "message 0 must be a mapping with 'role' and 'content'"),
        ("anthropic", [{"role": "system", "content": "x"}], {}, "there is no message but system messages"),
        ("anthropic", [{"role": "system", "content": [1]}], {}, "a system message must be a text"),
        ("http", "hi", {"tags": {1, 2}}, "the parameters cannot be sent as JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) and value in KINDS else None,
)
async def test_what_cannot_be_asked_is_refused_before_anything_is_sent(provider, kind, prompt, params, message):
    async with make(kind, provider) as endpoint:
        with pytest.raises(ParameterError, match=f"endpoint 'here': .*{message}".replace("?", r"\?")) as caught:
            await endpoint.complete(prompt, **params)
    verdict = classify(caught.value)

    assert isinstance(caught.value, TypeError)
    assert (verdict.error_type, verdict.blame) == (ErrorType.INVALID_REQUEST, "request")
    assert not verdict.endpoint_fault
    assert provider.count() == 0


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_keys_come_from_the_environment(provider, kind, monkeypatch):
    variable = f"{kind.upper()}_API_KEY"
    cls = OpenAIEndpoint if kind == "openai" else AnthropicEndpoint
    endpoint = cls("here", model="m", base_url=provider.base_url if kind == "openai" else provider.url)
    for each in (variable, "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(each, raising=False)
    with pytest.raises(MissingKeyError, match=f"endpoint 'here' has no API key; set {variable} or pass") as caught:
        await endpoint.complete("hi")
    monkeypatch.setenv(variable, "sk-planted")
    async with endpoint:
        assert await endpoint.complete("hi") == "[moon] hi"

    assert classify(caught.value).error_type is ErrorType.AUTHENTICATION
    assert classify(caught.value).endpoint_fault


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("openai", Fault.reply(200, {"error": {"code": 502, "message": "Provider returned error"}}), "internal_error"),
        ("openai", Fault.reply(200, "<html>maintenance</html>", {"content-type": "text/html"}), "internal_error"),
        ("anthropic", Fault.reply(200, {"type": "message", "id": "x"}), "internal_error"),
        ("http", Fault.reply(200, {"error": {"type": "overloaded_error"}}), "model_overloaded"),
        ("http", Fault.reply(200, "<html>maintenance</html>"), "internal_error"),
        ("http", Fault.reply(200, {"content": 5}), "internal_error"),
    ],
    ids=lambda value: value.body if isinstance(value, Fault) else None,
)
async def test_a_success_without_an_answer_is_a_failure(provider, kind, reply, expected):
    provider.script(reply)
    async with make(kind, provider) as endpoint:
        with pytest.raises(EndpointReplyError, match="'here' replied with status 200 but without an answer") as caught:
            await endpoint.complete("hi")

    assert classify(caught.value).error_type == expected
    assert "maintenance" not in repr(caught.value)


async def test_an_http_stream_of_something_else_is_a_failure(provider):
    async with make("http", provider) as endpoint:
        provider.script(Fault.reply(200, "data: nonsense\n\n", {"content-type": "text/event-stream"}), 503)
        with pytest.raises(EndpointReplyError, match="without an answer"):
            await anext(endpoint.stream("hi"))
        with pytest.raises(EndpointReplyError, match="replied with status 503") as caught:
            await anext(endpoint.stream("hi"))

    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.name, again.status_code, str(again)) == ("here", 503, str(caught.value))


def test_an_endpoint_outlives_its_event_loops(provider):
    endpoint = make("openai", provider)

    async def ask() -> str:
        async with endpoint:
            return await endpoint.complete("hi")

    assert [anyio.run(ask, backend=backend) for backend in ("asyncio", "trio", "asyncio")] == ["[moon] hi"] * 3


async def test_a_closed_endpoint_opens_again(endpoint, provider):
    await endpoint.complete("hi")
    await endpoint.aclose()
    await endpoint.aclose()
    await provider.until(lambda it: it.connections == 0)

    assert await endpoint.complete("hi") == "[moon] hi"


def test_reprs_show_what_tells_endpoints_apart_and_no_key(provider):
    shown = [
        repr(OpenAIEndpoint("us", model="m", api_key="sk-planted", region="us-east")),
        repr(AnthropicEndpoint("claude", model="m", api_key="sk-planted")),
        repr(HTTPEndpoint("own", url="https://user:planted@example.com/x?key=planted", headers={"x": "planted"})),
    ]

    assert shown == [
        "OpenAIEndpoint('us', model='m', region='us-east')",
        "AnthropicEndpoint('claude', model='m')",
        "HTTPEndpoint('own', host='example.com')",
    ]


def test_importing_the_endpoints_imports_no_sdk():
    code = (
        "import sys, resilient_ai.providers as p;"
        "p.OpenAIEndpoint('a', model='m'); p.AnthropicEndpoint('b', model='m'); p.HTTPEndpoint('c', url='http://x');"
        "assert not {'openai', 'anthropic', 'httpx2', 'trio'} & set(sys.modules), sorted(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("kind", "extra"), [(OpenAIEndpoint, "openai"), (AnthropicEndpoint, "anthropic"), (HTTPEndpoint, "http")]
)
def test_a_missing_extra_says_how_to_get_it(kind, extra):
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name in ('openai', 'anthropic', 'httpx2') else find(name, *a);"
        f"from resilient_ai.providers import {kind.__name__} as kind;"
        f"kind('a', **{ ({'url': 'http://x'} if extra == 'http' else {'model': 'm'})!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert f"ImportError: {kind.__name__} needs the package" in done.stderr
    assert f"pip install 'resilient-ai[{extra}]'" in done.stderr


def test_a_list_of_mappings_becomes_endpoints():
    endpoints = endpoints_from(
        [
            {"type": "openai", "name": "us", "model": "gpt-4o-mini", "api_key": "sk-planted", "region": "us-east"},
            {"type": "openai", "name": "eu", "model": "gpt-4o-mini", "base_url": "https://eu.api.openai.com/v1"},
            {"type": "anthropic", "name": "claude", "model": "claude-haiku-4-5", "weight": 2},
            {"type": "custom", "name": "own", "url": "https://models.example/complete", "headers": {"x-key": "k"}},
        ]
    )

    assert [type(each) for each in endpoints] == [OpenAIEndpoint, OpenAIEndpoint, AnthropicEndpoint, HTTPEndpoint]
    assert [each.provider for each in endpoints] == ["openai", "openai", "anthropic", "models.example"]
    assert (endpoints[0].region, endpoints[2].weight) == ("us-east", 2)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"type": "opnai", "name": "a"}], r"endpoint 0 \(a\) has the unknown type 'opnai'; there are: openai, anthro"),
        ([{"name": "a"}], r"endpoint 0 \(a\) has no type; there are: openai"),
        ([{"type": "openai", "model": "m"}], r"endpoint 0 \(without name\) of type 'openai' needs 'name'"),
        ([{"type": "openai", "name": "a"}], r"endpoint 0 \(a\) of type 'openai' needs 'model'"),
        ([{"type": "http", "name": "a"}], r"endpoint 0 \(a\) of type 'http' needs 'url'"),
        (
            [{"type": "openai", "name": "a", "model": "m", "base-url": "x"}],
            r"endpoint 0 \(a\) of type 'openai' takes no 'base-url'; did you mean 'base_url'\?",
        ),
        ([{"type": "openai", "name": "a", "model": "m", "qqq": 1}], "takes no 'qqq'; it takes: name, model, api_key"),
        ([{"type": "openai", "name": "", "model": "m"}], "name of an endpoint must be a non-empty string, got ''"),
        ([{"type": "openai", "name": "a", "model": ""}], r"endpoint 0 \(a\): model must be a non-empty string, got ''"),
        ([{"type": "http", "name": "a", "url": "x"}], "url of endpoint 'a' must be an absolute http"),
        ([{"type": "anthropic", "name": "a", "model": "m", "weight": -1}], "weight must be a number of at least 0"),
        ([{"type": "openai", "name": "a", "model": "m"}] * 2, r"endpoint 1 \(a\) has a name that is there already"),
        (["openai"], "endpoint 0 must be a mapping, got a str"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_named(entries, message):
    with pytest.raises(ValueError, match=message) as caught:
        endpoints_from(entries)

    assert "planted" not in str(caught.value)
