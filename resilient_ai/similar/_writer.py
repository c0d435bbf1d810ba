"""Writing behind the caller's back: a bounded queue, and a thread that lives only while there is something in it."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._forks import hold_while_forking

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LINGER = 0.5  # seconds that the thread waits for more before it ends
_BATCH = 64


class Writer(Generic[T]):
    """
    Hands things to `work` in batches, in order, in a thread of its own.

    Args:
        work: Called with up to 64 things; must not raise, and must not keep the writer's owner alive.
        most: Things that may wait; when more come, the oldest are dropped and counted.
    """

    def __init__(self, work: Callable[[list[T]], None], *, most: int = 1_000) -> None:
        self._work = work
        self._queue: deque[T] = deque()
        self._most = most
        self.dropped = 0
        self._offered = self._settled = 0  # things ever; written or dropped
        self._changed = threading.Condition()
        hold_while_forking(self, self._changed, rank=0, in_child=_in_child(weakref.ref(self)))
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether something is not written yet."""
        return self._settled < self._offered

    def offer(self, thing: T) -> bool:
        """Take a thing, at once; False when this writer is closed."""
        with self._changed:
            if self._closed:
                return False
            if len(self._queue) >= self._most:
                self._queue.popleft()
                self.dropped += 1
                self._settled += 1
            self._queue.append(thing)
            self._offered += 1
            if self._thread is None:
                # A daemon: a process that ends waits in `flush` for a bounded time, and never for ever.
                self._thread = threading.Thread(target=self._run, name="resilient_ai.similar", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def flush(self, timeout: float) -> bool:
        """Wait until all that was offered before is written; False when that takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            last = self._offered
            return self._changed.wait_for(lambda: self._settled >= last, max(0.0, deadline - time.monotonic()))

    def close(self, timeout: float) -> bool:
        """Take nothing more, write what waits, and let the thread end; True when it has within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is None:
            return True
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._closed:
                    self._changed.wait(_LINGER)
                if not self._queue:
                    self._thread = None
                    self._changed.notify_all()
                    return
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                self._work(batch)
            finally:
                with self._changed:
                    self._settled += len(batch)
                    self._changed.notify_all()

    def start_over(self) -> None:
        """In a forked child: the thread stayed behind, and the queue is the parent's to write."""
        self._queue.clear()
        self._settled = self._offered
        self._thread = None


def _in_child(writer: weakref.ref[Writer[Any]]) -> Callable[[], None]:
    def in_child() -> None:
        mine = writer()
        if mine is not None:
            mine.start_over()

    return in_child
