"""Endpoints tell of the events that they do not yield, so that a stream that thinks is not cut as silent."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import Registry, circuit_breaker, failover
from resilient_ai.providers import ToolCall
from resilient_ai.testing import FakeAnswer, FakeProvider
from tests.providers.support import VENDORS, make

STEP = 0.05


@pytest.fixture
def provider():
    with FakeProvider("moon", item_seconds=STEP) as provider:
        yield provider


@pytest.fixture(params=VENDORS)
async def endpoint(request, provider):
    async with make(request.param, provider) as endpoint:
        await endpoint.complete("hi")  # its SDK is imported
        yield endpoint


THINKS = FakeAnswer("forty two", reasoning="let me think about that for a while " * 2)
CALLS = FakeAnswer(tool_calls=[ToolCall("", "f", {"text": "word " * 12})])


@pytest.mark.parametrize("answer", [THINKS, CALLS], ids=["reasoning", "arguments"])
async def test_a_stream_that_thinks_or_writes_arguments_is_not_cut(endpoint, provider, answer):
    circuit = circuit_breaker(timeout_seconds=8 * STEP, idle_timeout_seconds=8 * STEP, registry=Registry(listeners=()))
    provider.script(answer)
    started = anyio.current_time()
    pieces = [piece async for piece in circuit(endpoint.stream)("hi")]

    assert "".join(pieces) == answer.text
    if endpoint.provider != "google" or answer is THINKS:  # Google sends a call as one event
        assert anyio.current_time() - started > 8 * STEP


async def test_a_stream_of_an_endpoint_is_known_for_one_by_every_decorator(endpoint, provider):
    registry = Registry(listeners=())

    @failover(endpoint, registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(here, prompt):
        async for piece in here.stream(prompt):
            yield piece

    method = circuit_breaker(registry=registry)(endpoint.stream)

    assert "".join([piece async for piece in ask("where are you")]) == "[moon] where are you"
    assert "".join([piece async for piece in method("where are you")]) == "[moon] where are you"
    assert registry.circuit_breakers["ProviderEndpoint.stream"].stats().total_calls == 1
