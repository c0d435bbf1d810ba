"""Types of `spend_limit`, `registry.usage` and prices: checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator
from typing import assert_type

from resilient_ai import degrade_to, registry, spend_limit, watch
from resilient_ai.types import CallSiteUsage, ModelUsage, SpendLimit, SpendStats
from resilient_ai.usage import Usage, genai_prices, report_usage


@degrade_to("later")
@spend_limit(usd_per_hour=5)
async def ask(prompt: str) -> str:
    report_usage(Usage(input_tokens=3), "gpt")
    report_usage({"input_tokens": 3})  # type: ignore[arg-type]
    return prompt


@spend_limit("pieces", tokens_per_hour=1_000_000, warn_at=0.9)
async def pieces(prompt: str) -> AsyncGenerator[str, None]:
    yield prompt


def free(model: str, usage: Usage) -> float | None:
    return 0.0 if usage.output_tokens else None


def wrong(model: str) -> float:
    return 0.0


async def use() -> None:
    assert_type(await ask("hi"), str)
    await ask(1)  # type: ignore[arg-type]
    async for piece in pieces("hi"):
        assert_type(piece, str)
    assert_type(registry.spend_limits["purse"], SpendLimit)
    assert_type(registry.spend_limits["purse"].stats(), SpendStats)
    assert_type(registry.usage["ask"], CallSiteUsage)
    assert_type(registry.usage["ask"].cost, float | None)
    assert_type(registry.usage["ask"].rows, tuple[ModelUsage, ...])
    registry.price = genai_prices()
    registry.price = free
    registry.price = None
    registry.price = wrong  # type: ignore[assignment]
    with watch() as seen:
        assert_type(seen.usage, Usage | None)
