"""
Streams of plain functions, below the same layers as async ones.

What a plain function yields, or the iterator that it returns, is lifted to an async iterator that never suspends. Each
item is read in one step by the thread that asks for it.
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

    Mocks have every special method. A file, or a response that is read like one, is read in other ways than by lines.
    """
    if not hasattr(kind, "__next__") or not hasattr(kind, "__iter__") or issubclass(kind, io.IOBase):
        return False
    return not any(base.__module__ == "unittest.mock" for base in kind.__mro__)


class LiftedStream(SelfClosing):
    """
    A plain iterator as the layers read it.

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
    """A generator function as the layers call it."""

    def call(*args: Any, **kwargs: Any) -> LiftedStream:
        return LiftedStream(fn(*args, **kwargs) if kwargs else fn(*args))

    call._plain_function = fn  # type: ignore[attr-defined]
    return call


def one_step(step: Coroutine[Any, Any, Any]) -> Any:
    """What a step of a lifted stream gives; `StopAsyncIteration` at its end."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    step.close()
    raise RuntimeError("an item of a plain function's stream waits for an event loop")


def driven_generator(call: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., Generator[Any, None, None]]:
    """A plain generator function over what an async one gives, whose steps never suspend."""

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
    """A stream for the caller of the plain function that has returned it, or of a fallback in its place."""
    lifted = returned.__wrapped__
    if type(lifted) is LiftedStream:
        return PlainReturnedStream(lifted.source, returned)
    return _FallbackStream(returned)


class _Items:
    """Reads and closes what a call has returned."""

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
    A stream as the caller of a plain function gets it: the same object in every respect, but guarded.

    Args:
        stream: The object that was returned.
        returned: How the layers see it.
    """

    def __init__(self, stream: Any, returned: ReturnedStream) -> None:
        wrapt.ObjectProxy.__init__(self, stream)
        self._self_returned = returned

    # As the object has them, and under no other name.

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
    """A stream of a fallback, which has what the SDKs' streams have: it can be iterated, entered and closed."""

    def __init__(self, returned: ReturnedStream) -> None:
        self._self_returned = returned

    def close(self) -> None:
        """Leave it."""
        self._self_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._self_close()
