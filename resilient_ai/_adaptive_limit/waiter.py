"""A waiter with a task behind it, in whatever thread and event loop that runs, or with a thread that blocks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from resilient_ai._core.scopes import move_on_after
from resilient_ai._core.task_wakeup import TaskWakeup

from .queue import Waiter

if TYPE_CHECKING:
    from resilient_ai._core.clock import Clock
    from resilient_ai._core.event_loops import LoopUsage
    from resilient_ai._core.waiting import InThread

    from .permit import Permit


class TaskWaiter(Waiter):
    """A caller in the queue whose task waits."""

    __slots__ = ("_wakeup",)

    def __init__(self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None) -> None:
        super().__init__(ends, deadline, usage, outer)
        self._wakeup = TaskWakeup(usage)

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Wait until somebody wakes this waiter, for so many seconds at most."""
        with move_on_after(clock, seconds):
            await self._wakeup.called()

    def wake(self) -> bool:
        """Let the task ask for its turn; False when its loop has ended and took the task with it."""
        return self._wakeup.wake()


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
