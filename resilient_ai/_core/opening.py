"""The innermost part of a call: call the function, and read a stream that it returns up to its commit point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from .backend import in_trio
from .call_facts import watching
from .callers_deadline import is_scoped
from .commit_point import MOST_HELD, Commits, has_content
from .deadline import let_renew, renew_waits
from .errors import mark_if_wrong_call
from .handlers import Handler
from .own_task import OwnTask
from .returned_stream import ReturnedStream
from .streams import END, Broken, OpenStream, close_source, pull


def gives_items(kind: type) -> bool:
    """
    Whether results of a type are streams.

    Mock objects have every special method, but do not count as streams: they stand for answers of any kind.
    """
    if not hasattr(kind, "__anext__") or not hasattr(kind, "__aiter__"):
        return False
    return not any(base.__module__ == "unittest.mock" for base in kind.__mro__)


def call_plainly(fn: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function and return its result unchanged, for callers that handle streams themselves."""
    try:
        # An empty dict would be copied, which costs a quarter of a bare await.
        return fn(*args, **kwargs) if kwargs else fn(*args)
    except TypeError as error:
        mark_if_wrong_call(error)
        raise


class Opening:
    """
    Calls the functions of a stack. Most stacks share one object.

    Args:
        commits: Whether an item of a stream is content. Default: decided by its fields.
        own_task: Whether each stream has to run in a task of its own; None: only if time limits are cancel scopes.
    """

    __slots__ = ("_commits", "_known", "_own_task")

    def __init__(self, commits: Commits | None = None, own_task: bool | None = False) -> None:
        self._commits = commits or has_content
        self._own_task = own_task
        self._known: type = type(None)  # the latest result type that is known not to be a stream

    async def function(
        self, fn: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function; a stream that it returns is opened."""
        if watching() is not None:
            return await for_watchers(self.unwatched)(fn, _instance, args, kwargs)
        try:  # the same as `call_plainly`
            awaitable = fn(*args, **kwargs) if kwargs else fn(*args)
        except TypeError as error:
            mark_if_wrong_call(error)
            raise
        result = await awaitable
        if type(result) is not self._known:
            if gives_items(type(result)):
                return await self.open(result, fn)
            self._known = type(result)
        return result

    async def unwatched(
        self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Do the same without telling watchers."""
        result = await call_plainly(fn, instance, args, kwargs)
        return await self.open(result, fn) if gives_items(type(result)) else result

    async def generator(
        self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The same for async generator functions."""
        if watching() is not None:
            return await for_watchers(self.unwatched_generator)(fn, instance, args, kwargs)
        return await self.unwatched_generator(fn, instance, args, kwargs)

    async def unwatched_generator(
        self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Do the same without telling watchers."""
        return await self.open(call_plainly(fn, instance, args, kwargs), fn)

    async def open(self, stream: Any, fn: Callable[..., Any]) -> ReturnedStream:
        """
        Read a stream up to its commit point.

        Args:
            stream: The stream that the function returned.
            fn: The function, as the layers know it.
        """
        let_renew(fn)
        own_task = (in_trio() if self._own_task is None else self._own_task) or is_scoped()
        source: AsyncIterator[Any] = OwnTask(stream) if own_task else stream
        begun: list[Any] = []
        try:
            exhausted = await self._read(source, begun)
        except GeneratorExit:  # the task is being destroyed, and waiting is no longer possible in it
            raise
        except BaseException:
            await close_source(source)
            raise
        return ReturnedStream(stream, OpenStream(source, begun, exhausted=exhausted))

    async def _read(self, source: AsyncIterator[Any], begun: list[Any]) -> bool:
        """Read up to the commit point; whether the stream ended before it."""
        while True:
            item = await pull(source)
            if type(item) is Broken:
                item.throw()
            if item is END:
                return True
            begun.append(item)
            if len(begun) > MOST_HELD or self._commits(item):
                return False
            renew_waits()


def is_innermost(inner: Any) -> bool:
    """Whether a handler is a stack's innermost part, so that no policy is below the layer that has it."""
    return getattr(inner, "__func__", None) is Opening.function


_for_watchers: Callable[[Handler], Handler] = lambda handler: handler  # noqa: E731 - set by who reads results for them


def for_watchers(handler: Handler) -> Handler:
    """The handler of a function while a watch() is active."""
    return _for_watchers(handler)


def tell_watchers_with(wrap: Callable[[Handler], Handler]) -> None:
    """Let watched functions run through the handler that `wrap` returns for their own."""
    global _for_watchers
    _for_watchers = wrap


@cache
def _shared(own_task: bool | None) -> Opening:
    return Opening(None, own_task)


def opening_for(commits: Commits | None, own_task: bool | None) -> Opening:
    """The `Opening` for these settings."""
    return Opening(commits, own_task) if commits is not None else _shared(own_task)
