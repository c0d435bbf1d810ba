"""Checked by mypy and pyright, never run: `degrade_to` keeps types, rungs and rules have theirs."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, assert_type

from resilient_ai import (
    NO_ANSWER,
    ErrorType,
    FailedCall,
    LastAnswer,
    classified_retry,
    degrade_to,
    first_sentences,
    key_sentences,
    registry,
    sentiment,
    static_texts,
    watch,
)
from resilient_ai.types import DegradeStats, Recalled, Seen, Sentiment


async def small_model(call: FailedCall) -> Any:
    return Recalled("text", age=3.0) if call.arguments else NO_ANSWER


@degrade_to(LastAnswer(max_age=60), small_model, key_sentences(2), static_texts({"a": "b"}), "sorry")
@classified_retry
async def ask(prompt: str, *, temperature: float = 1.0) -> str:
    return prompt


@degrade_to("sorry", on=(OSError, ErrorType.TIMEOUT, lambda error: True), mark="prefix", rung_timeout=None)
async def tokens(prompt: str) -> AsyncGenerator[str, None]:
    yield prompt


@degrade_to("sorry", mark=lambda recalled: recalled.answer)
async def iterated(prompt: str) -> AsyncIterator[int]:
    yield 1


class Bot:
    @degrade_to("sorry", name="bot")
    async def ask(self, prompt: str) -> str:
        return prompt


async def main() -> None:
    assert_type(await ask("hi", temperature=0.5), str)
    assert_type(await Bot().ask("hi"), str)
    async for token in tokens("hi"):
        assert_type(token, str)
    async for number in iterated("hi"):
        assert_type(number, int)
    await ask(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with watch() as seen:
        assert_type(seen, Seen)
        assert_type(seen.source, str | None)
    assert_type(first_sentences("One. Two.", 1), str)
    assert_type(key_sentences("One. Two."), str)
    assert_type(sentiment("good"), Sentiment)
    assert_type(sentiment("good").words, tuple[str, ...])
    stats: DegradeStats = registry.degradations["bot"].stats()
    assert_type(stats.by_rung, dict[str, int])


degrade_to("sorry", mark="suffix")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
degrade_to("sorry", on="timeout")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
