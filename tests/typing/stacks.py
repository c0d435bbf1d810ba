"""What mypy and pyright make of a stack of all decorators, of the endpoints and of the parts for tests."""

from collections.abc import AsyncGenerator
from typing import assert_type

from resilient_ai import (
    ErrorType,
    Registry,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, ProviderEndpoint, Reply, endpoints_from
from resilient_ai.testing import FakeProvider, Fault, Received, VirtualClock, chaos, isolated_registry

us = OpenAIEndpoint("us", model="gpt-4o-mini")
claude = AnthropicEndpoint("claude", model="claude-haiku-4-5")


@degrade_to("later")
@batched(batch_size=4)
@classified_retry
@failover(us, claude)
@circuit_breaker
@adaptive_limit
@chaos(0.1, errors=[ErrorType.RATE_LIMIT, TimeoutError, lambda: OSError()])
async def summarize(endpoint: ProviderEndpoint, texts: list[str], *, words: int = 20) -> list[str]:
    return [await endpoint.complete(text, max_tokens=words) for text in texts]


class Client:
    @degrade_to("later")
    @classified_retry(max_attempts=2)
    @failover(us, claude)
    @circuit_breaker(failure_threshold=3)
    @adaptive_limit(initial=5)
    async def ask(self, endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    @classified_retry
    @failover(us, claude)
    @circuit_breaker
    async def tokens(self, endpoint: ProviderEndpoint, prompt: str) -> AsyncGenerator[str, None]:
        async for piece in endpoint.stream(prompt):
            yield piece


async def uses() -> None:
    assert_type(await summarize("text", words=5), str)
    assert_type(await Client().ask("hello"), str)
    async for piece in Client().tokens("hello"):
        assert_type(piece, str)

    await summarize(["text"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await summarize("text", words="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Client().ask(us, "hello")  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportCallIssue]
    await us.complete(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert_type(await us.complete([{"role": "user", "content": "hello"}]), Reply)
    assert_type(endpoints_from([{"type": "openai", "name": "us", "model": "m"}]), list[ProviderEndpoint])
    async with us as same:
        assert_type(same, OpenAIEndpoint)


async def rehearses() -> None:
    async with FakeProvider("us") as provider:
        provider.script("overloaded", 503, Fault.reset(), "ok")
        with provider.outage(Fault.stall(), seconds=5):
            pass
        assert_type(provider.requests, tuple[Received, ...])
        await provider.until(lambda it: it.disconnects == 1)
        provider.script(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with isolated_registry(clock=VirtualClock()) as registry:
        assert_type(registry, Registry)
