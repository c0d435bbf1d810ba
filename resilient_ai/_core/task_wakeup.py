"""Wakes a task that waits, from whatever thread and event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from .event_loops import LoopUsage


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
