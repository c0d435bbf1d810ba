"""Checked by mypy and pyright, never run: an adaptive limit keeps the types of what it is put on."""

from collections.abc import AsyncIterator
from typing import assert_type

from resilient_ai import LimitReachedError, adaptive_limit


@adaptive_limit("provider", initial=5, max_wait=2.0)
async def ask(prompt: str, *, temperature: float = 0.0) -> str:
    return prompt


@adaptive_limit
async def bare(prompt: str) -> int:
    return len(prompt)


@adaptive_limit()
async def stream(prompt: str) -> AsyncIterator[str]:
    yield prompt


class Client:
    @adaptive_limit(pace=False)
    async def ask(self, prompt: str) -> bytes:
        return prompt.encode()


async def use(error: LimitReachedError) -> None:
    assert_type(await ask("hi", temperature=0.5), str)
    assert_type(await bare("hi"), int)
    assert_type(await Client().ask("hi"), bytes)
    async for item in stream("hi"):
        assert_type(item, str)
    assert_type(error.retry_after, float | None)
    await ask(1)  # type: ignore[arg-type]
