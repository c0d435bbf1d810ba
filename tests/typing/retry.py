"""Checked by mypy and pyright, never run: a retry keeps the types of what it is put on, and its settings have types."""

from collections.abc import AsyncIterator, Callable
from typing import assert_type

import tenacity

from resilient_ai import (
    ErrorType,
    RetryBudget,
    RetryRule,
    Verdict,
    classified_retry,
    classify,
    register_classifier,
    register_rules,
)


@classified_retry(
    "ask",
    rules={ErrorType.RATE_LIMIT: RetryRule(3, 1.0, 20.0, jitter="equal"), ErrorType.TIMEOUT: None},
    max_attempts=4,
    max_elapsed=30.0,
    budget=RetryBudget(capacity=20),
    on=[ErrorType.RATE_LIMIT],
    retry_unsent_only=True,
    stop=tenacity.stop_after_delay(20) | tenacity.stop_after_attempt(3),
    wait=tenacity.wait_exponential_jitter(),
    retry=tenacity.retry_if_exception_type(OSError),
)
async def ask(prompt: str, *, temperature: float = 0.0) -> str:
    return prompt


@classified_retry
async def bare(prompt: str) -> int:
    return len(prompt)


@classified_retry(budget=None, reraise=True)
async def stream(prompt: str) -> AsyncIterator[str]:
    yield prompt


class Client:
    @classified_retry()
    async def ask(self, prompt: str) -> bytes:
        return prompt.encode()


async def use() -> None:
    assert_type(await ask("hi", temperature=0.5), str)
    assert_type(await bare("hi"), int)
    assert_type(await Client().ask("hi"), bytes)
    async for item in stream("hi"):
        assert_type(item, str)
    await ask(1)  # type: ignore[arg-type]


RetryRule(1, 0, 1, jitter="some")  # type: ignore[arg-type]
assert_type(classify(OSError()), Verdict)
assert_type(register_classifier(lambda _error: ErrorType.TIMEOUT), Callable[[], None])
assert_type(register_rules(codes={"gone": ErrorType.NOT_FOUND}, sdk="openai"), Callable[[], None])
