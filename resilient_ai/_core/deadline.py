"""
Deadlines of calls: a call that takes longer than its function's timeout is cancelled and raises `CallTimeoutError`.

On asyncio, in real time, all calls through one layer share a line. They have the same timeout, so whoever came first
is due first: a call costs one entry in a dict, and one timer of the loop rings for the head of the line. That is
a fifth of what `asyncio.timeout` costs and a tenth of `anyio.fail_after`. Everywhere else the clock's own scopes do it.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - the shortcut is asyncio's; on trio the clock's scopes are used
import math
from typing import TYPE_CHECKING, Any

from .backend import in_trio
from .errors import CallTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .clock import Clock

    Handler = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Coroutine[Any, Any, Any]]

_running_loop = asyncio._get_running_loop
_current_task = asyncio.current_task


def bounded(inner: Handler, seconds: float, clock: Clock, name: str) -> Handler:
    """
    A handler that cancels `inner` after so many seconds.

    Args:
        inner: What runs the call.
        seconds: How long it may take.
        clock: Where time comes from.
        name: Who is named in the error.

    Returns:
        A handler that raises `CallTimeoutError` when the time is over. A cancellation from outside passes through,
        also when both come in the same moment.
    """

    async def scoped(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with clock.move_on_after(seconds) as scope:
            result = await inner(fn, instance, args, kwargs)
        if scope.cancelled_caught:
            raise CallTimeoutError(name, timeout_seconds=seconds)
        return result

    if not getattr(clock, "real", False):
        return scoped
    lines = Lines()

    async def in_line(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        loop = _running_loop()
        task = _current_task(loop) if loop is not None else None
        if loop is None or task is None or in_trio():
            return await scoped(fn, instance, args, kwargs)
        line = lines.latest
        if line is None or line.loop is not loop:
            line = lines.of(loop)
        calls = line.calls
        if task in calls:  # a call within a call: the outer one is due first
            return await inner(fn, instance, args, kwargs)
        if task in line.rung:  # a call from the cleaning up of one that has rung
            return await scoped(fn, instance, args, kwargs)
        calls[task] = loop.time() + seconds, task.cancelling()
        if line.timer is None:
            line.timer = loop.call_later(seconds, line.ring)
            _busy.add(line)
        try:
            result = await inner(fn, instance, args, kwargs)
        except BaseException as error:
            if calls.pop(task, None) is None and _was_only_us(line, task, error):
                raise CallTimeoutError(name, timeout_seconds=seconds) from error
            raise
        if calls.pop(task, None) is None:
            # It rang, and the function answered all the same.
            del line.rung[task]
            task.uncancel()
        return result

    return in_line


def _was_only_us(line: Line, task: asyncio.Task[Any], error: BaseException) -> bool:
    """Whether the end of a call that has rung is our doing, and nobody's else."""
    others = task.uncancel() - line.rung.pop(task)
    return isinstance(error, asyncio.CancelledError) and others <= 0


class Line:
    """The calls of one layer in one loop, first come first due."""

    __slots__ = ("calls", "loop", "rung", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # When it is due (the loop's time), and how often the task had been asked to cancel when the call began.
        self.calls: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self.rung: dict[asyncio.Task[Any], int] = {}  # cancelled by us and not yet over
        self.timer: asyncio.TimerHandle | None = None  # kept while calls go on: most timers would never ring

    def ring(self) -> None:
        """Cancel the calls that are due, and wait for the next."""
        now = self.loop.time()
        self.timer = None
        while self.calls:
            task, (due, cancelling) = next(iter(self.calls.items()))
            if due > now:
                self.timer = self.loop.call_at(due, self.ring)
                return
            del self.calls[task]
            self.rung[task] = cancelling
            task.cancel()
        _busy.discard(self)


class Lines:
    """The lines of one layer, by loop: loops follow one another, and live side by side in threads."""

    __slots__ = ("_lines", "latest")

    def __init__(self) -> None:
        self.latest: Line | None = None
        self._lines: tuple[Line, ...] = ()

    def of(self, loop: asyncio.AbstractEventLoop) -> Line:
        """The line of a loop; those of closed loops go."""
        line = next((each for each in self._lines if each.loop is loop), None)
        if line is None:
            line = Line(loop)
            _busy.difference_update([each for each in tuple(_busy) if each.loop.is_closed()])
            self._lines = (line, *(each for each in self._lines if not each.loop.is_closed()))
        self.latest = line
        return line


_busy: set[Line] = set()  # those with a timer running


def own_seconds_left() -> float:
    """Seconds until the first deadline of ours ends that this task runs under; inf without one."""
    if not _busy or (loop := _running_loop()) is None or (task := _current_task(loop)) is None:
        return math.inf
    due = [entry[0] for line in tuple(_busy) if line.loop is loop and (entry := line.calls.get(task)) is not None]
    return min(due) - loop.time() if due else math.inf
