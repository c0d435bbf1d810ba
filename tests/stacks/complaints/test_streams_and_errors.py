"""What users of routers, SDKs and breakers complain about most, each as a promise; docstrings name public threads."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CircuitState,
    Endpoint,
    ErrorType,
    StreamTruncatedError,
    circuit_breaker,
    classified_retry,
    classify,
    failover,
)
from resilient_ai.providers import ProviderEndpoint
from resilient_ai.testing import Fault
from resilient_ai.types import EndpointState
from tests.stacks.complaints.support import US, StatusError


@pytest.fixture
def tokens(openai, claude, registry):
    @failover(openai, claude, name="streams", strategy="priority", registry=registry)
    async def tokens(endpoint: ProviderEndpoint, prompt: str):
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    return tokens


@pytest.mark.parametrize("fault", [Fault.reset(), "overloaded", Fault.in_stream("openai_server_error", after_items=0)])
async def test_streams_fall_back_too(tokens, us, fault):
    """BerriAI/litellm#6957, #40404; vercel/ai#18667."""
    us.script(fault)

    assert [piece async for piece in tokens("a b")] == ["[eu]", " a", " b"]


async def test_what_the_consumer_has_seen_is_never_sent_again(tokens, us):
    """zirkelc/ai-retry#51: the beginning printed twice."""
    us.script(Fault.reset(after_items=2))
    got = []
    with pytest.raises(Exception):  # noqa: B017 - the SDK's own
        async for piece in tokens("a b c"):
            got.append(piece)  # noqa: PERF401 - the items before the error matter

    assert got == ["[us]", " a"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("anthropic_overloaded", ErrorType.MODEL_OVERLOADED),
        ("anthropic_rate_limit", ErrorType.RATE_LIMIT),
        ("anthropic_insufficient_quota", ErrorType.QUOTA_EXCEEDED),
    ],
)
async def test_an_error_inside_a_200_is_taken_for_what_it_is(claude, eu, reply, kind):
    """anthropics/anthropic-sdk-python#1918."""
    eu.script(Fault.in_stream(reply, after_items=0))
    with pytest.raises(Exception) as caught:
        await anext(claude.stream("hi"))

    assert classify(caught.value).error_type is kind


async def test_a_stream_that_is_cut_off_cleanly_is_no_success(tokens, us, registry):
    """Portkey-AI/gateway#1797; decolua/9router#3242."""
    us.script(Fault.cut(after_items=2))
    with pytest.raises(StreamTruncatedError):
        [piece async for piece in tokens("a b c")]

    assert registry.endpoints["us"].stats().failures == 1


async def test_an_abandoned_stream_leaks_no_connection(tokens, us):
    """openai/openai-python#763, #2539."""
    us.item_seconds = 0.02
    for _ in range(5):
        async with aclosing(tokens("a b c d e f")) as stream:
            await anext(stream)

    await us.until(lambda it: it.disconnects == 5 and it.connections == 0)


async def test_a_used_up_quota_is_asked_once_and_not_retried_as_a_rate_limit(openai, us, registry):
    """langchain-ai/langchainjs#1929; openai/openai-python#3507."""

    @classified_retry(registry=registry)
    @failover(openai, registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.outage("insufficient_quota")
    with pytest.raises(AIServiceError) as failed:
        await ask("hi")

    assert us.count() == 1
    assert failed.value.error_type is ErrorType.QUOTA_EXCEEDED


async def test_a_spend_limit_that_comes_as_a_400_moves_on_and_rests_long(claude, openai, eu, registry):
    """BerriAI/litellm#37599."""

    @failover(claude, openai, strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    eu.script("anthropic_spend_limit")

    assert await ask("hi") == "[us] hi"
    assert registry.endpoints["eu"].stats().resting_for >= 600


async def test_a_number_in_a_message_decides_nothing(scripted):
    """BerriAI/litellm#36705: "429" inside a token id."""
    call, asked, _ = scripted(us=StatusError(400, message="field 'rate_limit' must be a number near 84297"), eu="eu")
    with pytest.raises(StatusError):
        await call()

    assert asked == ["us"]


@pytest.mark.parametrize("code", ["invalid_request_error", "context_length_exceeded"])
async def test_callers_mistakes_open_no_circuit_and_rest_no_endpoint(registry, code):
    """sgl-project/sglang#25811: oversized prompts took a whole fleet down."""

    @failover(US, registry=registry)
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        raise StatusError(400, code)

    for _ in range(10):
        with pytest.raises(StatusError):
            await ask()

    assert registry.circuit_breakers["c[us]"].state is CircuitState.CLOSED
    assert registry.endpoints["us"].stats().state is EndpointState.UP


async def test_a_prompt_that_is_too_long_goes_to_a_larger_context_window(scripted):
    """BerriAI/litellm#10793."""
    small, large = Endpoint("small", context_window=8_000), Endpoint("large", context_window=200_000)
    call, asked, _ = scripted(endpoints=(small, large), small=StatusError(400, "context_length_exceeded"), large="ok")

    assert await call() == "ok"
    assert asked == ["small", "large"]


async def test_nobody_listening_on_the_port_falls_back(openai, claude, us, registry):
    """pydantic/pydantic-ai#3439; googleapis/python-genai#2337."""

    @failover(openai, claude, strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.close()

    assert await ask("hi") == "[eu] hi"


async def test_errors_are_raised_and_not_turned_into_answers(scripted):
    """langchain-ai/langchain#38893: a middleware that returned a message instead."""
    call, _, _ = scripted(us=OSError("down"), eu=OSError("down"))
    with pytest.raises(AllEndpointsFailedError):
        await call()
