"""
asyncio tasks that begin alongside a running call, which therefore is not in a task group with them.

A task group has to be entered before the call, and that costs more than everything else. These tasks are started by the
loop, rarely and late; afterwards the call waits for them as at the end of a task group.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - the call's own task is cancelled, which is in no scope of ours
from typing import TYPE_CHECKING, Any, Self

import anyio

from .backend import tell_scopes
from .tasks import ended_by_us

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from types import TracebackType


class BesideTasks:
    """
    Works like anyio's `TaskGroup`, but its block begins when the call has ended, well or not.

    Args:
        host: The task that runs the call.
        context: The caller's context variables.
    """

    __slots__ = (
        "_cancelling",
        "_context",
        "_error",
        "_has_cancelled_host",
        "_host",
        "_is_over",
        "_overtaken",
        "_running",
        "_scope",
        "_scopes",
        "_tasks",
        "_waiter",
        "cancelled",
    )

    def __init__(self, host: asyncio.Task[Any], context: Context) -> None:
        self._host = host
        self._context = context
        self._cancelling = host.cancelling()
        self._scope: anyio.CancelScope | None = None  # around the host's block
        self._scopes: set[anyio.CancelScope] = set()  # around each task
        self._tasks: set[asyncio.Task[None]] = set()  # strong references: asyncio holds tasks only weakly
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._is_over = False  # whether the host only waits for the tasks
        self._overtaken = False
        self._has_cancelled_host = False
        self.cancelled = False

    @property
    def cancel_scope(self) -> Self:
        """The object itself, which has `cancel` like the scope of a task group."""
        return self

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run a function in a task of its own."""
        task = asyncio.Task(self._run(function, *args), loop=self._host.get_loop(), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._note_the_end)

    async def _run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.cancelled:
                scope.cancel()
            try:
                await function(*args)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - raised in the host
                self._error = error
                self.cancel()
            finally:
                self._scopes.discard(scope)

    def _note_the_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def cancel(self) -> None:
        """Cancel the tasks and, unless its block is over, the host's call."""
        if self.cancelled:
            return
        self.cancelled = True
        for scope in tuple(self._scopes):
            scope.cancel()
        if self._scope is not None:
            self._scope.cancel()
        elif not self._is_over:
            self._has_cancelled_host = True
            self._host.cancel()

    def call_ended(self, error: BaseException | None) -> None:
        """Take in the end of the host's call, before the block: by itself, or because it was cancelled here."""
        if self.cancelled:
            self._overtaken = ended_by_us(self._host, self._cancelling, error)

    async def __aenter__(self) -> Self:
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        if self.cancelled:
            self._scope.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope, self._scope, self._is_over = self._scope, None, True
        if kind is GeneratorExit:  # the loop has ended, and waiting is no longer possible in it
            return False
        if error is not None:
            self._cancel_tasks()
        interrupted = await self._wait(shielded=error is not None)
        error = interrupted or error
        swallowed = bool(scope is not None and scope.__exit__(None if error is None else type(error), error, trace))
        ours = swallowed or (self._overtaken and interrupted is None and isinstance(error, asyncio.CancelledError))
        try:
            if self._error is not None and (error is None or ours):
                raise self._error
            if self._has_cancelled_host and error is not None and not ours:
                await tell_scopes(error)
            if interrupted is not None and not ours:
                raise interrupted
        finally:
            self._error = None  # exception -> traceback -> frame -> exception is a reference cycle
            del interrupted, error
        return ours

    async def _wait(self, *, shielded: bool) -> asyncio.CancelledError | None:
        """Wait for all tasks to end; a cancellation of the host meanwhile cancels them, and is returned."""
        interrupted = None
        while self._tasks:
            self._waiter = self._host.get_loop().create_future()
            try:
                with anyio.CancelScope(shield=shielded):
                    await self._waiter
            except asyncio.CancelledError as error:
                interrupted, shielded = error, True
                self._cancel_tasks()
        return interrupted

    def _cancel_tasks(self) -> None:
        self.cancelled = True
        for scope in tuple(self._scopes):
            scope.cancel()
