"""A list of all living objects of one kind, which does not keep them alive."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from .forks import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class LiveList(Generic[T]):
    """
    Weakly referenced objects. Thread-safe.

    Not a set: a wrapt proxy is equal to its function and has the same hash, so a WeakSet would keep only one of them.

    Attributes:
        lock: To be held while the objects are changed. Reentrant: the garbage collector may run code that adds objects
            meanwhile.
    """

    def __init__(self) -> None:
        self._references: list[weakref.ref[T]] = []
        self._free_lock()
        in_child(self._free_lock)

    def _free_lock(self) -> None:
        self.lock = threading.RLock()

    def add(self, each: T) -> None:
        """Add an object."""
        references = self._references
        with self.lock:
            if len(references) % 1_000 == 999:  # remove dead references, in case objects are made all the time
                references[:] = [each for each in references if each() is not None]
            references.append(weakref.ref(each))

    def __iter__(self) -> Iterator[T]:
        return (each for reference in self._references[:] if (each := reference()) is not None)
