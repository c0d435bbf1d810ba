"""What mypy and pyright make of `@resilient`: with endpoints, without, bare; functions, methods and streams."""

from collections.abc import AsyncGenerator
from typing import assert_type

from resilient_ai import Endpoint, LastAnswer, RetryBudget, resilient

us = Endpoint("us")
eu = Endpoint("eu")


@resilient(us, eu, patience=5, fallback=(LastAnswer(), "later"), failover={"idempotent": False}, adaptive_limit=False)
async def ask(endpoint: Endpoint, prompt: str, *, temperature: float = 1.0) -> str:
    return f"{endpoint.name} {prompt} {temperature}"


@resilient(us)
async def tokens(endpoint: Endpoint, prompt: str) -> AsyncGenerator[str, None]:
    yield f"{endpoint.name} {prompt}"


@resilient
async def bare(prompt: str) -> int:
    return len(prompt)


@resilient(patience=None, classified_retry={"budget": RetryBudget(capacity=5)}, circuit_breaker=False)
async def own(prompt: str) -> str:
    return prompt


@resilient(us, eu)
def plain(endpoint: Endpoint, prompt: str) -> str:
    return f"{endpoint.name} {prompt}"


class Bot:
    @resilient(us, eu)
    async def ask(self, endpoint: Endpoint, prompt: str) -> str:
        return f"{endpoint.name} {prompt}"


async def use(bot: Bot) -> None:
    assert_type(await ask("hello", temperature=0.5), str)
    assert_type(plain("hello"), str)
    assert_type(await bare("hello"), int)
    assert_type(await own("hello"), str)
    assert_type(await bot.ask("hello"), str)
    async for piece in tokens("hello"):
        assert_type(piece, str)
    await ask(us, "hello")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    await bare(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resilient(us, patience="15")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
