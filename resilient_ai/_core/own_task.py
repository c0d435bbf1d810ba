"""
A stream that runs in a task of its own, from its first item to its last.

A generator may hold a cancel scope, a task group or a context variable across its yields. These belong to the task that
entered them, and must be left in order. If the first item is awaited in one task and the others in another (a hedged
call), or every item within a scope of its own (a time limit by cancel scopes), the generator gets a task of its own,
and its reader waits for the items from that task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import anyio

from .deadline import seconds_left
from .readers import Reader, reading_for
from .streams import END, Broken, SelfClosing, close_source, pull
from .tasks import current_loop, is_asyncio, promise_class, spawn

if TYPE_CHECKING:
    from .tasks import Promise

_LEFT_OPEN: Final = (
    "a stream was cancelled from inside while it waited to be read: a time limit, or another cancel scope that it holds"
    " across a yield, has ended, but a generator around the stream does not pass that on to it; hold the scope in the"
    " outermost generator, or not across a yield"
)


class OwnTask(SelfClosing):
    """
    Reads a stream in a task of its own, item by item, never ahead of the reader.

    Args:
        source: The stream.
    """

    __slots__ = ("_pump", "_source")

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._pump: _Pump | None = None

    async def __anext__(self) -> Any:
        if self._pump is None:
            self._pump = _Pump(self._source)
        outcome = await self._pump.next_item()
        if outcome is END:
            raise StopAsyncIteration
        if type(outcome) is Broken:
            outcome.throw()
        if type(outcome) is _Exit:
            raise outcome.error
        return outcome

    async def aclose(self) -> None:
        """Close the stream, in its task."""
        if self._pump is None:
            await close_source(self._source)
        else:
            await self._pump.stop()


class _Exit:
    """An exit that is not an error of the stream, such as Ctrl-C."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Pump:
    """The task. It does not refer to its reader, so that a reader can be dropped."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._loop = current_loop()
        self._scope = None if is_asyncio(self._loop) else anyio.CancelScope()  # around the whole task
        self._served = self._cancelled = self._finished = self._over = False
        self._closing = False
        self._waiting_for_end: list[Promise] = []
        self._wake_up: Promise | None = None  # for the task; only while it waits for a request
        self._answer: Promise | None = None  # of the item that the reader asks for
        self._early: deque[Any] = deque()  # outcomes that nobody has asked for yet
        self._reader = Reader.here(seconds_left())
        self._problem: BaseException | None = None  # error from closing
        _pumps.add(self)
        self._task: object = spawn(self._loop, self._run, copy_context(), self._note_the_end)

    def _promise(self) -> Promise:
        return promise_class(self._loop)(loop=self._loop)

    async def next_item(self) -> Any:
        """An item, `END`, a `Broken` or an `_Exit`. If the reader is cancelled, the stream ends."""
        if self._over:
            return self._early.popleft() if self._early else END
        answer = self._answer = self._promise()
        self._reader = Reader.here(seconds_left())
        self._wake()
        try:
            return await answer
        except GeneratorExit:  # the loop has ended
            raise
        except BaseException:
            self._cancel()
            await self._end()
            raise

    async def stop(self) -> None:
        """Close the stream; cancel it if it is working on an item."""
        if not self._over and self._wake_up is None:
            self._cancel()
        elif not self._over:
            self._closing = True
            self._wake()
        await self._end()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True):
            while not self._over:
                ended = self._promise()
                self._waiting_for_end.append(ended)
                await ended
            if not self._served:  # cancelled before its first step
                self._served = True
                await close_source(self._source)

    def _wake(self) -> None:
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._scope is None:
            self._task.cancel()  # type: ignore[attr-defined]
        else:
            self._scope.cancel()
            # A shielded scope that the stream holds across its yields would keep the cancellation from the task.
            self._closing = True
            self._wake()

    async def _run(self) -> None:
        self._served = True
        if self._scope is None:
            await self._serve()
            return
        # A scope that the stream holds and has not left may be cancelled; that would end all other tasks of trio too.
        with suppress(anyio.get_cancelled_exc_class()), self._scope:
            await self._serve()

    async def _serve(self) -> None:
        try:
            while await self._is_asked():
                outcome = self._early.popleft() if self._early else await self._read()
                answer, self._answer = self._answer, None
                if answer is not None and not answer.done():
                    answer.set_result(outcome)
                if self._cancelled or outcome is END or type(outcome) in (Broken, _Exit):
                    break
            self._finished = True
        finally:
            try:
                await close_source(self._source)
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
                self._problem = error  # raised when the stream is closed

    async def _is_asked(self) -> bool:
        """Wait until the reader asks for an item (True) or closes the stream (False)."""
        while self._answer is None:
            if self._closing:
                return False
            wake_up = self._wake_up = self._promise()
            try:
                await wake_up
            except BaseException as error:
                self._wake_up = None
                if self._cancelled or not isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
                if not self._closing:
                    self._early.append(await self._cancelled_inside(error))
            self._wake_up = None
        return True  # also if its reader has left meanwhile: a cancellation closes more than `aclose` does

    async def _cancelled_inside(self, error: BaseException) -> Any:
        """
        Raise a cancellation inside the stream, and return what the stream makes of it.

        A scope that the stream holds across its yields has been cancelled while nobody asked for an item, for example
        by a time limit. Only the stream can leave that scope.
        """
        throw = getattr(self._source, "athrow", None)
        if throw is None:
            raise error
        try:
            with reading_for(self._reader):
                return await throw(error)
        except StopAsyncIteration:
            return END
        except Exception as broken:  # noqa: BLE001 - the reader gets it
            return Broken(broken)

    async def _read(self) -> Any:
        try:
            with reading_for(self._reader):
                return await pull(self._source)
        except BaseException as error:
            # trio's cancellation comes from a scope, and asyncio's from a cancelled task: neither may be kept.
            if self._cancelled or (self._scope is not None and isinstance(error, anyio.get_cancelled_exc_class())):
                raise
            return _Exit(error)

    def _note_the_end(self) -> None:
        self._over = True
        self._task = None  # task -> its cancellation -> frame -> self -> task is a reference cycle
        _pumps.discard(self)
        if not (self._finished or self._cancelled):
            self._early.append(Broken(RuntimeError(_LEFT_OPEN)))
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(self._early.popleft() if self._early else END)
        for each in self._waiting_for_end:
            if not each.done():
                each.set_result(None)


_pumps: set[_Pump] = set()  # strong references: asyncio itself holds tasks only weakly
