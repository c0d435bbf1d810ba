"""Wake a waiting task or a blocked thread, from any thread and event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

from .scopes import move_on_after

if TYPE_CHECKING:
    from .clock import Clock
    from .event_loops import LoopUsage
    from .waiting import InThread


def wakeup_of(usage: LoopUsage, thread: InThread | None) -> TaskWakeup | ThreadWakeup:
    """The wakeup of the caller: for its task, or for its thread if that blocks."""
    return TaskWakeup(usage) if thread is None else ThreadWakeup(thread)


class TaskWakeup:
    """
    Wakes the task that has made it.

    Args:
        usage: The event loop in which the task runs.
    """

    __slots__ = ("_call_soon", "_event", "_thread", "_usage")

    def __init__(self, usage: LoopUsage) -> None:
        loop: Any = current_token().native_token
        self._call_soon = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe
        self._thread = threading.get_ident()
        self._event = anyio.Event()
        self._usage = usage

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Wait until the task is woken, for at most so many seconds."""
        with move_on_after(clock, seconds):
            await self.called()

    async def called(self) -> None:
        """Wait until the task is woken."""
        await self._event.wait()
        self._event = anyio.Event()

    def wake(self) -> bool:
        """Wake the task; False if its loop has ended, and the task with it."""
        if self._usage.has_ended():  # checked first, because setting an event that is already set does not fail
            return False
        try:
            if threading.get_ident() == self._thread:
                self._event.set()
            else:
                self._call_soon(self._set_event)
        except RuntimeError:
            return False
        return True

    def _set_event(self) -> None:
        self._event.set()


class ThreadWakeup:
    """
    Wakes the blocked thread that has made it.

    Args:
        thread: How the thread blocks.
    """

    __slots__ = ("_event", "_thread")

    def __init__(self, thread: InThread) -> None:
        self._thread = thread
        self._event = threading.Event()

    async def wait(self, _clock: Clock, seconds: float) -> None:
        """Wait until the thread is woken, for at most so many seconds."""
        self._thread.block(seconds, self._event)
        self._event.clear()

    def wake(self) -> bool:
        """Wake the thread."""
        self._event.set()
        return True
