"""The clock: monotonic seconds and sleep. `scopes` makes cancel scopes from it."""

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


NEVER = -math.inf  # before every time; one object, whereas each `-math.inf` would make a new one


@public("types")
class Clock(Protocol):
    """
    The clock of a registry. `anyio.current_time()` cannot be used: trio starts each run at a random offset.

    A clock that can end cancel scopes itself may have `move_on_after(seconds)`, which returns an `anyio.CancelScope` as
    a context manager; without it, a task sleeps alongside each bounded block.

    For plain functions a clock may have `block(seconds, until=None)` like `SystemClock`; without it, its `sleep` runs
    in an event loop of its own.
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
    real = True  # it runs like the event loop's clock, so the loop's own timers may be used

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        running = backend()  # like `anyio.move_on_after`, which determines the running loop twice
        return running.create_cancel_scope(deadline=running.current_time() + seconds)

    def block(self, seconds: float, until: threading.Event | None = None) -> None:
        """Block this thread for so many seconds, or until an event is set."""
        if until is None:
            time.sleep(seconds)
        else:
            until.wait(min(seconds, threading.TIMEOUT_MAX))

    def __repr__(self) -> str:
        return "SystemClock()"
