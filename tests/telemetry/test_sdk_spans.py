"""The spans of an SDK's own instrumentation, OpenLLMetry's for openai, lie below the attempts that they belong to."""

from __future__ import annotations

import sys

import pytest
import wrapt

from resilient_ai import classified_retry, failover
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider
from tests.telemetry.support import OpenTelemetry

openai_spans = pytest.importorskip("opentelemetry.instrumentation.openai")
pytestmark = pytest.mark.filterwarnings("ignore:Support for class-based `config`")  # of pydantic, about that package


@pytest.fixture
def otel(registry):
    watching = OpenTelemetry(registry)
    sdk = openai_spans.OpenAIInstrumentor()
    sdk.instrument(tracer_provider=watching.tracers)
    yield watching
    sdk.uninstrument()
    unwrap_the_sdk()
    watching.off()


def unwrap_the_sdk():
    """`uninstrument()` looks in the wrong modules, and would leave the functions wrapped for all tests that follow."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("openai.resources")]
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    for each in classes:
        for name, function in list(vars(each).items()):
            if isinstance(function, wrapt.BaseObjectProxy):
                setattr(each, name, function.__wrapped__)


@pytest.fixture
async def endpoints(registry):
    with FakeProvider("us") as us, FakeProvider("eu") as eu:
        us.script("overloaded")
        yield [OpenAIEndpoint(each.name, model="small", base_url=each.base_url, api_key="none") for each in (us, eu)]
        await registry.aclose()


TREE = [
    "resilient summarize",
    "  attempt us model_overloaded",
    "    openai.chat InternalServerError",
    "  attempt eu",
    "    openai.chat",
]


async def test_spans_of_the_openai_sdk_are_below_the_attempts_that_made_them(registry, endpoints, otel):
    @classified_retry("summarize", registry=registry)
    @failover(*endpoints, strategy="priority", name="summarize", registry=registry)
    async def summarize(endpoint, text):
        return await endpoint.complete(text)

    assert await summarize("hello") == "[eu] hello"
    assert otel.tree() == TREE


async def test_spans_of_a_stream_of_the_openai_sdk_are_below_the_attempts_too(registry, endpoints, otel):
    @classified_retry("summarize", registry=registry)
    @failover(*endpoints, strategy="priority", name="summarize", registry=registry)
    async def summarize(endpoint, text):
        async for piece in endpoint.stream(text):
            yield piece

    assert "".join([piece async for piece in summarize("hello")]) == "[eu] hello"
    assert otel.tree() == TREE
