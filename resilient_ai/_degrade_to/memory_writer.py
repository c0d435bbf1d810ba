"""Telling slow memories about good answers beside the caller: few at once, a bounded queue, each in its own context."""

from __future__ import annotations

import contextvars
import weakref
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import CallTimeoutError
from resilient_ai._core.tasks import current_loop, spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._core.clock import Clock

    from .chain import Rung
    from .contract import FailedCall

_AT_WORK = 8
_WAITING = 1_000


@dataclass(slots=True, eq=False)
class _Note:
    """One answer on its way into one memory."""

    rung: Rung
    call: FailedCall
    taking: Awaitable[Any]
    # A memory may read who is asking from the caller's context variables.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    task: object = None
    ended: bool = False


class _Queue:
    """The notes of one event loop."""

    __slots__ = ("__weakref__", "at_work", "waiting")

    def __init__(self) -> None:
        self.at_work: set[_Note] = set()
        self.waiting: deque[_Note] = deque()


class Remembering:
    """
    Runs what an async `remember` returns, after the caller has gone on.

    Args:
        clock: Time limits end on it.
        timeout: Seconds for one answer; None: no bound.
        failed: Told of a memory that raised.
        forgot: Called for each answer that was dropped: the queue was full, the oldest goes, or the loop ended.
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
        self._queues: weakref.WeakKeyDictionary[Any, _Queue] = weakref.WeakKeyDictionary()

    def later(self, rung: Rung, call: FailedCall, taking: Awaitable[Any]) -> None:
        """Run it soon; returns at once."""
        loop = current_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _Queue()
        note = _Note(rung, call, taking)
        if len(queue.at_work) < _AT_WORK:
            self._start(loop, queue, note)
            return
        if len(queue.waiting) >= _WAITING:
            self._drop(queue.waiting.popleft())
        queue.waiting.append(note)

    def _start(self, loop: Any, queue: _Queue, note: _Note) -> None:
        queue.at_work.add(note)
        note.task = spawn(loop, lambda: self._take(loop, queue, note), note.context, lambda: self._ended(queue, note))

    async def _take(self, loop: Any, queue: _Queue, note: _Note) -> None:
        try:
            with self._clock.move_on_after(self._timeout) if self._timeout is not None else nullcontext():
                await note.taking
                note.ended = True
            if not note.ended:
                raise CallTimeoutError(note.rung.name, timeout_seconds=self._timeout or 0.0)
        except Exception as error:  # noqa: BLE001 - a memory must not break anything
            note.ended = True
            self._failed(note.rung, note.call, error)
        queue.at_work.discard(note)
        if queue.waiting:
            self._start(loop, queue, queue.waiting.popleft())

    def _ended(self, queue: _Queue, note: _Note) -> None:
        if note.ended:
            return
        # Cancelled: the loop comes to its end, and nothing new must begin in it.
        queue.at_work.discard(note)
        self._drop(note)
        while queue.waiting:
            self._drop(queue.waiting.popleft())

    def _drop(self, note: _Note) -> None:
        close = getattr(note.taking, "close", None)
        if close is not None:
            close()
        self._forgot()
