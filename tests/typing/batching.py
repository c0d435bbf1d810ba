"""Checked by mypy and pyright, never run: a function of a list becomes a function of one item."""

from __future__ import annotations

from typing import assert_type

from resilient_ai import batched, circuit_breaker, classified_retry, each, registry
from resilient_ai.types import BatchStats

Vector = list[float]


@batched
async def embed(texts: list[str], *, model: str = "small") -> list[Vector]:
    return [[0.0] for _ in texts]


@batched(batch_size=100, deduplicate=True)
@classified_retry
@circuit_breaker
async def moderate(texts: list[str], model: str = "m") -> list[bool | Exception]:
    return [True for _ in texts]


class Client:
    @batched(batch_size=2)
    async def embed(self, texts: list[str], *, model: str = "small") -> list[Vector]:
        return [[0.0] for _ in texts]

    @batched
    async def length(self, texts: list[bytes]) -> list[int]:
        return [len(text) for text in texts]


@batched(max_queue_size=50, when_full="wait")
async def patient(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


async def check(client: Client) -> None:
    assert_type(await patient("hello"), int)
    batched(when_full="block")  # type: ignore[call-overload]
    assert_type(await embed("hello"), Vector)
    assert_type(await embed("hello", model="large"), Vector)
    assert_type(await moderate("hello", "m"), bool)
    assert_type(await client.embed("hello", model="large"), Vector)
    assert_type(await client.length(b"hello"), int)

    await embed(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await embed(["hello"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await embed("hello", size=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.embed(b"hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def one(text: str) -> int:
    return len(text)


@each(max_concurrency=3)
async def two(text: str, model: str = "m") -> int:
    return len(text)


async def check_each(client: Client) -> None:
    assert_type(await two(["a", "b"], model="m"), list[int | Exception])
    assert_type(await each(one, max_concurrency=2)(["a"]), list[int | Exception])
    assert_type(await each(client.embed)(["a"], model="m"), list[Vector | Exception])
    assert_type(await batched(batch_size=2)(each(one))("a"), int)
    await two("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


batched(one)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
stats: BatchStats = registry.batches["embed"].stats()
