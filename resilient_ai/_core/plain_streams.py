"""
Streams of plain functions, below the same layers as async ones.

A plain generator, or an iterator that a plain function returns, is lifted to an async iterator that never suspends. The
thread that asks for an item reads it in one step.
"""

from __future__ import annotations

import io
from contextlib import suppress
from inspect import isgenerator
from typing import TYPE_CHECKING, Any, Self

import wrapt

from .returned_stream import ReturnedStream
from .streams import SelfClosing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from types import TracebackType


def gives_plain_items(kind: type) -> bool:
    """
    Whether results of a type are streams.

    Not mock objects, which have every special method, and not files, or responses like files, which are not read by
    lines.
    """
    if not hasattr(kind, "__next__") or not hasattr(kind, "__iter__") or issubclass(kind, io.IOBase):
        return False
    return not any(base.__module__ == "unittest.mock" for base in kind.__mro__)


class LiftedStream(SelfClosing):
    """
    A plain iterator as an async one for the layers.

    Attributes:
        source: The iterator.
    """

    __slots__ = ("_next", "source")

    def __init__(self, source: Any) -> None:
        self.source = source
        self._next: Callable[[], Any] = iter(source).__next__

    async def __anext__(self) -> Any:
        try:
            return self._next()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.close_at_once()

    def close_at_once(self) -> bool:
        close = getattr(self.source, "close", None)
        if isgenerator(self.source):
            self.source.close()
        elif callable(close):
            with suppress(Exception):
                close()
        return True


def lifted_generator(fn: Callable[..., Any]) -> Callable[..., LiftedStream]:
    """A plain generator function as an async one for the layers."""

    def call(*args: Any, **kwargs: Any) -> LiftedStream:
        return LiftedStream(fn(*args, **kwargs) if kwargs else fn(*args))

    call._plain_function = fn  # type: ignore[attr-defined]
    return call


def one_step(step: Coroutine[Any, Any, Any]) -> Any:
    """The item of one step of a lifted stream; raises `StopAsyncIteration` at its end."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    step.close()
    raise RuntimeError("an item of a plain function's stream waits for an event loop")


def driven_generator(call: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., Generator[Any, None, None]]:
    """A plain generator function over an async one whose steps never suspend."""

    def items(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        source = call(*args, **kwargs)
        step = source.__anext__
        try:
            while True:
                try:
                    item = one_step(step())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            one_step(source.aclose())

    return items


def plain_stream(returned: ReturnedStream) -> Any:
    """The stream for the caller of a plain function: the one that it returned, or that of a fallback."""
    lifted = returned.__wrapped__
    if type(lifted) is LiftedStream:
        return PlainReturnedStream(lifted.source, returned)
    return _FallbackStream(returned)


class _Items:
    """Reads and closes the stream of a call."""

    _self_returned: ReturnedStream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return one_step(self._self_returned.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def _self_close(self) -> None:
        one_step(self._self_returned._self_close())


class PlainReturnedStream(_Items, wrapt.ObjectProxy):  # type: ignore[type-arg]
    """
    The stream that the caller of a plain function gets: a proxy of the object, guarded by the layers.

    Args:
        stream: The object that the function returned.
        returned: The same stream for the layers.
    """

    def __init__(self, stream: Any, returned: ReturnedStream) -> None:
        wrapt.ObjectProxy.__init__(self, stream)
        self._self_returned = returned

    # Only the methods that the object has.

    @property
    def close(self) -> Any:
        _ = self.__wrapped__.close
        return self._self_close

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        return self if entered is self.__wrapped__ else entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        try:
            return self.__wrapped__.__exit__(kind, error, traceback)
        finally:
            self._self_close()


class _FallbackStream(_Items):
    """A stream of a fallback. Like the SDKs' streams, it can be iterated, entered and closed."""

    def __init__(self, returned: ReturnedStream) -> None:
        self._self_returned = returned

    def close(self) -> None:
        """Close it."""
        self._self_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._self_close()
