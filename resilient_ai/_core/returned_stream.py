"""The proxy of a stream that a coroutine returns to its caller, guarded by the layers."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import wrapt

from .streams import ClosedByWith, OpenStream, close_source, items_of

if TYPE_CHECKING:
    from types import TracebackType


class ReturnedStream(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """
    A stream that passes the layers on its way up, and that the caller gets.

    Args:
        stream: The object that the function returned.
        opened: What has been read of it, and what the layers hold for it.
    """

    def __init__(self, stream: Any, opened: OpenStream) -> None:
        super().__init__(stream)
        self._self_stream = opened
        self._self_items: AsyncGenerator[Any, None] = _items(opened)

    def __aiter__(self) -> ReturnedStream:
        return self

    def __anext__(self) -> Any:
        return self._self_items.__anext__()

    # Only the methods that the object has.

    @property
    def aclose(self) -> Any:
        _ = self.__wrapped__.aclose
        return self._self_close

    @property
    def close(self) -> Any:
        close = self.__wrapped__.close
        if inspect.iscoroutinefunction(close):
            return self._self_close

        def close_at_once() -> Any:
            self._self_stream.leave()
            return close()

        return close_at_once

    async def _self_close(self) -> None:
        # Needed too if reading has not begun: then the generator would close nothing.
        await self._self_items.aclose()
        await self._self_stream.aclose()

    async def __aenter__(self) -> Any:
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        try:
            return await self.__wrapped__.__aexit__(kind, error, traceback)
        finally:
            await self._self_close()


class PlainStream(ClosedByWith):
    """A stream of a fallback. Like the SDKs' streams, it can be iterated, entered and closed."""

    def __init__(self, items: AsyncGenerator[Any, None]) -> None:
        self._items = items

    def __aiter__(self) -> PlainStream:
        return self

    def __anext__(self) -> Any:
        return self._items.__anext__()

    async def aclose(self) -> None:
        """Close it."""
        await close_source(self._items)

    close = aclose


async def _given(stream: OpenStream) -> OpenStream:
    return stream


_items = items_of(_given)


def stream_of_items(items: AsyncGenerator[Any, None]) -> ReturnedStream:
    """A stream made from an async generator."""
    return ReturnedStream(PlainStream(items), OpenStream(items, []))
