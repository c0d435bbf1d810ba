"""A clock that stands still until it is told to move."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from resilient_ai._core.public import public
from resilient_ai._core.tasks import current_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from types import TracebackType


_MOMENT = 0.02  # real seconds in which another thread may wake a blocked one
_TURNS = 100  # iterations of the event loop in which woken tasks usually reach their next wait


async def _all_wait() -> None:
    """
    Return when every other task waits.

    anyio has a function for that, but on asyncio it checks every task, and sleeps for a tenth of a second if one is not
    waiting yet: a thousand jumps would take minutes. Here, asyncio's own loop shows that it has nothing to run.
    """
    ready = getattr(current_loop(), "_ready", None)
    if ready is not None:
        for _ in range(_TURNS):
            await checkpoint()
            if not ready:
                return
    await anyio.wait_all_tasks_blocked()


@public("testing")
class VirtualClock:
    """
    A virtual clock, with which hours take milliseconds, on asyncio and trio: `Registry(clock=VirtualClock())`.

    `advance(seconds)` moves the time and wakes the sleepers that are due; woken tasks run at the test's next `await`.
    With `async with clock.autojump():` the clock jumps to the next sleeper whenever every task waits.

    A plain function that waits moves the clock itself, because nothing else can while its thread is blocked; threads
    that begin to wait at the same time wait together. Within `autojump` they wait for its jumps, like tasks.

    Args:
        start: First value of `now()`, in seconds. Default 0.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = itertools.count()
        # A heap of (time, number), which also has cancelled ones until they reach its top.
        self._due: list[tuple[float, int]] = []
        self._waiting: dict[int, Callable[[], None]] = {}  # by number: the function that wakes the sleeper
        self._ends: dict[anyio.CancelScope, int] = {}  # number of the sleeper that ends each scope
        self._jumps = 0  # number of entered `autojump` blocks
        self._blocked: dict[int, float] = {}  # by number: when a thread that waits for a jump is due
        self._lock = threading.RLock()

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds and wake, in order, the sleepers that are due by then."""
        if not seconds >= 0:
            raise ValueError(f"time only goes forward, got {seconds!r} seconds")
        self._advance_to(self._now + seconds)

    def _advance_to(self, end: float) -> None:
        with self._lock:
            while self._due and self._due[0][0] <= end:
                due, number = heapq.heappop(self._due)
                self._now = max(self._now, due)
                if (wake := self._waiting.pop(number, None)) is not None:
                    wake()
            self._now = max(self._now, end)

    @property
    def next_due(self) -> float:
        """Seconds until the next sleeper wakes; inf without sleepers."""
        with self._lock:
            while self._due and self._due[0][1] not in self._waiting:
                heapq.heappop(self._due)
            return self._due[0][0] - self._now if self._due else math.inf

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved by so many seconds."""
        if seconds <= 0:
            await checkpoint()
            return
        woken = anyio.Event()
        number = self._wake_at(self._now + seconds, woken.set)
        try:
            await woken.wait()
        finally:
            self._forget(number)

    def block(self, seconds: float, until: threading.Event | None = None) -> None:
        """
        Block this thread until the clock has moved by so many seconds; moves the clock itself, unless `autojump` does.

        Args:
            seconds: Virtual seconds.
            until: An event that ends the wait too. If nothing else moves the clock, the event gets a moment of real
                time to be set.
        """
        if until is not None and (until.wait(0.0 if self._jumps else _MOMENT) or math.isinf(seconds)):
            until.wait()
            return
        with self._lock:
            due = self._now + seconds
            if not self._jumps:
                self._advance_to(due)
                return
            woken = until if until is not None else threading.Event()
            number = self._wake_at(due, woken.set)
            self._blocked[number] = due
        try:
            woken.wait()
        finally:
            self._blocked.pop(number, None)
            self._forget(number)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """A cancel scope that ends when the clock has moved by so many seconds."""
        return _Scope(self, seconds)

    def put_off(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Let a scope of `move_on_after` end so many seconds from now instead."""
        self._forget(self._ends[scope])
        self._ends[scope] = self._wake_at(self._now + seconds, scope.cancel) if seconds < math.inf else -1

    def _wake_at(self, due: float, wake: Callable[[], None]) -> int:
        """Call a function at a time; returns the number for `_forget`."""
        with self._lock:
            number = next(self._order)
            self._waiting[number] = wake
            heapq.heappush(self._due, (due, number))
            return number

    def _forget(self, number: int) -> None:
        # Usually a deadline that was not needed. While the clock stands still, these would pile up on the heap.
        with self._lock:
            if self._waiting.pop(number, None) is not None and len(self._due) > 2 * len(self._waiting) + 100:
                self._due = [each for each in self._due if each[1] in self._waiting]
                heapq.heapify(self._due)

    @asynccontextmanager
    async def autojump(self) -> AsyncIterator[None]:
        """A block in which time jumps to the next sleeper whenever all other tasks wait."""
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._jump)
            self._jumps += 1
            try:
                yield
            except Exception as raised:  # noqa: BLE001 - raised below, on its own instead of in the tasks' group
                error = raised
            finally:
                self._end_jumps()
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    def _end_jumps(self) -> None:
        with self._lock:
            self._jumps -= 1
            if not self._jumps and self._blocked:  # nothing else will move the clock for these threads
                self._advance_to(max(self._blocked.values()))

    async def _jump(self) -> None:
        while True:
            await _all_wait()
            if math.isfinite(self.next_due):
                self.advance(self.next_due)
            else:
                # Every task waits for something outside, such as a socket; check again a little later.
                await anyio.sleep(0.001)

    def __repr__(self) -> str:
        return f"VirtualClock(now={self._now:g}, waiting={len(self._waiting)})"


class _Scope:
    """
    The context manager of `VirtualClock.move_on_after`.

    Not a generator: on Python 3.13 a generator that catches the cancellation forms a reference cycle with it.
    """

    __slots__ = ("_clock", "_scope", "_seconds")

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        clock, scope = self._clock, self._scope.__enter__()
        clock._ends[scope] = clock._wake_at(clock._now + self._seconds, scope.cancel)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._clock._forget(self._clock._ends.pop(self._scope))
        return self._scope.__exit__(kind, error, trace)
