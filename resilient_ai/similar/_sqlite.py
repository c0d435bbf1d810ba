"""`SQLiteStore`: answers in memory and in one SQLite file, which survives restarts and may be shared by processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.log import log
from resilient_ai._core.public import public

from ._file_owner import ForeignFileError
from ._memory import MemoryStore
from ._sqlite_file import AnswerFile, data_version, is_broken, patiently, transaction
from ._sqlite_room import make_room
from ._sqlite_rows import COLUMNS, INSERT, entry_of, row_of
from ._sqlite_search import FileSearch

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from ._store import Entry, Vector

_IN_MEMORY = 20_000  # up to so many entries of a file are kept in memory too
_READ_SECONDS = 0.25  # most that a question waits for a write
_SEARCH_SECONDS = 2.0  # the same where answers are in the file alone
_WRITE_SECONDS = 30.0  # that a write waits for other processes
_END_SECONDS = 2.0  # the same for the last one
_FORGET_SECONDS = 5.0  # the same for each part of what is forgotten
_PART, _PART_PAUSE_SECONDS = 5_000, 0.01  # entries deleted at a time: other processes write in between
_UNSAVED = 1_000  # entries kept for later while the file cannot be written
_TOUCHED = 10_000  # entries marked as used since the last write
_PARTITIONS = 20_000  # of which it is known what has been read
_FORGIVEN = (sqlite3.Error, OSError, ForeignFileError)


@public("similar")
class SQLiteStore:
    """
    Answers in a file, for a restart and for other processes.

    Up to `max_entries=20_000`, questions are answered from memory: a partition is read from the file on first use.
    With more, answers stay in the file, and memory has about 64 bytes for each answer of the partitions asked for.
    Figures for a million: `tests/bench/README.md`.

    Several processes may share the file (WAL): each sees the others' answers, and what one forgets, all forget. A
    damaged file is renamed, and a new one is made; with a warning where it is found at the start, when up to 64 MiB
    are checked. While the file cannot be written (full disk, lock held by another process for 30 seconds), up to
    1,000 answers are kept in memory and written later.

    Args:
        path: The file; its folder must exist. Made with mode 0600.
        max_entries: Most answers in the file. Default 10,000.
        max_bytes: Most bytes of answers, texts and vectors. Default 64 MiB.
        max_age: Seconds after which an answer is deleted. Default None: never for its age.

    Raises:
        OSError: The folder is missing, or the file may not be opened.
        ValueError: `path` is empty or ":memory:", or the file is a newer version's.

    Attributes:
        file_errors: Times that the file, or a row of it, could not be read or written.
        dropped: Answers lost because the file could not be written and too many waited.
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
        self._search: FileSearch | None = None
        if max_entries > _IN_MEMORY:
            self._search = FileSearch(self._reading, self._unreadable)  # and nothing is put into the memory
        self._max_entries, self._max_bytes, self._max_age = max_entries, max_bytes, max_age
        self._lock = threading.RLock()  # reentrant: a signal handler may read the counts at any time
        self._closed = False
        self._unsaved: list[Entry] = []
        self._touched: dict[tuple[str, str], float] = {}
        self._failing = False
        self.file_errors = self.dropped = 0
        self._forget_what_was_read()
        self._file = AnswerFile(self.path)
        self._generation = self._file.generation
        hold_while_forking(self, self._lock, rank=1, in_child=_in_child(weakref.ref(self)))
        with self._lock, self._forgiving((sqlite3.Error, OSError)):
            self._connection(warn=True)

    def _forget_what_was_read(self) -> None:
        self._read: dict[str, tuple[int, int]] = {}  # partition → (data version, last id)
        self._epoch: int | None = None
        if self._search is not None:
            self._search.clear()

    def _connection(self, *, warn: bool = False) -> sqlite3.Connection:
        """The connection to the file. The caller must hold the lock."""
        connection = self._file.connection(warn=warn)
        if self._generation != self._file.generation:
            self._generation = self._file.generation
            self._forget_what_was_read()
        return connection

    def _unreadable(self) -> None:
        self.file_errors += 1

    @contextlib.contextmanager
    def _forgiving(self, kinds: tuple[type[Exception], ...] = _FORGIVEN) -> Iterator[None]:
        """Count errors of the file, and log them once until it works again; answers in memory are still used."""
        try:
            yield
        except kinds as error:
            with self._lock:
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
        """Whether the partition is in memory, and no other process has written since then."""
        if self._search is not None:
            return False
        known = self._read.get(partition) if self._generation == self._file.generation else None
        if known is None:
            return self._closed
        if not self._lock.acquire(blocking=False):
            return True  # a write is in progress; the next question will see its answers
        try:
            return self._file.current is None or data_version(self._file.current) == known[0]
        except sqlite3.Error:
            return False
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection for a search in the file; None while it is not available."""
        if not self._lock.acquire(timeout=_SEARCH_SECONDS):
            yield None
            return
        try:
            file = None
            if not self._closed:
                with self._forgiving():
                    file = self._connection()
            with self._forgiving():
                yield file
        finally:
            self._lock.release()

    def _catch_up(self, partition: str) -> None:
        """Read new entries from the file into memory."""
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
            if self._epoch is not None:  # another process has forgotten answers that memory may still have
                self._memory.forget(None)
                self._read.clear()
                last = 0
            self._epoch = epoch
        rows = file.execute(
            f"SELECT id, {COLUMNS} FROM entries WHERE partition = ? AND id > ? ORDER BY id",  # noqa: S608 - no input
            (partition, last),
        )
        entries = []
        for number, *row in rows:
            last = max(last, number)
            try:
                entries.append(entry_of(partition, tuple(row)))
            except Exception:  # noqa: BLE001 - one row that cannot be read must not hide the others
                self._unreadable()
        self._memory.put(entries)
        self._read.pop(partition, None)
        self._read[partition] = (version, last)
        if len(self._read) > _PARTITIONS:  # the one read longest ago is read again when it is asked for
            del self._read[next(iter(self._read))]

    def exact(self, partition: str, key: str) -> Entry | None:
        if self._search is not None:
            waiting = (each for each in reversed(self._unsaved[:]) if (each.partition, each.key) == (partition, key))
            return next(waiting, None) or self._search.exact(partition, key)
        if not self.ready(partition):
            self._catch_up(partition)
        return self._memory.exact(partition, key)

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        if self._search is not None:
            return self._search.nearest(partition, embedder, vector, at_least, limit, self._unsaved[:])
        if not self.ready(partition):
            self._catch_up(partition)
        return self._memory.nearest(partition, embedder, vector, at_least, limit)

    # -- writing

    def put(self, entries: Sequence[Entry]) -> None:
        """Write entries to the file; those that cannot be written now are kept in memory and written later."""
        with self._lock:
            if self._search is None:
                self._memory.put(entries)
            if self._closed:
                return
            self._unsaved.extend(entries)
        self._save(_WRITE_SECONDS)
        with self._lock:
            over = len(self._unsaved) - _UNSAVED
            if over > 0:
                del self._unsaved[:over]
                self.dropped += over

    def prepared(self, partition: str) -> bool:
        """Whether a question there need not wait until many rows have been read."""
        return self._search is None or self._search.known(partition)

    def prepare(self, partition: str) -> None:
        """Read what the first question there would wait for: a second for a million answers."""
        if self._search is not None:
            self._search.prepare(partition)

    @property
    def unsaved(self) -> int:
        """Number of entries that are in memory and not yet in the file."""
        return len(self._unsaved)

    def _save(self, seconds: float) -> None:
        """Write waiting entries. While another process writes, wait up to so many seconds, and let others read."""

        def write() -> None:
            if not self._closed and (self._unsaved or self._touched):
                self._write(self._connection())

        with self._forgiving():
            patiently(write, seconds, self._lock)

    def _write(self, file: sqlite3.Connection) -> None:
        now = datetime.now(UTC).timestamp()
        with transaction(file):
            touched, self._touched = self._touched, {}  # other threads add to it meanwhile
            rows = []
            for entry in self._unsaved:
                try:
                    rows.append(row_of(entry, now))
                except UnicodeEncodeError:  # it must not prevent the other entries from being written
                    self._unreadable()
            file.executemany(INSERT, rows)
            file.executemany(
                "UPDATE entries SET used = ? WHERE partition = ? AND key = ?",
                [(used, *place) for place, used in touched.items()],
            )
            if self._max_age is not None and self._unsaved:
                newest = max(entry.at for entry in self._unsaved)
                file.execute("DELETE FROM entries WHERE at < ?", (newest - self._max_age,))
            make_room(file, self._max_entries, self._max_bytes)
        self._unsaved.clear()
        if self._search is not None:
            self._search.written()
        self._file.shorten_log()

    def touch(self, entry: Entry) -> None:
        """Mark an entry as used; the file is updated with the next write."""
        self._memory.touch(entry)
        if len(self._touched) < _TOUCHED:
            self._touched[entry.partition, entry.key] = datetime.now(UTC).timestamp()

    def forget(self, owner: str | None) -> int:
        """
        Delete from memory and file, here and in every process that shares it.

        Raises:
            sqlite3.Error: The file could not be written; it still has the entries, or some of them.
        """
        with self._lock:
            kept = [entry for entry in self._unsaved if owner is not None and entry.owner != owner]
            gone = max(self._memory.forget(owner), len(self._unsaved) - len(kept))
            self._unsaved = kept
            if self._closed:
                return gone
        deleted = 0
        while True:
            part = patiently(lambda: self._delete(owner), _FORGET_SECONDS, self._lock)
            deleted += part
            if part < _PART:
                return max(gone, deleted)
            time.sleep(_PART_PAUSE_SECONDS)

    def _delete(self, owner: str | None) -> int:
        """Delete one part; returns the number of entries."""
        file = self._connection()
        with transaction(file):
            where, values = ("", (_PART,)) if owner is None else (" WHERE owner = ?", (owner, _PART))
            deleted = file.execute(
                f"DELETE FROM entries WHERE id IN (SELECT id FROM entries{where} LIMIT ?)",  # noqa: S608 - no input
                values,
            ).rowcount
            file.execute("UPDATE epochs SET number = number + 1")
        self._forget_what_was_read()
        # Remaining entries of the file are read again when needed.
        self._memory.forget(None)
        if self._search is None:
            self._memory.put(self._unsaved)
        if deleted == _PART:
            self._file.shorten_log()
            return deleted
        with contextlib.suppress(sqlite3.Error):
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the write-ahead log contains the entries too
        return deleted

    def close(self) -> None:
        """Write waiting entries and close the file; entries in memory can still be used."""
        self._save(_END_SECONDS)
        with self._lock:
            self._closed = True
            self._file.drop()
        if self._search is not None:
            self._search.hurry()

    def __len__(self) -> int:
        """Number of entries in the file, or in memory while the file cannot be read."""
        if self._lock.acquire(timeout=_READ_SECONDS):
            try:
                # Without opening a connection: reading the numbers must change nothing, and may happen in a signal
                # handler.
                if self._file.current is not None and not self._closed:
                    with contextlib.suppress(sqlite3.Error):
                        count: int = self._file.current.execute(
                            "SELECT entries FROM totals WHERE owner = ''"
                        ).fetchone()[0]
                        return count
            finally:
                self._lock.release()
        return len(self._memory) or len(self._unsaved)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self.path.name}: {len(self)} of {self._max_entries} entries>"

    def leave_to_parent(self) -> None:
        """In a forked child: the connection and the waiting entries belong to the parent."""
        self._file.leave_to_parent()
        self._unsaved.clear()
        self._touched.clear()
        if self._search is not None:
            self._search.leave_to_parent()
        self._forget_what_was_read()


def _in_child(store: weakref.ref[SQLiteStore]) -> Any:
    def in_child() -> None:
        mine = store()
        if mine is not None:
            mine.leave_to_parent()

    return in_child
