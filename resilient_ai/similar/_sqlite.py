"""Answers in one SQLite file beside the memory: they survive restarts and crashes, and processes share them."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import warnings
import weakref
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ._forks import hold_while_forking
from ._memory import MemoryStore
from ._store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
_READ_SECONDS = 0.25  # that a question waits for a write
_UNSAVED = 1_000
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_logger = structlog.stdlib.get_logger("resilient_ai")


class SQLiteStore:
    """
    A `MemoryStore` with a file behind it. Questions are answered from memory; a partition is read when first asked for.

    Several processes may share the file (WAL): each sees the others' answers, and what one forgets, all forget. A
    file that is damaged is set aside under another name with a warning, and a new one begun. While the file cannot
    be written (a full disk, a lock that stays), answers are kept in memory, and written later.

    Args:
        path: The file; its folder must exist. Made with mode 0600.
        max_entries: Most answers in the file.
        max_bytes: Most bytes of answers, texts and vectors.
        max_age: Seconds after which an answer is deleted; None: never for its age.

    Raises:
        OSError: The folder is missing, or the file may not be opened.
        ValueError: `path` is empty or ":memory:", or the file is a newer version's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 << 20,
        max_age: float | None = None,
    ) -> None:
        if os.fspath(path) in ("", ":memory:"):
            raise ValueError(f"path must name a file, got {os.fspath(path)!r}; leave it out to keep answers in memory")
        self.path = Path(path).absolute()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"the folder of {self.path} does not exist; make it first")
        self._memory = MemoryStore(max_entries=max_entries, max_bytes=max_bytes)
        self._max_entries, self._max_bytes, self._max_age = max_entries, max_bytes, max_age
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._inode = 0
        self._closed = False
        self._left_to_parent: list[sqlite3.Connection | None] = []
        self._unsaved: deque[Entry] = deque(maxlen=_UNSAVED)
        self._touched: dict[tuple[str, str], float] = {}
        self._failing = False
        self.file_errors = 0
        self._forget_what_was_read()
        hold_while_forking(self, self._lock, rank=1, in_child=_in_child(weakref.ref(self)))
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._lock, self._forgiving():
            self._open(warn=True)

    def _forget_what_was_read(self) -> None:
        self._read: dict[str, tuple[int, int]] = {}  # partition → (data version, last id)
        self._epoch: int | None = None

    # -- the file

    def _open(self, *, warn: bool = False) -> sqlite3.Connection:
        """The connection, made new when the file was replaced. Needs the lock."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            inode = self.path.stat().st_ino
        if self._file is not None and inode == self._inode:
            return self._file
        self._drop_file()
        try:
            self._file = self._connected()
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            self._set_aside(inode, warn=warn)
            self._file = self._connected()
        self._inode = self.path.stat().st_ino
        return self._file

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

    def _set_aside(self, inode: int, *, warn: bool = False) -> None:
        """Give a damaged file another name, unless another process already did. Needs the lock."""
        self._drop_file()
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == inode:
                aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
                for ending in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
                _logger.warning("resilient_ai.store_set_aside", path=str(self.path), aside=aside)
                if warn:
                    warnings.warn(f"{self.path} is damaged: set aside as {aside}, begun anew", stacklevel=6)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        self._forget_what_was_read()
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Whatever the file does, the memory goes on; told once until it works again. Needs the lock."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.file_errors += 1
            if isinstance(error, sqlite3.DatabaseError) and _is_broken(error):
                with contextlib.suppress(OSError):
                    self._set_aside(self._inode)
            if not self._failing:
                cause = f"{type(error).__name__}: {error}"
                _logger.warning("resilient_ai.store_failing", path=str(self.path), error=cause)
            self._failing = True
        else:
            self._failing = False

    # -- reading

    def ready(self, partition: str) -> bool:
        """Whether the partition is in memory, and nobody else has written since."""
        known = self._read.get(partition)
        if known is None:
            return self._closed
        if not self._lock.acquire(blocking=False):
            return True  # being written; what came a moment ago is found a moment later
        try:
            return self._file is None or _data_version(self._file) == known[0]
        except sqlite3.Error:
            return False
        finally:
            self._lock.release()

    def _catch_up(self, partition: str) -> None:
        """Bring the memory up to date with the file."""
        if not self._lock.acquire(timeout=_READ_SECONDS):
            return
        try:
            with self._forgiving():
                if not self._closed:
                    self._read_new(self._open(), partition)
        finally:
            self._lock.release()

    def _read_new(self, file: sqlite3.Connection, partition: str) -> None:
        version = _data_version(file)
        known, last = self._read.get(partition, (None, 0))
        if version == known:
            return
        epoch = file.execute("SELECT number FROM epochs").fetchone()[0]
        if epoch != self._epoch:
            if self._epoch is not None:  # somebody forgot something: what is in memory may be what it was
                self._memory.forget(None)
                self._read.clear()
                last = 0
            self._epoch = epoch
        rows = file.execute(
            "SELECT id, owner, key, at, vectors, answer, text, features FROM entries"
            " WHERE partition = ? AND id > ? ORDER BY id",
            (partition, last),
        )
        entries = []
        for number, owner, key, at, vectors, answer, text, features in rows:
            entries.append(Entry(partition, owner, key, _unpacked(vectors), answer, at, text, features))
            last = number
        self._memory.put(entries)
        self._read[partition] = (version, last)

    def exact(self, partition: str, key: str) -> Entry | None:
        if not self.ready(partition):
            self._catch_up(partition)
        return self._memory.exact(partition, key)

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        if not self.ready(partition):
            self._catch_up(partition)
        return self._memory.nearest(partition, embedder, vector, at_least, limit)

    # -- writing

    def put(self, entries: Sequence[Entry]) -> None:
        """Into memory at once, then into the file; what the file does not take now, it is offered again."""
        self._memory.put(entries)
        with self._lock:
            if self._closed:
                return
            self._unsaved.extend(entries)
            with self._forgiving():
                self._write(self._open())

    def _write(self, file: sqlite3.Connection) -> None:
        now = datetime.now(UTC).timestamp()
        touched, self._touched = self._touched, {}  # the other threads go on touching
        with _transaction(file):
            file.executemany(
                "INSERT OR REPLACE INTO entries"
                " (partition, owner, key, at, used, size, vectors, answer, text, features)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (e.partition, e.owner, e.key, e.at, now, e.size, _packed(e.vectors), e.answer, e.text, e.features)
                    for e in self._unsaved
                ],
            )
            file.executemany(
                "UPDATE entries SET used = ? WHERE partition = ? AND key = ?",
                [(used, *place) for place, used in touched.items()],
            )
            if self._max_age is not None and self._unsaved:
                newest = max(entry.at for entry in self._unsaved)
                file.execute("DELETE FROM entries WHERE at < ?", (newest - self._max_age,))
            self._make_room(file)
        self._unsaved.clear()

    def _make_room(self, file: sqlite3.Connection) -> None:
        """The owner with the most entries gives way, its longest unused first."""
        while True:
            count, size = file.execute("SELECT count(*), total(size) FROM entries").fetchone()
            if count <= self._max_entries and (size <= self._max_bytes or not count):
                return
            sizes = file.execute(
                "SELECT owner, count(*) FROM entries GROUP BY owner ORDER BY count(*) DESC LIMIT 2"
            ).fetchall()
            lead = sizes[0][1] - sizes[1][1] + 1 if len(sizes) > 1 else count
            excess = max(count - self._max_entries, int(count * (1 - self._max_bytes / size)) if size else 0, 1)
            file.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE owner = ? ORDER BY used, id LIMIT ?)",
                (sizes[0][0], min(excess, lead)),
            )

    def touch(self, entry: Entry) -> None:
        """It was of use; the file hears of it with the next write."""
        self._memory.touch(entry)
        if len(self._touched) < self._max_entries:
            self._touched[entry.partition, entry.key] = datetime.now(UTC).timestamp()

    def forget(self, owner: str | None) -> int:
        """
        Delete from memory and file, here and in every process that shares it.

        Raises:
            sqlite3.Error: The file could not be written, so that it is not forgotten there.
        """
        with self._lock:
            gone = self._memory.forget(owner)
            kept = [entry for entry in self._unsaved if owner is not None and entry.owner != owner]
            self._unsaved.clear()
            self._unsaved.extend(kept)
            if self._closed:
                return gone
            file = self._open()
            with _transaction(file):
                where, values = ("", ()) if owner is None else (" WHERE owner = ?", (owner,))
                deleted = file.execute(f"DELETE FROM entries{where}", values).rowcount  # noqa: S608 - no input in it
                file.execute("UPDATE epochs SET number = number + 1")
            self._forget_what_was_read()
            self._memory.forget(None)  # read again when asked for, without what is gone
            with contextlib.suppress(sqlite3.Error):
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log held it, too
            return max(gone, deleted)

    def close(self) -> None:
        """Write what waits and close the file; the memory still answers."""
        with self._lock:
            if self._closed:
                return
            if self._unsaved or self._touched:
                with self._forgiving():
                    self._write(self._open())
            file, self._file = self._file, None
            self._closed = True
            if file is not None:
                with contextlib.suppress(sqlite3.Error):
                    file.close()

    def __len__(self) -> int:
        """Entries in the file; those in memory while it cannot be read."""
        if self._lock.acquire(timeout=_READ_SECONDS):
            try:
                if not self._closed:
                    with contextlib.suppress(sqlite3.Error, OSError):
                        count: int = self._open().execute("SELECT count(*) FROM entries").fetchone()[0]
                        return count
            finally:
                self._lock.release()
        return len(self._memory)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self.path.name}: {len(self)} of {self._max_entries} entries>"

    def leave_to_parent(self) -> None:
        """In a forked child: the connection is the parent's and must be neither used nor closed."""
        self._left_to_parent.append(self._file)
        self._file = None
        self._unsaved.clear()
        self._touched.clear()
        self._forget_what_was_read()


def _in_child(store: weakref.ref[SQLiteStore]) -> Any:
    def in_child() -> None:
        mine = store()
        if mine is not None:
            mine.leave_to_parent()

    return in_child


@contextlib.contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nothing left open."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the file itself may be what is broken
            file.rollback()
        raise


def _data_version(file: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    version: int = file.execute("PRAGMA data_version").fetchone()[0]
    return version


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN or isinstance(error, _BrokenFileError)


class _BrokenFileError(sqlite3.DatabaseError):
    pass


def _broken(found: str) -> _BrokenFileError:
    return _BrokenFileError(found)


def _packed(vectors: Mapping[str, Vector]) -> bytes:
    """A line of JSON that names the vectors and their lengths, then their numbers, little-endian."""
    head = json.dumps({name: len(vector) for name, vector in vectors.items()})
    return head.encode() + b"\n" + b"".join(vector.astype("<f4").tobytes() for vector in vectors.values())


def _unpacked(packed: bytes) -> dict[str, Vector]:
    import numpy as np

    head, _, body = packed.partition(b"\n")
    vectors: dict[str, Vector] = {}
    offset = 0
    for name, length in json.loads(head).items():
        vectors[name] = np.frombuffer(body, dtype="<f4", count=length, offset=offset).astype(np.float32)
        offset += 4 * length
    return vectors
