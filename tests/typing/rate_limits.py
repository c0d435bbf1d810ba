"""Checked by mypy and pyright, never run: a rate limit keeps the types of what it is put on, and needs a number."""

from collections.abc import AsyncIterator
from typing import assert_type

from resilient_ai import LimitReachedError, rate_limit, registry
from resilient_ai.types import RateLimit, RateLimitStats


@rate_limit("provider", requests_per_minute=500, tokens_per_minute=30_000, max_wait=2.0)
async def ask(prompt: str, *, temperature: float = 0.0) -> str:
    return prompt


@rate_limit(requests_per_minute=500)
async def stream(prompt: str) -> AsyncIterator[str]:
    yield prompt


class Client:
    @rate_limit(tokens_per_minute=30_000, cost=lambda self, prompt: len(prompt) / 4)
    async def ask(self, prompt: str) -> bytes:
        return prompt.encode()


async def use(error: LimitReachedError) -> None:
    assert_type(await ask("hi", temperature=0.5), str)
    assert_type(await Client().ask("hi"), bytes)
    async for item in stream("hi"):
        assert_type(item, str)
    assert_type(error.retry_after, float | None)
    assert_type(registry.rate_limits["provider"], RateLimit)
    assert_type(registry.rate_limits["provider"].stats(), RateLimitStats)
    await ask(1)  # type: ignore[arg-type]


rate_limit()  # type: ignore[call-overload]


@rate_limit(requests_per_minute=500)
def plain(prompt: str) -> str:
    return prompt


assert_type(plain("hi"), str)
plain(1)  # type: ignore[arg-type]
