"""Checked by mypy and pyright, never run: what a circuit breaker keeps of a function's type."""

from collections.abc import AsyncGenerator, Callable
from typing import assert_type

from resilient_ai import NEUTRAL, CircuitState, ErrorType, circuit_breaker
from resilient_ai.types import CircuitBreaker, CircuitStats


@circuit_breaker
async def bare(prompt: str, *, temperature: float = 1.0) -> str:
    return prompt


@circuit_breaker(
    "openai",
    failure_threshold=None,
    failure_rate_threshold=0.5,
    window_calls=100,
    ignore=(*NEUTRAL, KeyError, lambda error: False),
    key=lambda prompt: prompt,
    reject=lambda answer: ErrorType.INTERNAL_ERROR if answer == 0 else None,
)
async def named(prompt: str) -> int:
    return len(prompt)


@circuit_breaker("tokens")
async def tokens(prompt: str) -> AsyncGenerator[str, None]:
    yield prompt


class Client:
    @circuit_breaker("client")
    async def ask(self, prompt: str) -> bytes:
        return prompt.encode()


async def use(breaker: CircuitBreaker) -> None:
    assert_type(await bare("hi", temperature=0.5), str)
    assert_type(await named("hi"), int)
    assert_type(tokens("hi"), AsyncGenerator[str, None])
    assert_type(await Client().ask("hi"), bytes)
    assert_type(breaker.state, CircuitState)
    assert_type(breaker.stats(), CircuitStats)
    assert_type(breaker.stats().retry_after, float | None)
    assert_type(breaker.on_transition(print), Callable[[], None])

    await bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await named("hi", temperature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


circuit_breaker("openai", ignore="timeout")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
circuit_breaker("openai", reject=lambda answer: True)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType, reportCallIssue]
