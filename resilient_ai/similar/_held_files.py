"""
Descriptors of database files, kept open as long as a connection of this process may use the file.

POSIX takes all locks of a process on a file away when it closes any descriptor of that file. SQLite minds that among
its own descriptors, but knows nothing of ours: a look into a file that another memory of this process has open would
let other processes take it for closed. (SQLite, "How To Corrupt An SQLite Database File", section 2.2.)
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
    One use of a file. It ends with `release`, or when nobody has it any more.

    Attributes:
        descriptor: Opened for reading and writing. Others use it too: nobody may close it or go by its position.
    """

    __slots__ = ("_held", "_identity", "descriptor")

    def __init__(self, held: _HeldFiles, identity: Identity, descriptor: int) -> None:
        self._held: _HeldFiles | None = held
        self._identity = identity
        self.descriptor = descriptor

    @property
    def inode(self) -> int:
        """Of the file."""
        return self._identity[1]

    def first_bytes(self, count: int) -> bytes:
        """What the file begins with."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, count, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return os.read(self.descriptor, count)

    def release(self) -> None:
        """The connection is closed, or none was made."""
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
        self._unreleased: deque[Identity] = deque()  # of garbage, which may be collected while the lock is held
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
                # There is another one already, if the file came to this path only now.
                self._descriptors.setdefault(identity, []).append(descriptor)
            self._uses[identity] = self._uses.get(identity, 0) + 1
            return HeldFile(self, identity, self._descriptors[identity][0])

    def release(self, identity: Identity) -> None:
        """One use is over."""
        with self._lock:
            self._release(identity)
            self._release_garbage()

    def release_later(self, identity: Identity) -> None:
        """One use is over; the descriptor is closed when somebody holds or releases a file."""
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
