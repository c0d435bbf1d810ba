"""
Descriptors of database files, kept open as long as a connection of this process may use the file.

POSIX releases all locks of a process on a file when the process closes any descriptor of that file. SQLite handles that
for its own descriptors, but does not know ours: if we open and close a file that another memory of this process uses,
other processes lose its locks. (SQLite, "How To Corrupt An SQLite Database File", section 2.2.)
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from resilient_ai._core.forks import hold_while_forking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Identity = tuple[int, int]
    """Device and inode."""


class HeldFile:
    """
    One use of a file. It ends with `release`, or when the object is garbage-collected.

    Attributes:
        descriptor: A shared descriptor for reading and writing. Do not close it, and do not rely on its position.
    """

    __slots__ = ("_held", "_identity", "descriptor")

    def __init__(self, held: _HeldFiles, identity: Identity, descriptor: int) -> None:
        self._held: _HeldFiles | None = held
        self._identity = identity
        self.descriptor = descriptor

    @property
    def inode(self) -> int:
        """The inode of the file."""
        return self._identity[1]

    def first_bytes(self, count: int) -> bytes:
        """The first bytes of the file."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, count, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return os.read(self.descriptor, count)

    def release(self) -> None:
        """End this use: the connection is closed, or none was made."""
        held, self._held = self._held, None
        if held is not None:
            held.release(self._identity)

    def __del__(self) -> None:
        if (held := self._held) is not None:
            held.release_later(self._identity)


class _HeldFiles:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptors: dict[Identity, list[int]] = {}
        self._uses: dict[Identity, int] = {}
        # From garbage-collected objects: the collector may run while the lock is held.
        self._unreleased: deque[Identity] = deque()
        hold_while_forking(self, self._lock, rank=9)

    def hold(self, path: Path, open_file: Callable[[], int]) -> HeldFile:
        """
        Keep a file open.

        Args:
            path: The file; it may be missing.
            open_file: Opens it, and makes it if it is missing. Called only when this process does not hold it.
        """
        with self._lock:
            self._release_garbage()
            identity = _identity_at(path)
            if identity is None or identity not in self._uses:
                descriptor = open_file()
                identity = _identity(os.fstat(descriptor))
                # If the file was moved to this path just now, another descriptor is already held.
                self._descriptors.setdefault(identity, []).append(descriptor)
            self._uses[identity] = self._uses.get(identity, 0) + 1
            return HeldFile(self, identity, self._descriptors[identity][0])

    def release(self, identity: Identity) -> None:
        """End one use."""
        with self._lock:
            self._release(identity)
            self._release_garbage()

    def release_later(self, identity: Identity) -> None:
        """End one use; the descriptor is closed at the next `hold` or `release`."""
        self._unreleased.append(identity)

    def _release_garbage(self) -> None:
        while self._unreleased:
            self._release(self._unreleased.popleft())

    def _release(self, identity: Identity) -> None:
        self._uses[identity] -= 1
        if not self._uses[identity]:
            del self._uses[identity]
            for descriptor in self._descriptors.pop(identity):
                os.close(descriptor)


def _identity_at(path: Path) -> Identity | None:
    try:
        return _identity(path.lstat())
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


HELD_FILES: Final = _HeldFiles()
