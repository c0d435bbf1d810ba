"""Types of `SimilarAnswers` and of what users put in: checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

from resilient_ai import degrade_to
from resilient_ai.similar import Embedder, SimilarAnswers, SimilarStats, StoreProtocol, TrigramEmbedder, look_alike

memory = SimilarAnswers(embedder="minilm", threshold=0.9, guard="strict", scope="acme", max_age=60)


async def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0] for _ in texts]


def refuse(asked: str, remembered: str) -> str | None:
    return None if asked == remembered else "other"


SimilarAnswers(embedder=embed, guard=refuse, text="question", scope=lambda call: call.arguments["tenant"])
SimilarAnswers(guard="none")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

own: Embedder = TrigramEmbedder()
SimilarAnswers(embedder=own)


@degrade_to(memory, "later")
async def ask(question: str) -> str:
    return question


async def use(store: StoreProtocol) -> None:
    SimilarAnswers("answers.db")  # here, where nobody runs it: it would make the file
    assert_type(await ask("hello"), str)
    assert_type(memory.stats(), SimilarStats)
    assert_type(memory.forget("acme"), int)
    assert_type(look_alike("a", "b"), str | None)
    SimilarAnswers(store=store)
