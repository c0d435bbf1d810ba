"""`Writer`: a bounded queue, with a background thread that runs only while the queue is not empty."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from resilient_ai._core.forks import hold_while_forking

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LINGER = 0.5  # seconds that the thread waits for more before it ends
_BATCH = 64


class Writer(Generic[T]):
    """
    Passes items to `work` in batches, in order, in a thread of its own.

    Args:
        work: Called with up to 64 items. Its errors are counted, and do not end the thread. Must not keep the
            writer's owner alive.
        most: Most waiting items; after that the oldest are dropped and counted. Default 1,000.

    Attributes:
        dropped: Items dropped because too many waited.
        failed: Items in batches whose `work` raised.
    """

    def __init__(self, work: Callable[[list[T]], None], *, most: int = 1_000) -> None:
        self._work = work
        self._queue: deque[T] = deque()
        self._most = most
        self.dropped = self.failed = 0
        self._offered = self._settled = 0  # number of items offered so far, and of those written or dropped
        self._changed = threading.Condition()
        hold_while_forking(self, self._changed, rank=0, in_child=_in_child(weakref.ref(self)))
        self._thread: threading.Thread | None = None
        self._closed = False
        self._at_end: Callable[[], None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether there are items that are not written yet."""
        return self._settled < self._offered

    def offer(self, item: T) -> bool:
        """Queue an item without waiting; False if the writer is closed."""
        with self._changed:
            if self._closed:
                return False
            if len(self._queue) >= self._most:
                self._queue.popleft()
                self.dropped += 1
                self._settled += 1
            self._queue.append(item)
            self._offered += 1
            if self._thread is None:
                # A daemon thread: at exit the process waits in `close` for a bounded time, but not for the thread
                # itself.
                thread = threading.Thread(target=self._run, name="resilient_ai.similar", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no thread can be started now; the next item tries again
                    return True
                self._thread = thread
            self._changed.notify_all()
            return True

    def flush(self, timeout: float) -> bool:
        """Wait until all items offered so far are written; False if that takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            last = self._offered
            return self._changed.wait_for(lambda: self._settled >= last, max(0.0, deadline - time.monotonic()))

    def close(self, timeout: float, then: Callable[[], None] | None = None) -> bool:
        """
        Refuse new items, write the queue and end the thread.

        Args:
            timeout: Seconds to wait for that.
            then: Called once after the last item, in this thread or the writer's.

        Returns:
            Whether the thread has ended.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            thread = self._thread
            self._at_end = then
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = thread is None or not thread.is_alive()
        if ended:
            self._end()
        return ended

    def _end(self) -> None:
        with self._changed:
            then, self._at_end = self._at_end, None
        if then is not None:
            then()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._closed:
                    self._changed.wait(_LINGER)
                if not self._queue:
                    self._thread = None
                    self._changed.notify_all()
                    break
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                self._work(batch)
            except BaseException:  # noqa: BLE001 - a panic in an extension, say; the next batch must still be written
                self.failed += len(batch)
            count = len(batch)
            del batch  # do not keep questions here while the thread waits for more
            with self._changed:
                self._settled += count
                self._changed.notify_all()
        if self._closed:
            self._end()

    def start_over(self) -> None:
        """In a forked child: the thread exists in the parent only, and the parent writes the queue."""
        self._queue.clear()
        self._settled = self._offered
        self._thread = None


def _in_child(writer: weakref.ref[Writer[Any]]) -> Callable[[], None]:
    def in_child() -> None:
        mine = writer()
        if mine is not None:
            mine.start_over()

    return in_child
