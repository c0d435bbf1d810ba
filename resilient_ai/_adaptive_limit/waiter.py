"""A waiter with a task behind it, in whatever thread and event loop that runs, or with a thread that blocks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

from resilient_ai._core.scopes import move_on_after

from .queue import Waiter

if TYPE_CHECKING:
    from resilient_ai._core.clock import Clock
    from resilient_ai._core.event_loops import LoopUsage
    from resilient_ai._core.waiting import InThread

    from .permit import Permit


class TaskWaiter(Waiter):
    """A caller in the queue, and what wakes its task."""

    __slots__ = ("_call_soon", "_event", "_thread")

    def __init__(self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None) -> None:
        super().__init__(ends, deadline, usage, outer)
        loop: Any = current_token().native_token
        self._call_soon = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe
        self._thread = threading.get_ident()
        self._event = anyio.Event()

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Wait until somebody wakes this waiter, for so many seconds at most."""
        with move_on_after(clock, seconds):
            await self._event.wait()
            self._event = anyio.Event()

    def wake(self) -> bool:
        """Let the task ask for its turn; False when its loop has ended and took the task with it."""
        if self.usage.has_ended():  # asked first, because an event that is set already accepts another setting silently
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


class ThreadWaiter(Waiter):
    """A plain function in the queue, whose thread blocks."""

    __slots__ = ("_event", "_thread")

    def __init__(self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None, thread: InThread) -> None:
        super().__init__(ends, deadline, usage, outer)
        self._thread = thread
        self._event = threading.Event()

    async def wait(self, _clock: Clock, seconds: float) -> None:
        """Wait until somebody wakes this waiter, for so many seconds at most."""
        self._thread.block(seconds, self._event)
        self._event.clear()

    def wake(self) -> bool:
        """Let the thread ask for its turn."""
        self._event.set()
        return True
