"""Checked by mypy and pyright, never run: a decorated `def` keeps its type, as a function and as a method."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar, assert_type

from resilient_ai import Endpoint, adaptive_limit, batched, circuit_breaker, classified_retry, degrade_to, failover
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, Reply, SyncEndpoint, SyncReplyStream

T = TypeVar("T")


@classified_retry
@circuit_breaker
def ask(prompt: str, *, temperature: float = 1.0) -> str:
    return prompt


@classified_retry("named", max_attempts=3)
@circuit_breaker("named", failure_threshold=3)
def length(prompt: str, **options: Any) -> int:
    return len(prompt)


@circuit_breaker
def first(items: list[T]) -> T:
    return items[0]


class Client:
    @classified_retry
    @circuit_breaker("client")
    def ask(self, prompt: str) -> bytes:
        return prompt.encode()

    @classmethod
    @circuit_breaker
    def make(cls, prompt: str) -> Client:
        return cls()

    @staticmethod
    @classified_retry("static")
    def parse(prompt: str) -> float:
        return float(prompt)


us, eu = Endpoint("us"), Endpoint("eu")


@degrade_to("later")
@classified_retry
@failover(us, eu)
@circuit_breaker
def stacked(endpoint: Endpoint, prompt: str, *, temperature: float = 1.0) -> str:
    return f"{endpoint.name} {prompt} {temperature}"


@failover(us, eu)
def untyped(endpoint, prompt: str) -> str:  # type: ignore[no-untyped-def]
    return f"{endpoint} {prompt}"


class Desk:
    @degrade_to(b"later")
    @failover(us, eu)
    def ask(self, endpoint: Endpoint, prompt: str) -> bytes:
        return f"{endpoint.name} {prompt}".encode()


openai = OpenAIEndpoint("openai", model="m")
claude = AnthropicEndpoint("claude", model="m")


@degrade_to("later")
@failover(openai, claude)
@circuit_breaker
def provided(endpoint: SyncEndpoint, prompt: str) -> Reply:
    return endpoint.complete(prompt)


@failover(openai, claude)
def pieces(endpoint: SyncEndpoint, prompt: str) -> Iterator[str]:
    with endpoint.stream(prompt) as stream:
        assert_type(stream, SyncReplyStream)
        assert_type(stream.reply, Reply | None)
        yield from stream


class Provided:
    @classified_retry
    @failover(openai, claude)
    def ask(self, endpoint: SyncEndpoint, prompt: str) -> list[list[float]]:
        return endpoint.embed([prompt])


class Asks(Protocol):
    def ask(self, prompt: str) -> bytes: ...


class Loud(Client):
    @circuit_breaker
    def ask(self, prompt: str) -> bytes:
        return prompt.upper().encode()


def use(client: Client, source: Callable[[str], Iterator[str]]) -> None:
    assert_type(ask("hi", temperature=0.5), str)
    assert_type(length("hi", top=1), int)
    assert_type(first(["hi"]), str)
    assert_type(client.ask("hi"), bytes)
    assert_type(Client.ask(client, "hi"), bytes)
    assert_type(Client.make("hi"), Client)
    assert_type(client.parse("1"), float)
    assert_type(circuit_breaker(source)("hi"), Iterator[str])
    assert_type(circuit_breaker(partial(ask, temperature=0.1))("hi"), str)
    assert_type(stacked("hi", temperature=0.5), str)
    assert_type(untyped("hi"), str)
    assert_type(Desk().ask("hi"), bytes)
    assert_type(provided("hi"), Reply)
    assert_type(pieces("hi"), Iterator[str])
    assert_type(Provided().ask("hi"), list[list[float]])
    assert_type(openai.sync, SyncEndpoint)
    asks: Asks = client
    asks = Loud()
    assert_type(asks.ask("hi"), bytes)

    ask(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    length()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.ask(prompt=b"hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    stacked(us, "hi")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Client.parse(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def both(create: Callable[[str], Coroutine[Any, Any, str]]) -> None:
    assert_type(await circuit_breaker(create)("hi"), str)
    assert_type(await classified_retry("named")(create)("hi"), str)


assert_type(adaptive_limit("provider")(length)("hi"), int)
batched(length)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
