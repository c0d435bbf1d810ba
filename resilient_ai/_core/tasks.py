"""
Tools that anyio does not have: short-lived tasks outside every scope of the task that starts them, and promises that
one task awaits and another fulfils, cheap enough for one per item.

A loop is identified by a token: the asyncio loop, or trio's token.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a task outside every scope is made by the backend, there is no other way
import sys
import weakref
from contextlib import suppress
from contextvars import Context
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from .forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


_latest_loop: Callable[[], Any] | None = None  # weak reference to the loop of the latest call


def _running_loop() -> Any:
    global _latest_loop
    loop = _latest_loop() if _latest_loop is not None else None
    if loop is not None and loop._thread_id == get_ident():
        return loop
    loop = asyncio._get_running_loop()
    if loop is not None and hasattr(loop, "_thread_id"):  # uvloop's loop does not have it
        _latest_loop = weakref.ref(loop)
    return loop


def _forget_the_loop() -> None:
    global _latest_loop
    _latest_loop = None


# The child's thread has the same id as the parent's, and the parent's loop still has that id.
in_child(_forget_the_loop)

# The running asyncio loop or None, and its running task or None. In Python 3.11 the first needs a system call, which
# costs up to four bare awaits, and the second is written in Python.
running_loop: Callable[[], Any] = _running_loop
current_task: Callable[[Any], asyncio.Task[Any] | None]
if sys.version_info >= (3, 12):
    running_loop, current_task = asyncio._get_running_loop, asyncio.current_task
else:
    current_task = vars(asyncio.tasks)["_current_tasks"].get


def ended_by_us(task: asyncio.Task[Any], cancelling: int, error: BaseException | None) -> bool:
    """
    Take one cancellation of a task back; whether only this cancellation ended the task's call.

    Args:
        task: The task, which has been cancelled.
        cancelling: Number of its cancellations before the call.
        error: The error of the call; None without one.
    """
    others = task.uncancel() - cancelling
    return isinstance(error, asyncio.CancelledError) and others <= 0


class Promise(Protocol):
    """A promise, awaited by one task. Fulfil it only while it is not `done()`: its task may have been cancelled."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def __await__(self) -> Generator[Any, None, Any]: ...


def current_loop() -> Any:
    """The token of the loop that runs this task; it can be weakly referenced."""
    # Trio is checked first: in its guest mode an asyncio loop runs below it, and both would answer.
    trio = sys.modules.get("trio")
    lowlevel = getattr(trio, "lowlevel", None)  # also None while another thread imports trio
    if lowlevel is not None and (in_task := getattr(lowlevel, "in_trio_task", None)) is not None and in_task():
        return lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def is_asyncio(loop: Any) -> bool:
    return isinstance(loop, asyncio.AbstractEventLoop)


def is_closed(loop: Any) -> bool:
    """Whether no task of the loop can run again, as far as is known; trio ends its tasks before it ends."""
    return is_asyncio(loop) and loop.is_closed()


def promise_class(loop: Any) -> Callable[..., Promise]:
    """The class of promises for a loop, called with `loop=loop`."""
    return asyncio.Future if is_asyncio(loop) else _TrioPromise


async def next_turn(loop: Any) -> None:
    """Let every task that is ready run once."""
    if is_asyncio(loop):
        await asyncio.sleep(0)
    else:
        import trio

        await trio.lowlevel.checkpoint()


def spawn(
    loop: Any, run: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[[], None]
) -> object:
    """
    Start a task that no scope of the caller can cancel.

    Args:
        loop: The token of the running loop.
        run: The function; it must not raise, except for cancellation.
        context: Context variables of the task.
        ended: Called when the task has ended, even if it was cancelled before its first step.

    Returns:
        An object to keep until then, because asyncio itself holds tasks only weakly.
    """
    if is_asyncio(loop):
        # Not loop.create_task: an eager task factory would run it at once, inside the caller's step.
        task: asyncio.Task[None] = asyncio.Task(run(), loop=loop, context=context)
        task.add_done_callback(lambda _task: ended())
        return task
    import trio

    async def system_task() -> None:
        try:
            await run()
        finally:
            ended()

    return trio.lowlevel.spawn_system_task(system_task, name=run, context=context)


class _TrioPromise:
    """The counterpart of an asyncio future for trio."""

    __slots__ = ("_done", "_result", "_task")

    def __init__(self, *, loop: Any) -> None:  # noqa: ARG002 - asyncio's future wants to know
        self._done = False
        self._result: Any = None
        self._task: Any = None

    def done(self) -> bool:
        return self._done

    def set_result(self, result: Any, /) -> None:
        self._done, self._result = True, result
        if self._task is not None:
            import trio

            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def __await__(self) -> Generator[Any, None, Any]:
        # Trio runs ready tasks in random order, so the promise may be fulfilled before its task waits for it.
        if not self._done:
            import trio

            self._task = trio.lowlevel.current_task()
            yield from trio.lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105
        return self._result

    def _abort(self, _raise_cancel: object) -> Any:
        import trio

        self._done, self._task = True, None
        return trio.lowlevel.Abort.SUCCEEDED


_running_later: set[object] = set()


def run_later(loop: Any, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """
    Start a task in a loop, from any thread or the garbage collector; does nothing if the loop has ended.

    Args:
        loop: The token of the loop.
        run: The function; it must not raise, except for cancellation.
    """

    def start() -> None:
        task = spawn(loop, run, Context(), lambda: _running_later.discard(task))
        _running_later.add(task)

    # RuntimeError of asyncio, RunFinishedError of trio: the loop can no longer run it.
    with suppress(RuntimeError):
        if is_asyncio(loop):
            loop.call_soon_threadsafe(start)
        else:
            loop.run_sync_soon(start)
