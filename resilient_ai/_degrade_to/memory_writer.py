"""Gives good answers to async memories alongside the caller: few at once, in a bounded queue."""

from __future__ import annotations

import contextvars
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import CallTimeoutError
from resilient_ai._core.per_loop import PerLoop
from resilient_ai._core.scopes import move_on_after
from resilient_ai._core.tasks import current_loop, spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._core.clock import Clock

    from .contract import FailedCall
    from .fallback import Rung

_AT_WORK = 8
_WAITING = 1_000


@dataclass(slots=True, eq=False)
class _Write:
    """One answer that is to be written into one memory."""

    rung: Rung
    call: FailedCall
    taking: Awaitable[Any]  # what the memory's `remember` returned
    # A memory may read the caller's context variables to find out who is asking.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    task: object = None
    ended: bool = False


class _Queue:
    """The pending writes of one event loop."""

    __slots__ = ("at_work", "waiting")

    def __init__(self) -> None:
        self.at_work: set[_Write] = set()
        self.waiting: deque[_Write] = deque()


class MemoryWriter:
    """
    Runs the awaitable of an async `remember` while the caller goes on.

    Args:
        clock: The clock of the time limits.
        timeout: Seconds for one answer; None: no bound.
        failed: Called with a memory that raised, and the call.
        forgot: Called for each answer that was dropped: the queue was full (the oldest is dropped), or the loop ended.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        timeout: float | None,
        failed: Callable[[Rung, FailedCall, Exception], None],
        forgot: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._failed = failed
        self._forgot = forgot
        self._queues = PerLoop(lambda _loop: _Queue())

    def later(self, rung: Rung, call: FailedCall, taking: Awaitable[Any]) -> None:
        """Run the awaitable soon; returns at once."""
        loop = current_loop()
        queue = self._queues.of(loop)
        write = _Write(rung, call, taking)
        if len(queue.at_work) < _AT_WORK:
            self._start(loop, queue, write)
            return
        if len(queue.waiting) >= _WAITING:
            self._drop(queue.waiting.popleft())
        queue.waiting.append(write)

    def _start(self, loop: Any, queue: _Queue, write: _Write) -> None:
        queue.at_work.add(write)
        write.task = spawn(
            loop, lambda: self._run(loop, queue, write), write.context, lambda: self._task_ended(queue, write)
        )

    async def _run(self, loop: Any, queue: _Queue, write: _Write) -> None:
        try:
            with move_on_after(self._clock, self._timeout) if self._timeout is not None else nullcontext():
                await write.taking
                write.ended = True
            if not write.ended:
                raise CallTimeoutError(write.rung.name, timeout_seconds=self._timeout or 0.0)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task; its error becomes an event
            write.ended = True
            self._failed(write.rung, write.call, error)
        queue.at_work.discard(write)
        if queue.waiting:
            self._start(loop, queue, queue.waiting.popleft())

    def _task_ended(self, queue: _Queue, write: _Write) -> None:
        if write.ended:
            return
        # The task was cancelled, so its loop is ending, and no new task may start there.
        queue.at_work.discard(write)
        self._drop(write)
        while queue.waiting:
            self._drop(queue.waiting.popleft())

    def _drop(self, write: _Write) -> None:
        close = getattr(write.taking, "close", None)
        if close is not None:
            close()
        self._forgot()
