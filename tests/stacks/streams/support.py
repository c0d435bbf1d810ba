"""Streams as SDKs return them: objects of their own, with attributes, entered, iterated and closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from resilient_ai import Registry


@dataclass
class SdkStream:
    """
    A stream like openai's: its connection is open until `close` is awaited.

    Args:
        items: What it gives; an exception is raised, a callable awaited.
        endpoint: Who gave it.
    """

    items: list[Any]
    endpoint: str = ""
    closed: int = 0
    response: object = field(default_factory=object)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if isinstance(item, Exception):
            raise item
        return await item() if callable(item) else item

    async def close(self) -> None:
        self.closed += 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


def returning(*streams: Any):
    """A coroutine function that returns one stream after the other; it lists those that it has returned."""

    async def ask(*args: Any, **kwargs: Any) -> Any:
        answer = streams[min(len(ask.returned), len(streams) - 1)]
        if isinstance(answer, Exception):
            ask.returned.append(answer)
            raise answer
        if isinstance(answer, list):
            answer = SdkStream(list(answer), endpoint=getattr(args[0], "name", "") if args else "")
        ask.returned.append(answer)
        return answer

    ask.returned = []
    return ask


async def read(stream: Any) -> list[Any]:
    return [item async for item in stream]


def at_rest(registry: Registry) -> bool:
    """Whether no policy believes that a call is under way."""
    return not any(each.stats().in_flight for each in (*registry.endpoints.values(), *registry.limits.values()))


# Chunks of the known kinds, as dictionaries.

ROLE = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
TEXT = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
USAGE = {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}}
