"""State that belongs to one event loop, for code that is called from several loops, in turn or at the same time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from .forks import in_child
from .tasks import is_closed

T = TypeVar("T")

# One lock for all: it is taken only if a call comes from another loop than the one before. Reentrant, because the
# garbage collector may end a call, which then comes here, while its thread holds the lock.
_lock = threading.RLock()


def _free_lock() -> None:
    global _lock
    _lock = threading.RLock()


in_child(_free_lock)


class PerLoop(Generic[T]):
    """
    One value for each event loop, forgotten when the loop is closed or garbage-collected. Thread-safe.

    Args:
        make: Called with a loop, makes its value. A value that refers to its loop keeps the loop alive until it is
            closed and another loop calls.
        forgotten: Called with each value whose loop has ended, when another loop calls for the first time.

    Attributes:
        latest: The latest value returned; None before the first. For callers that can tell its loop from it.
    """

    __slots__ = ("_forgotten", "_latest_loop", "_make", "_values", "latest")

    def __init__(self, make: Callable[[Any], T], forgotten: Callable[[T], None] | None = None) -> None:
        self._make = make
        self._forgotten = forgotten
        self._values: tuple[tuple[Callable[[], Any], T], ...] = ()
        self._latest_loop: Callable[[], Any] = _none
        self.latest: T | None = None

    def of(self, loop: Any) -> T:
        """The value of a running loop."""
        gone: list[tuple[Callable[[], Any], T]] = []
        with _lock:
            if self.latest is not None and self._latest_loop() is loop:
                return self.latest
            found = next((each for each in self._values if each[0]() is loop), None)
            if found is None:
                live: list[tuple[Callable[[], Any], T]] = []
                for each in self._values:
                    (gone if _has_ended(each[0]) else live).append(each)
                found = weakref.ref(loop), self._make(loop)
                self._values = (*live, found)
            self._latest_loop, self.latest = found
        if self._forgotten is not None:
            for _, value in gone:
                self._forgotten(value)
        return found[1]

    def every(self) -> Iterator[T]:
        """All values. For finalizers, because the garbage collector clears weak references to what it collects."""
        return (value for _, value in self._values)

    def live(self) -> Iterator[T]:
        """The values of loops in which something may still run."""
        with _lock:  # wait for a value that is being made
            values = self._values
        return (value for reference, value in values if not _has_ended(reference))


def _has_ended(reference: Callable[[], Any]) -> bool:
    loop = reference()
    return loop is None or is_closed(loop)


def _none() -> None:
    """No loop has called yet."""
