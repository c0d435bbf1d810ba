"""`Threads`: a few daemon threads for work that may block; work that never ends does not cause more threads."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.tasks import current_loop, promise_class

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER = 0.5  # seconds that an idle thread waits for more work before it ends
_EXIT_WAITS = 5.0  # most seconds that the end of the process waits for running work


class Overloaded(Exception):  # noqa: N818 - never reaches a user
    """Too much work waits already."""


class Panic(Exception):  # noqa: N818 - never reaches a user
    """The work raised a BaseException, as a panic in a Rust extension does."""


_all: weakref.WeakSet[Threads] = weakref.WeakSet()


class Threads:
    """
    Runs functions in at most `most` threads. Thread-safe.

    The threads are daemons, started when there is work: a function that hangs occupies one of them, but does not
    prevent the process from ending, and does not cause more threads.

    Args:
        most: Most threads at a time.
        waiting: Most functions that may wait for a thread.
    """

    def __init__(self, *, most: int, waiting: int) -> None:
        self._most = most
        self._waiting = waiting
        self._queue: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._busy_since: dict[int, float] = {}  # thread → since when it runs one function
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False
        self._changed = threading.Condition()
        _all.add(self)
        hold_while_forking(self, self._changed, rank=5, in_child=_in_child(weakref.ref(self)))

    def stuck(self, seconds: float) -> bool:
        """Whether every thread has been running one function for longer than `seconds`."""
        with self._changed:
            latest = time.monotonic() - seconds
            return len(self._busy_since) >= self._most and all(since < latest for since in self._busy_since.values())

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """
        Queue a function.

        Returns:
            A future of its result; cancelling the future removes the function from the queue.

        Raises:
            Overloaded: The queue is full, or no thread can be started.
        """
        with self._changed:
            future: Future[Any] = Future()
            if len(self._queue) >= self._waiting:
                self._queue = deque(each for each in self._queue if not each[0].cancelled())
            if self._closed or len(self._queue) >= self._waiting:
                raise Overloaded
            if self._idle <= len(self._queue) and len(self._threads) < self._most:
                self._start()
            self._queue.append((future, function, args))
            self._changed.notify()
            return future

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="resilient_ai.similar.work", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads can be started, or the interpreter is shutting down
            if not self._threads:
                raise Overloaded from None
        else:
            self._threads.add(thread)

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            with self._changed:
                self._idle += 1
                if not self._queue and not self._closed:
                    self._changed.wait(_LINGER)
                self._idle -= 1
                if not self._queue:
                    self._threads.discard(threading.current_thread())
                    return
                future, function, args = self._queue.popleft()
                self._busy_since[me] = time.monotonic()
            deliver = _outcome(future, function, args)
            with self._changed:
                self._busy_since.pop(me, None)
            deliver()  # last, so that a caller that gets the result and then calls `close` finds no thread busy with it
            del future, function, args, deliver

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """
        Run a function in a thread; a cancelled caller does not wait for it.

        Raises:
            Overloaded: Too much work waits already.
        """
        future = self.submit(function, *args)
        loop = current_loop()
        promise = promise_class(loop)(loop=loop)
        call_soon = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe

        def wake() -> None:
            if not promise.done():
                promise.set_result(None)

        def ended(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                call_soon(wake)

        future.add_done_callback(ended)
        try:
            await promise
        finally:
            future.cancel()
        return future.result()

    def close(self, timeout: float) -> None:
        """
        Take no more work, and wait up to `timeout` seconds for the threads to end.

        Busy threads are waited for too: a thread in native code that outlives the interpreter crashes the process.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            for future, _, _ in self._queue:
                future.cancel()
            self._queue.clear()
            self._changed.notify_all()
            threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def finish(self, deadline: float) -> None:
        """Wait until no function is running, or until a time of `time.monotonic`."""
        with self._changed:
            busy = [thread for thread in self._threads if thread.ident in self._busy_since]
        for thread in busy:
            thread.join(max(0.0, deadline - time.monotonic()))

    def start_over(self) -> None:
        """In a forked child: the threads and their work exist in the parent only."""
        self._queue.clear()
        self._busy_since.clear()
        self._threads.clear()
        self._idle = 0


def _outcome(future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[], None]:
    """Call the function; returns a function that passes the outcome to the future."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, function(*args))
    except Exception as error:  # noqa: BLE001 - raised again where the result is awaited
        return partial(future.set_exception, error)
    except BaseException as error:  # noqa: BLE001 - it must end neither this thread nor the event loop that waits
        return partial(future.set_exception, Panic(type(error).__qualname__))


def _in_child(threads: weakref.ref[Threads]) -> Callable[[], None]:
    def in_child() -> None:
        mine = threads()
        if mine is not None:
            mine.start_over()

    return in_child


@atexit.register
def _finish_all() -> None:
    """
    Wait for running work before the process ends.

    The interpreter stops daemon threads. Stopping one inside a C++ library, for example while it loads a model, crashes
    the process with SIGABRT.
    """
    deadline = time.monotonic() + _EXIT_WAITS
    for threads in list(_all):
        threads.finish(deadline)
