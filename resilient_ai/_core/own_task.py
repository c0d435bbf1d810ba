"""
A stream that runs in a task of its own, from its first item to its last.

A generator may hold a cancel scope, a task group or a context variable across its yields. These belong to the task that
entered them, and must be left in order. If the first item is awaited in one task and the others in another (a hedged
call), or every item within a scope of its own (a time limit by cancel scopes), the generator gets a task of its own,
and its reader waits for the items from that task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio

from .deadline import seconds_left
from .readers import Reader, reading_for
from .streams import END, Broken, SelfClosing, close_source, pull
from .tasks import current_loop, is_asyncio, promise_class, spawn

if TYPE_CHECKING:
    from .tasks import Promise


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
        self._served = self._cancelled = self._over = False
        self._waiting_for_end: list[Promise] = []
        self._asked = self._promise()  # True: read an item; False: close
        self._answer: Promise | None = None
        self._reader = Reader.here(seconds_left())
        self._problem: BaseException | None = None  # error from closing
        _pumps.add(self)
        self._task: object = spawn(self._loop, self._run, copy_context(), self._note_the_end)

    def _promise(self) -> Promise:
        return promise_class(self._loop)(loop=self._loop)

    async def next_item(self) -> Any:
        """An item, `END`, a `Broken` or an `_Exit`. If the reader is cancelled, the stream ends."""
        if self._over:
            return END
        answer = self._answer = self._promise()
        self._reader = Reader.here(seconds_left())
        self._asked.set_result(True)
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
        if not self._over and self._asked.done():
            self._cancel()
        elif not self._over:
            self._asked.set_result(False)
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

    def _cancel(self) -> None:
        self._cancelled = True
        if self._scope is None:
            self._task.cancel()  # type: ignore[attr-defined]
        else:
            self._scope.cancel()
            # A shielded scope that the stream holds across its yields would keep the cancellation from the task.
            if not self._asked.done():
                self._asked.set_result(False)

    async def _run(self) -> None:
        self._served = True
        if self._scope is None:
            await self._serve()
            return
        with self._scope:
            await self._serve()

    async def _serve(self) -> None:
        try:
            while await self._asked:
                outcome = await self._read()
                self._asked = self._promise()
                answer, self._answer = self._answer, None
                if answer is not None and not answer.done():
                    answer.set_result(outcome)
                if self._cancelled or outcome is END or type(outcome) in (Broken, _Exit):
                    break
        finally:
            try:
                await close_source(self._source)
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
                self._problem = error  # raised when the stream is closed

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
        answer, self._answer = self._answer, None
        for each in (answer, *self._waiting_for_end):
            if each is not None and not each.done():
                each.set_result(END)


_pumps: set[_Pump] = set()  # strong references: asyncio itself holds tasks only weakly
