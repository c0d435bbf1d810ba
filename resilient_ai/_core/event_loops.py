"""
Find event loops that were closed: calls in flight in a closed loop never end, and nothing may wait for them.

Normally a task is cancelled before its loop is closed, or garbage-collected afterwards, and gives back what it held.
The exception is a loop that was closed by hand while something, for example anyio's table of tasks, still refers to
the task. Then nothing reports the end of the call. A lease would, but no duration is right for it: a stream may go on
for an hour, and a limit that took it for dead would overload the provider. So each call is counted in its loop, and
dropped when the loop is closed, because nothing can run there any more. Trio ends all tasks before it ends; its guest
runs end with the loop of their host, in which they are counted. A loop that was dropped without being closed cannot be
told from one that is idle.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - trio ends its tasks before it ends; a loop of asyncio may be closed with some under way
import weakref
from typing import TYPE_CHECKING, Any

from .tasks import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable


class LoopUsage:
    """
    One event loop, weakly referenced, in which calls of one state are counted.

    Attributes:
        dropped: Whether the loop was closed, so that its calls are no longer counted.
        loop: Returns the loop; None for trio, and for a loop that was garbage-collected.
        known_by_thread: The same; None also for a loop that does not tell in which thread it runs (uvloop's).
    """

    __slots__ = ("dropped", "known_by_thread", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.dropped = False
        self.loop: Callable[[], asyncio.AbstractEventLoop | None] = _no_loop if loop is None else weakref.ref(loop)
        self.known_by_thread: Callable[[], Any] = self.loop if hasattr(loop, "_thread_id") else _no_loop

    def has_ended(self) -> bool:
        """Whether nothing can run in the loop any more."""
        if self.loop is _no_loop:
            return False
        loop = self.loop()
        return loop is None or loop.is_closed()


def _no_loop() -> None:
    """In place of the weak reference to a loop, if trio runs without an asyncio loop."""


class LoopUsages:
    """The loops that one state has been used in. Not thread-safe: its owner has a lock."""

    __slots__ = ("_asyncio", "_trio", "latest")

    def __init__(self) -> None:
        self.latest = self._trio = LoopUsage(None)
        self._asyncio: tuple[LoopUsage, ...] = ()

    def here(self) -> LoopUsage:
        """The usage of the running task's loop."""
        loop, latest = running_loop(), self.latest
        if loop is None:
            return self._trio
        return latest if latest.loop() is loop else self._of(loop)

    def _of(self, loop: asyncio.AbstractEventLoop) -> LoopUsage:
        usage = next((each for each in self._asyncio if each.loop() is loop), None)
        if usage is None:
            usage = LoopUsage(loop)
            self._asyncio = (*self._asyncio, usage)
        self.latest = usage
        return usage

    def all(self) -> tuple[LoopUsage, ...]:
        """The usage of trio, and of every asyncio loop that was not removed."""
        return (self._trio, *self._asyncio)

    def ended(self) -> list[LoopUsage]:
        """The usages whose loop has ended and that have not been removed yet."""
        return [each for each in self._asyncio if each.has_ended()]

    def take_ended(self) -> list[LoopUsage]:
        """Remove and return the usages whose loop has ended."""
        ended = self.ended()
        if ended:
            self._asyncio = tuple(each for each in self._asyncio if each not in ended)
            if self.latest in ended:
                self.latest = self._trio
        return ended
