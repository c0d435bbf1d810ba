"""`SQLiteStore`: answers in memory and in one SQLite file, which survives restarts and is shared by processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.log import log
from resilient_ai._core.public import public

from ._file_owner import ForeignFileError
from ._memory import MemoryStore
from ._sqlite_file import AnswerFile, data_version, entry_of, is_broken, row_of, transaction
from ._store import Entry

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from ._store import Vector

_READ_SECONDS = 0.25  # most that a question waits for a write
_UNSAVED = 1_000
_FORGIVEN = (sqlite3.Error, OSError, ForeignFileError)


@public("similar")
class SQLiteStore:
    """
    A `MemoryStore` with a file. Questions are answered from memory; a partition is read from the file on first use.

    Several processes may share the file (WAL): each sees the others' answers, and what one forgets, all forget. A
    damaged file is renamed with a warning, and a new one is made. While the file cannot be written (full disk, lock
    held by another process), answers are kept in memory and written later.

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
        self._memory = MemoryStore(max_entries=max_entries, max_bytes=max_bytes)
        self._max_entries, self._max_bytes, self._max_age = max_entries, max_bytes, max_age
        self._lock = threading.RLock()  # a signal handler may read the counts in the middle of anything
        self._closed = False
        self._unsaved: deque[Entry] = deque(maxlen=_UNSAVED)
        self._touched: dict[tuple[str, str], float] = {}
        self._failing = False
        self.file_errors = 0
        self._forget_what_was_read()
        self._file = AnswerFile(self.path)
        self._generation = self._file.generation
        hold_while_forking(self, self._lock, rank=1, in_child=_in_child(weakref.ref(self)))
        with self._lock, self._forgiving((sqlite3.Error, OSError)):
            self._connection(warn=True)

    def _forget_what_was_read(self) -> None:
        self._read: dict[str, tuple[int, int]] = {}  # partition → (data version, last id)
        self._epoch: int | None = None

    def _connection(self, *, warn: bool = False) -> sqlite3.Connection:
        """The connection to the file. Needs the lock."""
        connection = self._file.connection(warn=warn)
        if self._generation != self._file.generation:
            self._generation = self._file.generation
            self._forget_what_was_read()
        return connection

    @contextlib.contextmanager
    def _forgiving(self, kinds: tuple[type[Exception], ...] = _FORGIVEN) -> Iterator[None]:
        """Count and log errors of the file, once until it works again; the memory serves on. Needs the lock."""
        try:
            yield
        except kinds as error:
            self.file_errors += 1
            if isinstance(error, sqlite3.Error) and is_broken(error):
                with contextlib.suppress(OSError, ForeignFileError):
                    self._file.set_aside()
            if not self._failing:
                cause = f"{type(error).__name__}: {error}"
                log("warning", "resilient_ai.store_failing", path=str(self.path), error=cause)
            self._failing = True
        else:
            self._failing = False

    # -- reading

    def ready(self, partition: str) -> bool:
        """Whether the partition is in memory, and no other process has written since."""
        known = self._read.get(partition) if self._generation == self._file.generation else None
        if known is None:
            return self._closed
        if not self._lock.acquire(blocking=False):
            return True  # a write is going on; the next question will see its answers
        try:
            return self._file.current is None or data_version(self._file.current) == known[0]
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
                    self._read_new(self._connection(), partition)
        finally:
            self._lock.release()

    def _read_new(self, file: sqlite3.Connection, partition: str) -> None:
        version = data_version(file)
        known, last = self._read.get(partition, (None, 0))
        if version == known:
            return
        (epoch,) = file.execute("SELECT max(number) FROM epochs").fetchone()
        if epoch != self._epoch:
            if self._epoch is not None:  # a process has forgotten answers: memory may still have them
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
        for number, *row in rows:
            last = max(last, number)
            try:
                entries.append(entry_of(partition, tuple(row)))
            except Exception:  # noqa: BLE001 - one row that cannot be read must not hide the others
                self.file_errors += 1
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
        """Put entries into memory, then into the file; those that cannot be written now are written later."""
        self._memory.put(entries)
        with self._lock:
            if self._closed:
                return
            self._unsaved.extend(entries)
            with self._forgiving():
                self._write(self._connection())

    def _write(self, file: sqlite3.Connection) -> None:
        now = datetime.now(UTC).timestamp()
        touched, self._touched = self._touched, {}  # other threads add to it meanwhile
        rows = []
        for entry in self._unsaved:
            try:
                rows.append(row_of(entry, now))
            except UnicodeEncodeError:  # it stays in memory, and must not keep the others out of the file
                self.file_errors += 1
        with transaction(file):
            file.executemany(
                "INSERT OR REPLACE INTO entries"
                " (partition, owner, key, at, used, size, vectors, answer, text, features)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
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
        """Delete entries of the owner with the most, least recently used first, until the bounds hold."""
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
        """Mark an entry as used; the file learns of it with the next write."""
        self._memory.touch(entry)
        if len(self._touched) < self._max_entries:
            self._touched[entry.partition, entry.key] = datetime.now(UTC).timestamp()

    def forget(self, owner: str | None) -> int:
        """
        Delete from memory and file, here and in every process that shares it.

        Raises:
            sqlite3.Error: The file could not be written; it still has the entries.
        """
        with self._lock:
            gone = self._memory.forget(owner)
            kept = [entry for entry in self._unsaved if owner is not None and entry.owner != owner]
            self._unsaved.clear()
            self._unsaved.extend(kept)
            if self._closed:
                return gone
            file = self._connection()
            with transaction(file):
                where, values = ("", ()) if owner is None else (" WHERE owner = ?", (owner,))
                deleted = file.execute(f"DELETE FROM entries{where}", values).rowcount  # noqa: S608 - no input in it
                file.execute("UPDATE epochs SET number = number + 1")
            self._forget_what_was_read()
            self._memory.forget(None)  # what is left in the file is read again when it is asked for
            with contextlib.suppress(sqlite3.Error):
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log has the entries too
            return max(gone, deleted)

    def close(self) -> None:
        """Write what waits and close the file; the entries in memory still answer."""
        with self._lock:
            if self._closed:
                return
            if self._unsaved or self._touched:
                with self._forgiving():
                    self._write(self._connection())
            self._closed = True
            self._file.drop()

    def __len__(self) -> int:
        """Entries in the file; those in memory while it cannot be read."""
        if self._lock.acquire(timeout=_READ_SECONDS):
            try:
                # No new connection: whoever reads the numbers changes nothing, and may be a signal handler.
                if self._file.current is not None and not self._closed:
                    with contextlib.suppress(sqlite3.Error):
                        count: int = self._file.current.execute("SELECT count(*) FROM entries").fetchone()[0]
                        return count
            finally:
                self._lock.release()
        return len(self._memory)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self.path.name}: {len(self)} of {self._max_entries} entries>"

    def leave_to_parent(self) -> None:
        """In a forked child: the connection and the entries to be written are the parent's."""
        self._file.leave_to_parent()
        self._unsaved.clear()
        self._touched.clear()
        self._forget_what_was_read()


def _in_child(store: weakref.ref[SQLiteStore]) -> Any:
    def in_child() -> None:
        mine = store()
        if mine is not None:
            mine.leave_to_parent()

    return in_child
