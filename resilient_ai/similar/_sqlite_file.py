"""`AnswerFile`: the SQLite file of a store: created, opened, checked, and set aside when it is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_ai._core.log import log

from ._file_owner import ForeignFileError, claim, is_damaged
from ._store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._store import Vector

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL,
    at REAL NOT NULL, used REAL NOT NULL, size INTEGER NOT NULL, vectors BLOB NOT NULL, answer TEXT NOT NULL,
    text TEXT, features TEXT, UNIQUE (partition, key)
);
CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, used, size);
CREATE INDEX IF NOT EXISTS by_age ON entries (at);
CREATE TABLE IF NOT EXISTS epochs (number INTEGER NOT NULL);
INSERT INTO epochs SELECT 0 WHERE NOT EXISTS (SELECT * FROM epochs);
PRAGMA user_version = 2;
PRAGMA application_id = 1380010323;
COMMIT;
"""
_VERSION = 2
_BUSY_SECONDS = 2.0  # that a write waits for another process
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class AnswerFile:
    """
    The file and its connection. Not thread-safe: its store has a lock.

    Attributes:
        path: The file.
        current: The connection; None while there is none.
        generation: Counts connections; rows read through an earlier one may be gone.

    Raises:
        OSError: The folder is missing, or the file may not be opened.
        ValueError: Something is at the path that is not ours, or the file was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: sqlite3.Connection | None = None
        self.generation = 0
        self._inode = 0
        self._left_to_parent: list[sqlite3.Connection | None] = []
        claim(path)

    def connection(self, *, warn: bool = False) -> sqlite3.Connection:
        """
        The connection, opened anew when the file was replaced.

        Args:
            warn: Issue a warning when the file is damaged and set aside; it is logged in any case.

        Raises:
            ForeignFileError: What is at the path now is not ours.
        """
        if self.current is not None and self._inode == self._inode_at_path():
            return self.current
        self.drop()
        inode, empty = claim(self.path)
        try:
            self.current = self._connected(inode, empty=empty)
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            self._set_aside(inode, warn=warn)
            inode, empty = claim(self.path)
            self.current = self._connected(inode, empty=empty)
        self._inode = inode
        return self.current

    def _inode_at_path(self) -> int:
        try:
            return self.path.lstat().st_ino
        except FileNotFoundError:
            return 0

    def _connected(self, inode: int, *, empty: bool) -> sqlite3.Connection:
        # `mode=rw` makes no file: what is opened has been checked, or is missing.
        file = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if self._inode_at_path() != inode:
                raise ForeignFileError(f"{self.path} was replaced while it was being opened")
            file.text_factory = _text
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if empty or (version == 0 and file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0):
                # Before the log is switched on, so that the file itself says whose it is.
                file.executescript(_SCHEMA)
                version = _VERSION
            if version != _VERSION:
                other = "a newer" if version > _VERSION else "an older"
                raise ForeignFileError(f"{self.path} was written by {other} version of resilient_ai; give another path")
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
            file.execute("PRAGMA trusted_schema = OFF")  # a planted view or trigger must call no function
            found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _broken(found)
            file.execute("SELECT id, partition, owner, key, at, used, size, vectors FROM entries LIMIT 1")
        except BaseException:
            file.close()
            raise
        return file

    def set_aside(self) -> None:
        """Rename the open file because it is damaged; the next connection makes a new one."""
        self._set_aside(self._inode, warn=False)

    def _set_aside(self, inode: int, *, warn: bool) -> None:
        """Rename a damaged file of ours, unless another process already did."""
        self.drop()
        if self._inode_at_path() != inode:
            return
        if not is_damaged(self.path, inode):
            raise ForeignFileError(f"{self.path} holds something else now; give another path")
        aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
        log("warning", "resilient_ai.store_set_aside", path=str(self.path), aside=aside)
        if warn:
            warnings.warn(f"{self.path} is damaged: set aside as {aside}, begun anew", stacklevel=7)

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


def _text(data: bytes) -> str | bytes:
    """A text of the file; bytes that are no text stay bytes, so that their row alone is unreadable."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def row_of(entry: Entry, now: float) -> tuple[Any, ...]:
    """
    The row for an entry.

    Raises:
        UnicodeEncodeError: A text in it has a lone surrogate, which no file takes.
    """
    for each in (entry.owner, entry.key, entry.answer, entry.text or "", entry.features or ""):
        each.encode()
    e = entry
    return e.partition, e.owner, e.key, e.at, now, e.size, packed(e.vectors), e.answer, e.text, e.features


def packed(vectors: Mapping[str, Vector]) -> bytes:
    """A line of JSON with the names and lengths of the vectors, then their numbers, little-endian."""
    head = json.dumps({name: len(vector) for name, vector in vectors.items()})
    return head.encode() + b"\n" + b"".join(vector.astype("<f4").tobytes() for vector in vectors.values())


def entry_of(partition: str, row: tuple[Any, ...]) -> Entry:
    """
    The entry in a row of the file.

    Raises:
        ValueError: The row does not hold one: a flipped bit, or somebody else wrote it.
    """
    owner, key, at, vectors, answer, text, features = row
    texts = (owner, key, answer, *(each for each in (text, features) if each is not None))
    if not all(isinstance(each, str) for each in texts) or not isinstance(at, float) or not isinstance(vectors, bytes):
        raise ValueError("a value of another type")
    return Entry(partition, owner, key, _unpacked(vectors), answer, at, text, features)


def _unpacked(blob: bytes) -> dict[str, Vector]:
    import numpy as np

    head, _, body = blob.partition(b"\n")
    lengths = json.loads(head)
    if not isinstance(lengths, dict):
        raise ValueError("no lengths of vectors")
    vectors: dict[str, Vector] = {}
    offset = 0
    for name, length in lengths.items():
        vector = np.frombuffer(body, dtype="<f4", count=length, offset=offset).astype(np.float32)
        # Of length 1, or nothing at all: anything else would be nearer to every question than it may be.
        if not np.isfinite(vector).all() or abs(float(vector @ vector) - 1.0) > 0.01:
            raise ValueError("a vector that is not of length 1")
        vectors[name] = vector
        offset += 4 * length
    return vectors
