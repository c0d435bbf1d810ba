"""A loop whose time jumps, for tests of deadlines in real time."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a loop of asyncio's is what this is
import selectors


class _Jump(selectors.DefaultSelector):
    loop: JumpingLoop

    def select(self, timeout=None):
        if timeout is not None and timeout > 0:
            self.loop.jumped += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Instead of sleeping, its clock jumps to the next timer."""

    def __init__(self):
        selector = _Jump()
        selector.loop = self
        self.jumped = 1000.0
        super().__init__(selector)

    def time(self):
        return self.jumped
