"""`ReplyStream`: an answer in pieces."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar

from resilient_ai._core.public import public
from resilient_ai._core.streams import ClosedByWith
from resilient_ai._usage.reply import Reply

F = TypeVar("F", bound=Callable[..., Any])


@public("providers")
class ReplyStream(ClosedByWith, AsyncIterator[str]):
    """
    An async iterator over pieces of text. `async with` closes the stream if it is left early.

    Attributes:
        reply: The whole answer, after the stream has ended well; None before that, or if it failed or was left early.
    """

    def __init__(self, pieces: AsyncGenerator[str | Reply, None]) -> None:
        self._pieces = pieces  # the last item is the reply
        self.reply: Reply | None = None

    def __aiter__(self) -> ReplyStream:
        return self

    async def __anext__(self) -> str:
        piece = await anext(self._pieces)
        if not isinstance(piece, Reply):
            return piece
        self.reply = piece
        return await anext(self._pieces)  # the pieces have ended, so this raises StopAsyncIteration

    async def aclose(self) -> None:
        """Leave the stream, and close its connection."""
        await self._pieces.aclose()


def hands_out_a_stream(method: F) -> F:
    """
    Mark a method whose result is a stream, so that decorators recognise it without a call.

    They search `__wrapped__` for an async generator function, as with decorators of other libraries.
    """

    async def pieces(*_args: object, **_kwargs: object) -> AsyncGenerator[str, None]:
        yield ""

    pieces.__dict__["__signature__"] = inspect.signature(method)
    method.__dict__["__wrapped__"] = pieces
    return method
