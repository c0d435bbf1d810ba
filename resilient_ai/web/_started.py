"""`started`: begin to read a stream before a reply is sent."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Any, Generic, TypeVar, cast

from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public
from resilient_ai._core.streams import END, Broken, ClosedByWith, close_source, pull

T = TypeVar("T")


@public("web")
async def started(stream: AsyncIterable[T] | Awaitable[AsyncIterable[T]]) -> _Started[T]:
    """
    Begin to read a stream, up to its first item.

    A web framework sends its status before it reads a stream. With `started`, an error of the first item is raised
    while the application can still answer with another status:

        return StreamingResponse(await started(tell(prompt)))

    Args:
        stream: The result of a decorated function: an async generator, an SDK's stream, `endpoint.stream()`, or a
            coroutine that returns one.

    Returns:
        An async iterator of all items, including the first, with `aclose()`; also an async context manager that closes
        it.

    Raises:
        TypeError: It is not an async iterable.
        Exception: The error of the stream at its first item. The stream is closed then.
    """
    source = cast("Any", stream)
    if not hasattr(source, "__aiter__") and inspect.isawaitable(source):
        source = cast("Any", await source)
    if not hasattr(source, "__aiter__"):
        raise TypeError(
            f"started() needs a stream that is read with `async for`, got {kind_of(source)};"
            " pass what the decorated function returns"
        )
    items = aiter(source)
    try:
        first = await pull(items)
        if isinstance(first, Broken):
            first.throw()
    except GeneratorExit:  # the task is being destroyed, and waiting is no longer possible in it
        raise
    except BaseException:
        await _close(source, items)
        raise
    return _Started(source, items, first)


async def _close(source: Any, items: Any) -> None:
    await close_source(items)
    if items is not source:  # an SDK's stream may return a generator over its items
        await close_source(source)


class _Started(ClosedByWith, AsyncIterator[T], Generic[T]):
    """A stream with its first item. Not an async generator: if it was never read, it could not close its source."""

    def __init__(self, source: Any, items: AsyncIterator[T], first: Any) -> None:
        self._source = source
        self._items = items
        self._first = first
        self._waits = True  # whether the first item has not been read yet

    async def __anext__(self) -> T:
        if self._waits:
            self._waits = False
            first, self._first = self._first, None
            if first is END:
                raise StopAsyncIteration
            return first  # type: ignore[no-any-return]
        return await anext(self._items)

    async def aclose(self) -> None:
        """Close the stream."""
        self._waits, self._first = False, None
        await _close(self._source, self._items)
