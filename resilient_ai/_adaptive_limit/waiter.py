"""A waiter with a real caller: a task in any thread and event loop, or a thread that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.wakeup import wakeup_of

from .queue import Waiter

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage
    from resilient_ai._core.waiting import InThread

    from .permit import Permit


class WaitingCaller(Waiter):
    """A caller in the queue, and what wakes it."""

    __slots__ = ("wakeup",)

    def __init__(
        self, ends: float, deadline: float, usage: LoopUsage, outer: Permit | None, thread: InThread | None
    ) -> None:
        super().__init__(ends, deadline, usage, outer)
        self.wakeup = wakeup_of(usage, thread)
