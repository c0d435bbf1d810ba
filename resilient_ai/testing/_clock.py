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


_MOMENT = 0.02  # seconds of real time, in which another thread may let one go on
_TURNS = 100  # of the event loop, in which woken tasks mostly come to their next wait


async def _all_wait() -> None:
    """
    Return once every other task waits.

    anyio finds that out as well, but on asyncio it looks at every task, and sleeps for a tenth of a second whenever
    one of them is not there yet: a thousand jumps would take minutes. asyncio's own loop has nothing to run then.
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
    Hours in milliseconds, on asyncio and on trio: `Registry(clock=VirtualClock())`.

    `advance(seconds)` moves the time and wakes what is due; the woken tasks run at the test's next `await`.
    With `async with clock.autojump():` the clock jumps to the next sleeper by itself whenever every task waits.

    A plain function that waits moves the clock by itself, because nobody else can while its thread is blocked; threads
    that begin to wait at one time wait beside each other. Within `autojump` they wait for that, like tasks.

    Args:
        start: First value of `now()`, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._due: list[tuple[float, int]] = []  # a heap; of those that have left as well, until they come to its top
        self._waiting: dict[int, Callable[[], None]] = {}  # how to wake each, by its number
        self._ends: dict[anyio.CancelScope, int] = {}  # by what number each scope is ended
        self._jumps = 0  # blocks of `autojump` that are entered
        self._blocked: dict[int, float] = {}  # threads that wait for a jump, by number: when each is due
        self._lock = threading.RLock()

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds and wake, in order, what is due by then."""
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
        """Seconds until something wakes; inf when nothing waits."""
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
        Let this thread wait until the clock has moved by so many seconds; by itself, unless `autojump` moves it.

        Args:
            seconds: So many.
            until: Ends the wait too. Where nobody moves the clock, it is set within a moment of real time, or not.
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
        """A cancel scope that ends once the clock has moved by so many seconds."""
        return _Scope(self, seconds)

    def put_off(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Let a scope of `move_on_after` end so many seconds from now instead."""
        self._forget(self._ends[scope])
        self._ends[scope] = self._wake_at(self._now + seconds, scope.cancel) if seconds < math.inf else -1

    def _wake_at(self, due: float, wake: Callable[[], None]) -> int:
        """Have something called at a time; returns the number to `_forget` it by."""
        with self._lock:
            number = next(self._order)
            self._waiting[number] = wake
            heapq.heappush(self._due, (due, number))
            return number

    def _forget(self, number: int) -> None:
        # Mostly a deadline that was not needed: while the clock stands still, those would pile up on the heap.
        with self._lock:
            if self._waiting.pop(number, None) is not None and len(self._due) > 2 * len(self._waiting) + 100:
                self._due = [each for each in self._due if each[1] in self._waiting]
                heapq.heapify(self._due)

    @asynccontextmanager
    async def autojump(self) -> AsyncIterator[None]:
        """Inside, time jumps to the next sleeper whenever all other tasks wait."""
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
            if not self._jumps and self._blocked:  # nobody else will move the clock for these threads
                self._advance_to(max(self._blocked.values()))

    async def _jump(self) -> None:
        while True:
            await _all_wait()
            if math.isfinite(self.next_due):
                self.advance(self.next_due)
            else:
                # Every task waits for something outside, a socket say; look again a little later.
                await anyio.sleep(0.001)

    def __repr__(self) -> str:
        return f"VirtualClock(now={self._now:g}, waiting={len(self._waiting)})"


class _Scope:
    """
    `VirtualClock.move_on_after`.

    No generator: one that catches the cancellation forms a reference cycle with it, on Python 3.13.
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
