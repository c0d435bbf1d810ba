"""What mypy and pyright make of `@failover`: the endpoint is gone for callers, in functions, methods and streams."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import assert_type

from resilient_ai import Endpoint, circuit_breaker, classified_retry, degrade_to, failover, registry
from resilient_ai.providers import AnthropicEndpoint, HTTPEndpoint, OpenAIEndpoint, ProviderEndpoint

us = Endpoint("us")
eu = Endpoint("eu", region="eu-west")
openai = OpenAIEndpoint("openai", model="gpt-4o-mini")
claude = AnthropicEndpoint("claude", model="claude-haiku-4-5")
own = HTTPEndpoint("own", url="https://models.example/complete")


class Bare:
    """Not one of ours: anything with a name will do."""

    name = "bare"


@failover(us, eu)
async def ask(endpoint: Endpoint, prompt: str, *, temperature: float = 1.0) -> str:
    return f"{endpoint.name} {prompt} {temperature}"


@failover(us, eu, strategy="least_latency", hedge_after="p95")
async def tokens(endpoint: Endpoint, prompt: str) -> AsyncGenerator[str, None]:
    yield f"{endpoint.name} {prompt}"


@failover(us)
async def items(endpoint: Endpoint, count: int) -> AsyncIterator[int]:
    yield count


@failover(openai, claude, own)
async def mixed(endpoint: ProviderEndpoint, prompt: str) -> str:
    return await endpoint.complete(prompt)


@failover(Bare())
async def bare(endpoint: Bare, prompt: str) -> str:
    return f"{endpoint.name} {prompt}"


@degrade_to("later")
@classified_retry
@failover(us, eu)
@circuit_breaker(failure_threshold=3)
async def stacked(endpoint: Endpoint, prompt: str) -> str:
    return f"{endpoint.name} {prompt}"


@failover(us, eu)
async def untyped(endpoint, prompt: str) -> str:  # type: ignore[no-untyped-def]
    return f"{endpoint} {prompt}"


class Client:
    @failover(us, eu)
    async def ask(self, endpoint: Endpoint, prompt: str) -> str:
        return f"{endpoint.name} {prompt}"

    @failover(us, eu)
    async def tokens(self, endpoint: Endpoint, prompt: str) -> AsyncGenerator[str, None]:
        yield f"{endpoint.name} {prompt}"


async def main() -> None:
    assert_type(await ask("hi", temperature=0.5), str)
    assert_type(await mixed("hi"), str)
    assert_type(await bare("hi"), str)
    assert_type(await stacked("hi"), str)
    assert_type(await untyped("hi"), str)
    assert_type(await Client().ask("hi"), str)
    async for token in tokens("hi"):
        assert_type(token, str)
    async for item in items(3):
        assert_type(item, int)
    async for token in Client().tokens("hi"):
        assert_type(token, str)

    await ask(us, "hi")  # type: ignore[arg-type, call-arg]
    await ask(1)  # type: ignore[arg-type]
    await Client().ask()  # type: ignore[call-arg]


failover("us")  # type: ignore[type-var]
failover(us, strategy="fastest")  # type: ignore[arg-type]

registry.endpoints["us"].mark_down()
