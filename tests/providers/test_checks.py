"""A check of an endpoint says "down" only where it met the outage itself; else a trial call decides."""

from __future__ import annotations

from http import HTTPStatus

import anthropic
import anyio
import httpx2
import openai
import pytest

from resilient_ai import failover
from resilient_ai.providers import AnthropicEndpoint, EndpointReplyError, HTTPEndpoint, OpenAIEndpoint
from resilient_ai.testing import FakeProvider
from resilient_ai.types import EndpointState
from tests.providers.support import KINDS, make


@pytest.fixture
def provider():
    with FakeProvider("first") as provider:
        yield provider


@pytest.fixture
def spare():
    with FakeProvider("second") as provider:
        yield provider


async def ask(endpoint) -> str:
    return await endpoint.complete("hi")


class Server:
    """An HTTP client whose server answers questions about models in one way and calls in another."""

    def __init__(self, check: int | Exception, call: dict) -> None:
        self.check, self.call, self.well, self.checks = check, call, False, 0
        self.client = httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(200, json=self.call) if self.well else httpx2.Response(503, json={})
        self.checks += 1
        if isinstance(self.check, Exception):
            raise self.check
        return httpx2.Response(self.check, json={"error": {"message": "no"}})


CHAT = {"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "[first] hi"}}]}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "[first] hi"}],
}


def with_openai(server: Server) -> OpenAIEndpoint:
    client = openai.AsyncOpenAI(api_key="x", base_url="http://first/v1", http_client=server.client)
    return OpenAIEndpoint("first", model="m", client=client)


def with_azure(server: Server) -> OpenAIEndpoint:
    client = openai.AsyncAzureOpenAI(
        api_key="x", azure_endpoint="http://first", api_version="2024-10-21", http_client=server.client
    )
    return OpenAIEndpoint("first", model="my-deployment", client=client)


def with_anthropic(server: Server) -> AnthropicEndpoint:
    client = anthropic.AsyncAnthropic(api_key="x", base_url="http://first", http_client=server.client)
    return AnthropicEndpoint("first", model="m", client=client)


def with_http(server: Server) -> HTTPEndpoint:
    return HTTPEndpoint("first", url="http://first/complete", client=server.client)


MADE = [(with_openai, CHAT), (with_azure, CHAT), (with_anthropic, MESSAGE), (with_http, {"content": "[first] hi"})]
SAYS_NOTHING = [400, 401, 403, 404, 405, 422, 501]
IS_THE_OUTAGE = [429, 500, 502, 503, 504, 529, httpx2.ConnectError("no"), httpx2.ReadTimeout("late")]


@pytest.mark.parametrize("check", SAYS_NOTHING, ids=lambda check: HTTPStatus(check).phrase)
@pytest.mark.parametrize(("made", "call"), MADE, ids=lambda it: getattr(it, "__name__", ""))
async def test_a_check_that_is_refused_leaves_it_to_a_trial_call(registry, clock, spare, made, call, check):
    server = Server(check, call)
    second = make("openai", spare, "second")
    asked = failover(made(server), second, strategy="priority", registry=registry)(ask)
    async with second:
        answers = [await asked()]
        server.well = True
        clock.advance(30)
        await checked(server, 1)
        answers += [await asked(), await asked()]

    assert answers == ["[second] hi", "[first] hi", "[first] hi"]
    assert server.checks == 1


@pytest.mark.parametrize("check", IS_THE_OUTAGE, ids=str)
@pytest.mark.parametrize(("made", "call"), MADE, ids=lambda it: getattr(it, "__name__", ""))
async def test_a_check_that_meets_the_outage_keeps_callers_away(registry, clock, spare, made, call, check):
    server = Server(check, call)
    second = make("openai", spare, "second")
    asked = failover(made(server), second, strategy="priority", registry=registry)(ask)
    async with second:
        await asked()
        server.well = True  # nobody tries, as the check says otherwise
        clock.advance(30)
        await checked(server, 1)

        assert await asked() == "[second] hi"
        assert registry.endpoints["first"].stats().state is EndpointState.RESTING


async def checked(server: Server, times: int) -> None:
    """Wait until the server has been checked so often."""
    with anyio.fail_after(5):
        while server.checks < times:
            await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


async def test_a_trial_call_that_fails_is_followed_by_a_longer_rest_and_another_trial(registry, clock, spare):
    server = Server(403, CHAT)
    second = make("openai", spare, "second")
    asked = failover(with_openai(server), second, strategy="priority", registry=registry)(ask)
    async with second:
        await asked()
        for number, seconds in enumerate((30, 60), start=1):
            clock.advance(seconds)
            await checked(server, number)
            assert await asked() == "[second] hi"
        server.well = True
        clock.advance(600)
        await checked(server, 3)

        assert await asked() == "[first] hi"


async def test_clients_that_cannot_list_models_say_so(registry, clock, spare):
    bedrock = anthropic.AsyncAnthropicBedrock(aws_region="eu-west-1", aws_access_key="a", aws_secret_key="s")
    vertex = anthropic.AsyncAnthropicVertex(region="eu", project_id="p", access_token="t")
    for client in (bedrock, vertex):
        endpoint = AnthropicEndpoint("claude", model="m", client=client)
        with pytest.raises(NotImplementedError, match=rf"an {type(client).__name__} cannot be asked for its models"):
            await endpoint.check()
        await client.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_every_check_passes_where_it_may_ask(provider, kind):
    async with make(kind, provider) as endpoint:
        await endpoint.check()
        provider.outage("overloaded")
        with pytest.raises(Exception, match=r"503|529|overloaded|UNAVAILABLE"):
            await endpoint.check()


@pytest.mark.parametrize(
    "raised", [AttributeError("models"), RuntimeError("what?"), ValueError(), EndpointReplyError("x", 404)]
)
async def test_any_other_error_of_a_check_of_ones_own_leaves_it_to_a_trial_call(registry, clock, raised):
    class Region:
        def __init__(self, name: str) -> None:
            self.name, self.well = name, True

        async def check(self) -> None:
            raise raised

    async def call(region: Region) -> str:
        if not region.well:
            raise OSError("down")
        return region.name

    first, second = Region("first"), Region("second")
    asked = failover(first, second, strategy="priority", registry=registry)(call)
    first.well = False
    await asked()
    first.well = True
    clock.advance(30)
    await anyio.wait_all_tasks_blocked()

    assert await asked() == "first"


async def test_a_check_is_not_asked_again_while_a_trial_call_is_under_way(registry, clock):
    checks, hold = [], anyio.Event()

    class Region:
        def __init__(self, name: str) -> None:
            self.name, self.well = name, True

        async def check(self) -> None:
            checks.append(self.name)
            raise EndpointReplyError(self.name, 403)

    async def call(region: Region) -> str:
        if not region.well:
            raise OSError("down")
        if region.name == "first":
            await hold.wait()
        return region.name

    first, second = Region("first"), Region("second")
    asked = failover(first, second, strategy="priority", registry=registry)(call)
    first.well = False
    await asked()
    first.well = True
    clock.advance(30)
    await anyio.wait_all_tasks_blocked()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked)
        await anyio.wait_all_tasks_blocked()
        others = [await asked() for _ in range(5)]
        await anyio.wait_all_tasks_blocked()
        hold.set()

    assert others == ["second"] * 5
    assert checks == ["first"]
