"""Wakes whoever waits, from whatever thread and event loop: a task, or a thread that blocks."""

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
    """What wakes the caller: its task, or its thread where that blocks."""
    return TaskWakeup(usage) if thread is None else ThreadWakeup(thread)


class TaskWakeup:
    """
    Belongs to the task that makes it.

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
        """Wait until somebody wakes the task, for so many seconds at most."""
        with move_on_after(clock, seconds):
            await self.called()

    async def called(self) -> None:
        """Wait until somebody wakes the task."""
        await self._event.wait()
        self._event = anyio.Event()

    def wake(self) -> bool:
        """Let the task go on; False when its loop has ended and took the task with it."""
        if self._usage.has_ended():  # asked first, because an event that is set accepts another setting silently
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
    Belongs to the thread that makes it, which blocks.

    Args:
        thread: How it blocks.
    """

    __slots__ = ("_event", "_thread")

    def __init__(self, thread: InThread) -> None:
        self._thread = thread
        self._event = threading.Event()

    async def wait(self, _clock: Clock, seconds: float) -> None:
        """Wait until somebody wakes the thread, for so many seconds at most."""
        self._thread.block(seconds, self._event)
        self._event.clear()

    def wake(self) -> bool:
        """Let the thread go on."""
        self._event.set()
        return True
