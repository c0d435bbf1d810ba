"""
Which event loops have ended: calls that were under way in a closed one never come back, and nobody may wait for them.

A task is cancelled before its loop is closed, or collected afterwards, and gives back what it held. Unless somebody
has closed the loop by hand and something, anyio's table of tasks for one, still refers to the task. Then nothing ever
tells. A lease would: but how long is the longest call that is really under way? A stream may go on for an hour, and a
provider is overrun when it is thought dead. So a call is counted in its loop, and given up when that was closed, not
earlier, because nothing can run there any more. Trio ends all tasks before it ends; its guest runs end with the loop
of their host, in which they are counted. A loop that is dropped without having been closed cannot be told from one
that only stands still.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - trio ends its tasks before it ends; a loop of asyncio may be closed with some under way
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

running_loop = asyncio._get_running_loop


class Era:
    """One event loop, known weakly, and the calls that are counted in it."""

    __slots__ = ("in_flight", "loop", "over")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.in_flight = 0
        self.over = False  # its calls are not counted any more, and come back without a say
        self.loop: Callable[[], asyncio.AbstractEventLoop | None] = _none if loop is None else weakref.ref(loop)

    def has_ended(self) -> bool:
        """Whether nothing can run there any more."""
        if self.loop is _none:
            return False
        loop = self.loop()
        return loop is None or loop.is_closed()


def _none() -> None:
    """The loop of asyncio that trio runs in."""


class Eras:
    """The loops that one state has met. Not thread-safe: its owner has a lock."""

    __slots__ = ("_asyncio", "_trio", "latest")

    def __init__(self) -> None:
        self.latest = self._trio = Era(None)
        self._asyncio: tuple[Era, ...] = ()

    def here(self) -> Era:
        """That of the running task."""
        loop, latest = running_loop(), self.latest
        if loop is None:
            return self._trio
        return latest if latest.loop() is loop else self._of(loop)

    def _of(self, loop: asyncio.AbstractEventLoop) -> Era:
        era = next((each for each in self._asyncio if each.loop() is loop), None)
        if era is None:
            era = Era(loop)
            self._asyncio = (*self._asyncio, era)
        self.latest = era
        return era

    def ended(self) -> list[Era]:
        """Those that have; each is told once, and then forgotten."""
        gone = self.lost()
        if gone:
            self._asyncio = tuple(each for each in self._asyncio if each not in gone)
            if self.latest in gone:
                self.latest = self._trio
        return gone

    def lost(self) -> list[Era]:
        """Those that have ended, without forgetting them."""
        return [each for each in self._asyncio if each.has_ended()]
