"""Decorated methods fit Protocols and override abstract methods, in mypy and in pyright."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol, assert_type

from resilient_ai import (
    Endpoint,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    each,
    failover,
)


class Asks(Protocol):
    async def ask(self, prompt: str, *, words: int = 20) -> str: ...


class Streams(Protocol):
    def tokens(self, prompt: str) -> AsyncIterator[str]: ...


class Embeds(Protocol):
    async def embed(self, text: str, /) -> list[float]: ...


class Base(ABC):
    @abstractmethod
    async def ask(self, prompt: str, *, words: int = 20) -> str: ...

    @abstractmethod
    def tokens(self, prompt: str) -> AsyncGenerator[str, None]: ...

    @classmethod
    @abstractmethod
    async def of_class(cls, prompt: str) -> str: ...

    @staticmethod
    @abstractmethod
    async def static(prompt: str) -> str: ...

    @abstractmethod
    async def embed(self, text: str, /) -> list[float]: ...


us = Endpoint("us")


class Service(Base):
    @degrade_to("later")
    @classified_retry
    @failover(us)
    @adaptive_limit
    @circuit_breaker(failure_threshold=3)
    async def ask(self, endpoint: Endpoint, prompt: str, *, words: int = 20) -> str:
        return f"{endpoint.name} {prompt} {words}"

    @classified_retry(max_attempts=2)
    @circuit_breaker
    async def tokens(self, prompt: str) -> AsyncGenerator[str, None]:
        yield prompt

    @classmethod
    @classified_retry
    @circuit_breaker
    async def of_class(cls, prompt: str) -> str:
        return prompt

    @staticmethod
    @adaptive_limit(initial=3)
    @circuit_breaker
    async def static(prompt: str) -> str:
        return prompt

    @batched(batch_size=3)
    async def embed(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]


class Plain(Base):
    async def ask(self, prompt: str, *, words: int = 20) -> str:
        return prompt

    async def tokens(self, prompt: str) -> AsyncGenerator[str, None]:
        yield prompt

    @classmethod
    async def of_class(cls, prompt: str) -> str:
        return prompt

    @staticmethod
    async def static(prompt: str) -> str:
        return prompt

    async def embed(self, text: str, /) -> list[float]:
        return [1.0]


class Guarded(Plain):
    """What is decorated overrides what is not."""

    @classified_retry
    async def ask(self, prompt: str, *, words: int = 20) -> str:
        return await super().ask(prompt, words=words)

    @circuit_breaker("guarded")
    async def tokens(self, prompt: str) -> AsyncGenerator[str, None]:
        async for each_one in super().tokens(prompt):
            yield each_one


class Bare(Guarded):
    """What is not decorated overrides what is."""

    async def ask(self, prompt: str, *, words: int = 20) -> str:
        return prompt

    async def tokens(self, prompt: str) -> AsyncGenerator[str, None]:
        yield prompt


def takes(asks: Asks, streams: Streams, embeds: Embeds) -> Base:
    return Service()


@classified_retry
async def plain(prompt: str) -> str:
    return prompt


@each(max_concurrency=3)
async def embed_one(text: str) -> float:
    return 1.0


handler: Callable[[str], Awaitable[str]] = plain


async def uses() -> None:
    service, guarded = Service(), Guarded()
    takes(service, service, service)
    takes(guarded, guarded, guarded)
    assert_type(await service.ask("hello", words=3), str)
    assert_type(await Service.of_class("hello"), str)
    assert_type(await Service.static("hello"), str)
    assert_type(await service.embed("hello"), list[float])
    assert_type(await embed_one(["hello"]), list[float | Exception])
    await service.ask(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
