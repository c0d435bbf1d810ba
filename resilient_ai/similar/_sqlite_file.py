"""`AnswerFile`: the SQLite file of a store: created, opened, checked, and set aside when it is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._store import Vector

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL,
    at REAL NOT NULL, used REAL NOT NULL, size INTEGER NOT NULL, vectors BLOB NOT NULL, answer TEXT NOT NULL,
    text TEXT, features TEXT, UNIQUE (partition, key)
);
CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, used, size);
CREATE INDEX IF NOT EXISTS by_age ON entries (at);
CREATE TABLE IF NOT EXISTS epochs (number INTEGER NOT NULL);
INSERT INTO epochs SELECT 0 WHERE NOT EXISTS (SELECT * FROM epochs);
PRAGMA user_version = 1;
"""
_VERSION = 1
_BUSY_SECONDS = 2.0  # that a write waits for another process
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_logger = structlog.stdlib.get_logger("resilient_ai")


class AnswerFile:
    """
    The file and its connection. Not thread-safe: its store has a lock.

    Attributes:
        path: The file.
        current: The connection; None while there is none.
        generation: Counts connections; rows read through an earlier one may be gone.

    Raises:
        OSError: The folder is missing, or the file may not be opened.
        ValueError: The file was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: sqlite3.Connection | None = None
        self.generation = 0
        self._inode = 0
        self._left_to_parent: list[sqlite3.Connection | None] = []
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder of {path} does not exist; make it first")
        self._create()

    def _create(self) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))

    def connection(self, *, warn: bool = False) -> sqlite3.Connection:
        """
        The connection, opened anew when the file was replaced.

        Args:
            warn: Issue a warning when the file is damaged and set aside; it is logged in any case.
        """
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            self._create()
            inode = self.path.stat().st_ino
        if self.current is not None and inode == self._inode:
            return self.current
        self.drop()
        try:
            self.current = self._connected()
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            self._set_aside(inode, warn=warn)
            self.current = self._connected()
        self._inode = self.path.stat().st_ino
        return self.current

    def _connected(self) -> sqlite3.Connection:
        with contextlib.suppress(OSError):
            self.path.chmod(0o600)
        file = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise ValueError(f"{self.path} was written by a newer version of resilient_ai; give another path")
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
            found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _broken(found)
            if version < _VERSION:
                file.executescript(_SCHEMA)
            file.execute("SELECT id, partition, owner, key, at, used, size, vectors FROM entries LIMIT 1")
        except BaseException:
            file.close()
            raise
        return file

    def set_aside(self) -> None:
        """Rename the open file because it is damaged; the next connection makes a new one."""
        self._set_aside(self._inode, warn=False)

    def _set_aside(self, inode: int, *, warn: bool) -> None:
        """Rename a damaged file, unless another process already did."""
        self.drop()
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == inode:
                aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
                for ending in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
                _logger.warning("resilient_ai.store_set_aside", path=str(self.path), aside=aside)
                if warn:
                    warnings.warn(f"{self.path} is damaged: set aside as {aside}, begun anew", stacklevel=7)
        self._create()

    def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self.current = self.current, None
        self.generation += 1
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the connection is the parent's, and must be neither used nor closed here."""
        self._left_to_parent.append(self.current)
        self.current = None
        self.generation += 1


@contextlib.contextmanager
def transaction(file: sqlite3.Connection) -> Iterator[None]:
    """Commit everything or nothing."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the file itself may be broken
            file.rollback()
        raise


def data_version(file: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    version: int = file.execute("PRAGMA data_version").fetchone()[0]
    return version


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the error means that the file is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN or isinstance(error, _BrokenFileError)


class _BrokenFileError(sqlite3.DatabaseError):
    pass


def _broken(found: str) -> _BrokenFileError:
    return _BrokenFileError(found)


def packed(vectors: Mapping[str, Vector]) -> bytes:
    """A line of JSON with the names and lengths of the vectors, then their numbers, little-endian."""
    head = json.dumps({name: len(vector) for name, vector in vectors.items()})
    return head.encode() + b"\n" + b"".join(vector.astype("<f4").tobytes() for vector in vectors.values())


def unpacked(blob: bytes) -> dict[str, Vector]:
    import numpy as np

    head, _, body = blob.partition(b"\n")
    vectors: dict[str, Vector] = {}
    offset = 0
    for name, length in json.loads(head).items():
        vectors[name] = np.frombuffer(body, dtype="<f4", count=length, offset=offset).astype(np.float32)
        offset += 4 * length
    return vectors
