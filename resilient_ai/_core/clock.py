"""Time comes in through here: monotonic seconds and sleep; `scopes` makes cancel scopes of them."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Protocol

import anyio

from .backend import backend
from .public import public

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


NEVER = -math.inf  # before every time: one object, where each `-math.inf` would make another


@public("types")
class Clock(Protocol):
    """
    What a registry needs of time. `anyio.current_time()` will not do: trio starts each run at a random offset.

    A clock that can end cancel scopes itself may have `move_on_after(seconds)`, which gives an `anyio.CancelScope` as a
    context manager; without it a task sleeps beside each block that is bounded.

    For plain functions a clock may have `block(seconds, until=None)` as `SystemClock` has it; without one, its `sleep`
    is waited for in an event loop of its own.
    """

    def now(self) -> float:
        """Monotonic seconds; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        ...


@public("types")
class SystemClock:
    """The machine's monotonic clock and anyio's timers."""

    now = staticmethod(time.monotonic)
    real = True  # it runs like the event loop's clock, so that the loop's own timers may be used

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        running = backend()  # as `anyio.move_on_after`, which finds out twice what runs
        return running.create_cancel_scope(deadline=running.current_time() + seconds)

    def block(self, seconds: float, until: threading.Event | None = None) -> None:
        """Let this thread wait for so many seconds, or until an event is set."""
        if until is None:
            time.sleep(seconds)
        else:
            until.wait(min(seconds, threading.TIMEOUT_MAX))

    def __repr__(self) -> str:
        return "SystemClock()"
