"""
A stream that has begun, and what the layers of its call hold until it ends.

A call that opens a stream goes through the same layers as any other. Its result is the stream, read up to its commit
point, after which no other provider can take over. Each layer that the result passes on its way to the caller adds
what it holds for the call, and is told once how the stream ended. So the items cost the layers nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol, Self

from .backend import shielded
from .tasks import current_loop, run_later

if TYPE_CHECKING:
    from .errors import RejectedResultError
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
        """
        Raise the error. Its reference here is cleared first: error -> traceback -> frame -> self -> error is a cycle.
        """
        error = self.error
        del self.error
        try:
            raise error
        finally:
            del error


async def pull(stream: AsyncIterator[Any]) -> Any | Literal[_End.END] | Broken:
    """The next item of a stream, `END`, or the error in a `Broken`."""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return END
    except Exception as error:  # noqa: BLE001 - the caller decides what it means
        return Broken(error)


class ClosedByWith:
    """A stream that `async with` closes."""

    __slots__ = ()

    async def aclose(self) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


class SelfClosing(AsyncIterator[Any]):
    """A stream of ours that can be closed like an async generator, and raises errors of closing."""

    async def aclose(self) -> None:
        """Close it."""

    def close_at_once(self) -> bool:
        """Close it without waiting; False if closing has to be awaited."""
        return False


class StreamLayer(Protocol):
    """What one layer holds for a stream. Exactly one of the three methods is called, once."""

    def ended(self) -> None:
        """The stream was read to its end."""

    def broke(self, error: Exception) -> None:
        """The stream failed after its commit point; the consumer gets the error."""

    def left(self) -> None:
        """The consumer left, was cancelled or dropped the stream, or the stream failed above this layer."""


def _loop_or_none() -> Any:
    try:
        return current_loop()
    except RuntimeError:  # a plain function has no loop
        return None


class OpenStream:
    """
    A stream that has begun.

    Args:
        source: The iterator over its items.
        begun: Items already read: those up to the commit point.
        exhausted: Whether there are no more items. Default False.
    """

    __slots__ = ("_closed", "_layers", "_looks", "_loop", "_only_limits", "_run", "begun", "exhausted", "source")

    def __init__(self, source: AsyncIterator[Any], begun: list[Any], *, exhausted: bool = False) -> None:
        self.source = source
        self.begun = begun
        self.exhausted = exhausted
        self._layers: list[StreamLayer] = []  # innermost first
        # Called with each further item, each with the position of its layer.
        self._looks: list[tuple[int, Callable[[Any], None]]] = []
        self._run: Handler | None = None
        self._only_limits = False
        self._closed = False
        self._loop = _loop_or_none()

    # -- for the layers

    def add(self, layer: StreamLayer, look: Callable[[Any], None] | None = None) -> None:
        """
        Let a layer hold something until the stream ends.

        Args:
            layer: Told how the stream ended.
            look: Called with each further item; its error makes the stream fail for this layer and those above.
        """
        if look is not None:
            self._looks.append((len(self._layers), look))
        self._layers.append(layer)

    def wait_within(self, run: Handler, *, limits: bool = False) -> None:
        """
        Let a layer run the wait for each further item.

        Args:
            run: Runs the wait; its result must be the item.
            limits: Whether it only limits the time, which is not needed for an item that is already there. Default
                False.
        """
        inner = self._run
        self._only_limits = limits and (inner is None or self._only_limits)
        self._run = run if inner is None else lambda fn, *_call: run(partial(inner, fn, None, (), {}), None, (), {})

    async def look_at_begun(self, look: Callable[[Any], None]) -> None:
        """Call a function with each item up to the commit point; if it raises, the stream is closed."""
        try:
            for item in self.begun:
                look(item)
        except BaseException:
            await self.aclose()
            raise

    # -- for its reader

    def look(self, item: Any) -> None:
        """Show an item to the layers that asked for it."""
        for place, look in self._looks:
            try:
                look(item)
            except BaseException:
                # For the layers below, the stream is fine.
                below, self._layers = self._layers[:place], self._layers[place:]
                for layer in below:
                    layer.left()
                raise

    def ended(self) -> None:
        self._tell(lambda layer: layer.ended())

    def broke(self, error: Exception) -> None:
        self._tell(lambda layer: layer.broke(error))

    def leave(self) -> None:
        """Tell the layers that the consumer left, if the stream has not ended."""
        self._tell(lambda layer: layer.left())

    @property
    def can_start(self) -> bool:
        """
        Whether the wait for an item may begin before its limit, because most items are there already.

        Not if the limit is a cancel scope: scopes that the stream enters meanwhile would be left in the wrong order.
        Then the stream has a task of its own.
        """
        return self._only_limits and inspect.isasyncgen(self.source)

    async def aclose(self) -> None:
        """Leave the stream, if it has not ended, and close it."""
        self.leave()
        if not self._closed:
            self._closed = True
            await close_source(self.source)

    def abandon(self) -> None:
        """Leave the stream in a task that can no longer wait."""
        self.leave()
        # Python itself closes an async generator that is dropped.
        if not self._closed and not inspect.isasyncgen(self.source) and not _closed_at_once(self.source):
            run_later(self._loop, partial(close_source, self.source))
        self._closed = True

    def _tell(self, how: Callable[[StreamLayer], None]) -> None:
        layers, self._layers = self._layers, []
        try:
            while layers:
                how(layers.pop(0))
        finally:  # Ctrl-C in a listener: the other layers give back what they hold
            for layer in layers:
                layer.left()

    def __del__(self) -> None:
        self.abandon()


def _closed_at_once(source: AsyncIterator[Any]) -> bool:
    return isinstance(source, SelfClosing) and source.close_at_once()


class _Started:
    """A wait for an item that has begun, which `await` continues. It is called like the function that begins one."""

    __slots__ = ("_step", "_waits")

    def __init__(self, step: Any, waits: Any) -> None:
        self._step = step
        self._waits = waits

    def __call__(self) -> _Started:
        return self

    def __await__(self) -> Generator[Any, Any, Any]:
        step, waits = self._step, self._waits
        while True:
            try:
                sent = yield waits
            except GeneratorExit:
                step.close()
                raise
            except BaseException as error:  # noqa: BLE001 - for the step, as in `yield from`
                resume = partial(step.throw, error)
            else:
                resume = partial(step.send, sent)
            try:
                waits = resume()
            except StopIteration as done:
                return done.value
            finally:
                del resume  # error -> traceback -> frame -> error is a reference cycle


OpensStream = Callable[..., Awaitable[Any]]


def items_of(open_stream: OpensStream) -> Callable[..., AsyncGenerator[Any, None]]:
    """An async generator function over the items of the stream that a call returns."""

    async def items(*call: Any) -> AsyncGenerator[Any, None]:
        stream = stream_of(await open_stream(*call))
        try:
            for item in stream.begun:
                if (yield item) is not None:
                    raise _cannot_be_told()
            if not stream.exhausted:
                next_item, run, looks = stream.source.__anext__, stream._run, stream._looks
                starts = stream.can_start
                while True:
                    try:
                        if run is None:
                            item = await next_item()
                        elif not starts:
                            item = await run(next_item, None, (), {})
                        else:
                            try:
                                waits = (step := next_item()).send(None)  # type: ignore[attr-defined]
                            except StopIteration as ready:
                                item = ready.value
                            else:
                                item = await run(_Started(step, waits), None, (), {})
                        if looks:
                            stream.look(item)
                    except StopAsyncIteration:
                        break
                    except Exception as error:  # noqa: BLE001 - raised below
                        broken = Broken(error)
                    except GeneratorExit:  # the task is being destroyed, and waiting is no longer possible in it
                        stream.abandon()
                        raise
                    else:
                        if (yield item) is not None:
                            raise _cannot_be_told()
                        continue
                    stream.broke(broken.error)
                    broken.throw()
            stream.ended()
        finally:
            await stream.aclose()

    return items


def _cannot_be_told() -> TypeError:
    return TypeError("a decorated async generator takes no values by asend(): another endpoint could not be told them")


def stream_of(result: Any) -> OpenStream:
    """The stream behind the result of a call that opens one."""
    return result if type(result) is OpenStream else result._self_stream


async def close_source(source: Any) -> None:
    """Close the source of a stream."""
    if inspect.isasyncgen(source) or isinstance(source, SelfClosing):
        # Not within a scope of ours: the source may leave scopes that it has entered outside of ours.
        try:
            await source.aclose()
        except BaseExceptionGroup as group:
            # A task group that the stream holds across a yield wraps the closing exit in an exception group.
            if group.split(GeneratorExit)[1] is not None:
                raise
    else:
        await dispose(source)


async def dispose(late: Any) -> None:
    """
    Close an answer that nobody will read, if it is something that can be closed: a response, a stream.

    Args:
        late: Anything. Its `aclose`, else its `close` is called, sync or async; an error of that is nobody's.
    """
    close = late._self_close if hasattr(type(late), "_self_close") else _close_of(late)  # a stream that is held here
    if close is None:
        return
    with shielded(), suppress(Exception):
        closing = close()
        if inspect.isawaitable(closing):
            await closing


async def dispose_rejected(errors: Iterable[RejectedResultError]) -> None:
    """Close results that were refused, each once, however many layers replace it."""
    for each in errors:
        each.__dict__["_closed"] = True
        await dispose(each.result)


def _close_of(late: Any) -> Callable[[], Any] | None:
    if inspect.isclass(late):
        return None
    for owner in (late, getattr(late, "response", None), getattr(late, "http_response", None)):
        for name in ("aclose", "close"):
            if callable(close := getattr(owner, name, None)):
                return close  # type: ignore[no-any-return]
    return None
