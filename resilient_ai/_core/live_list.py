"""Everything of one kind that is still there, without keeping it."""

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
    Objects that are known as long as somebody else keeps them. Thread-safe.

    No set: a wrapt proxy is equal to its function and hashes like it, so that a WeakSet would take two for one.

    Attributes:
        lock: For whoever changes the objects. Reentrant: the garbage collector may run code that adds some while it is
            held.
    """

    def __init__(self) -> None:
        self._references: list[weakref.ref[T]] = []
        self._free_lock()
        in_child(self._free_lock)

    def _free_lock(self) -> None:
        self.lock = threading.RLock()

    def add(self, each: T) -> None:
        """Know one more."""
        references = self._references
        with self.lock:
            if len(references) % 1_000 == 999:  # objects that are made all the time must not fill the list
                references[:] = [each for each in references if each() is not None]
            references.append(weakref.ref(each))

    def __iter__(self) -> Iterator[T]:
        return (each for reference in self._references[:] if (each := reference()) is not None)
