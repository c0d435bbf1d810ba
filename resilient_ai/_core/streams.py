"""Reading a stream: item by item, or up to its first item, where another provider can still take over."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import anyio

if TYPE_CHECKING:
    from .handlers import Handler


class _End(Enum):
    END = "the stream has ended"


END: Final = _End.END


class Broken:
    """The error that ended a stream. Raise it with `throw`, or drop it with its traceback."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def throw(self) -> NoReturn:
        """Raise the error. It is let go first: the frame that holds this object is about to join its traceback."""
        error = self.error
        del self.error
        try:
            raise error
        finally:
            del error


async def pull(stream: AsyncGenerator[Any, Any], run: Handler | None = None) -> Any | Literal[_End.END] | Broken:
    """
    The next item of a stream, `END`, or the error in a `Broken`.

    So that the caller can yield the item outside every `try`: what its consumer throws into it at the `yield` is not
    the provider's doing.

    Args:
        stream: Read by this caller alone.
        run: Runs the waiting for the item, within a time limit say.
    """
    try:
        return await (anext(stream) if run is None else run(stream.__anext__, None, (), {}))
    except StopAsyncIteration:
        return END
    except Exception as error:  # noqa: BLE001 - the caller decides what it means
        return Broken(error)


@dataclass(slots=True)
class Opened:
    """A stream that has given its first item, or has ended without one: then the item is `END`."""

    stream: AsyncGenerator[Any, None]
    item: Any

    async def close(self) -> None:
        await dispose(self.stream)


async def opened(stream: AsyncGenerator[Any, None]) -> Opened:
    """Wait for the first item; a stream that fails is closed."""
    try:
        item = await pull(stream)
        if type(item) is Broken:
            item.throw()
    except BaseException:
        await stream.aclose()
        raise
    return Opened(stream, item)


async def dispose(late: Any) -> None:
    """Close an answer that nobody will read, if it is something that can be closed: a response, a stream."""
    close = getattr(late, "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await close()
