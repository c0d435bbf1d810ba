"""Streams up to their first item, where another endpoint can still take over."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import anyio


@dataclass(slots=True)
class Opened:
    """A stream that has given its first item, or has ended without one."""

    stream: AsyncGenerator[Any, None]
    item: Any = None
    empty: bool = False

    async def close(self) -> None:
        await dispose(self.stream)


async def opened(stream: AsyncGenerator[Any, None]) -> Opened:
    """Wait for the first item; a stream that fails is closed."""
    try:
        return Opened(stream, await anext(stream))
    except StopAsyncIteration:
        return Opened(stream, empty=True)
    except BaseException:
        await stream.aclose()
        raise


async def dispose(late: Any) -> None:
    """Close an answer that nobody will read, if it is something that can be closed: a response, a stream."""
    close = getattr(late, "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await close()
