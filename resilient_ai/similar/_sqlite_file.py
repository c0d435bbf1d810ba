"""`AnswerFile`: the SQLite file of a store: create, open and check it, and set it aside if it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from resilient_ai._core.log import log

from ._file_owner import ForeignFileError, claim, is_damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._held_files import HeldFile

T = TypeVar("T")

# `by_partition` holds all that a search reads of a partition's rows, in the order in which they came. The totals are
# kept by triggers: counting a million rows takes a tenth of a second, and every write needs the count.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL,
    at REAL NOT NULL, used REAL NOT NULL, size INTEGER NOT NULL, signs BLOB NOT NULL, vectors BLOB NOT NULL,
    answer TEXT NOT NULL, text TEXT, features TEXT, UNIQUE (partition, key)
);
CREATE INDEX IF NOT EXISTS by_partition ON entries (partition, id, signs);
CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, used);
CREATE INDEX IF NOT EXISTS by_age ON entries (at);
CREATE TABLE IF NOT EXISTS totals (
    owner TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_entries ON totals (entries);
INSERT INTO totals SELECT '', 0, 0 WHERE NOT EXISTS (SELECT * FROM totals);
CREATE TRIGGER IF NOT EXISTS entry_added AFTER INSERT ON entries BEGIN
    INSERT INTO totals SELECT new.owner, 0, 0 WHERE NOT EXISTS (SELECT * FROM totals WHERE owner = new.owner);
    UPDATE totals SET entries = entries + 1, bytes = bytes + new.size WHERE owner IN ('', new.owner);
END;
CREATE TRIGGER IF NOT EXISTS entry_deleted AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - old.size WHERE owner IN ('', old.owner);
    DELETE FROM totals WHERE owner = old.owner AND entries <= 0;
END;
CREATE TABLE IF NOT EXISTS epochs (number INTEGER NOT NULL);
INSERT INTO epochs SELECT 0 WHERE NOT EXISTS (SELECT * FROM epochs);
PRAGMA user_version = 3;
PRAGMA application_id = 1380010323;
COMMIT;
"""
_VERSION = 3
_OPENING_SECONDS = 5.0  # that opening waits for processes that open the file, too
_BUSY_SECONDS = 0.02  # that SQLite waits for another process; `patiently` waits longer, and holds no lock meanwhile
_PAUSE_SECONDS = 0.005, 0.045  # between two tries to write: at least, and at most so much more
_LOG_BYTES, _LOG_SECONDS = 16 << 20, 0.5  # a longer log is shortened, and other processes are waited for so long
_CHECKED_BYTES = 64 << 20  # a larger file is not read through when it is opened
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class AnswerFile:
    """
    The file and its connection. Not thread-safe: the store has a lock.

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
        self._held: HeldFile | None = None  # while the connection is open
        self._left_to_parent: list[tuple[sqlite3.Connection | None, HeldFile | None]] = []
        claim(path)[0].release()

    def connection(self, *, warn: bool = False) -> sqlite3.Connection:
        """
        The connection, which is opened again if the file was replaced.

        Args:
            warn: Whether to issue a warning if the file is damaged and set aside; that is logged in any case. Default
                False.

        Raises:
            ForeignFileError: The file at the path is not ours.
        """
        if self.current is not None and self._held is not None and self._held.inode == self._inode_at_path():
            return self.current
        self.drop()
        try:
            try:
                self.current = self._connected()
            except sqlite3.DatabaseError as error:
                if not is_broken(error):
                    raise
                self._set_aside(warn=warn)
                self.current = self._connected()
        except BaseException:
            self.drop()
            raise
        return self.current

    def _inode_at_path(self) -> int:
        try:
            return self.path.lstat().st_ino
        except FileNotFoundError:
            return 0

    def _connected(self) -> sqlite3.Connection:
        self._held, empty = claim(self.path)
        # `mode=rw` does not create a file: the file has been checked, or it is missing.
        file = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=_OPENING_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if self._inode_at_path() != self._held.inode:
                raise ForeignFileError(f"{self.path} was replaced while it was being opened")
            file.text_factory = _text
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if empty or (version == 0 and file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0):
                # Before the write-ahead log is switched on, so that the file itself contains our application id.
                file.executescript(_SCHEMA)
                version = _VERSION
            if version != _VERSION:
                other = "a newer" if version > _VERSION else "an older"
                raise ForeignFileError(f"{self.path} was written by {other} version of resilient_ai; give another path")
            patiently(lambda: file.execute("PRAGMA journal_mode = WAL"), _OPENING_SECONDS)
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute("PRAGMA secure_delete = ON")  # deleted answers are overwritten
            file.execute("PRAGMA trusted_schema = OFF")  # a planted view or trigger must not call functions
            file.execute("PRAGMA recursive_triggers = ON")  # so that a replaced row is removed from the totals
            if self.path.stat().st_size <= _CHECKED_BYTES:
                found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise _broken(found)
            file.execute("SELECT id, partition, owner, key, at, used, size, signs, vectors FROM entries LIMIT 1")
            file.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        except BaseException:
            file.close()
            raise
        return file

    def shorten_log(self) -> None:
        """
        Move the write-ahead log into the file, if it has grown long.

        SQLite does that by itself only if no other process is writing. With many writers the log would grow without
        bound, and every search would take longer.
        """
        log_file = Path(f"{self.path}-wal")
        if self.current is not None and log_file.exists() and log_file.stat().st_size > _LOG_BYTES:
            # Other processes are using it: try again after the next write.
            with contextlib.suppress(sqlite3.OperationalError):
                self.current.execute(f"PRAGMA busy_timeout = {int(_LOG_SECONDS * 1000)}")
                self.current.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.current.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")

    def set_aside(self) -> None:
        """Rename the open file, because it is damaged; the next connection makes a new one."""
        self._set_aside(warn=False)

    def _set_aside(self, *, warn: bool) -> None:
        """Rename a damaged file of ours, unless another process already did."""
        self._close()
        held, self._held = self._held, None
        try:
            if held is None or self._inode_at_path() != held.inode:
                return
            if not is_damaged(self.path, held):
                raise ForeignFileError(f"{self.path} holds something else now; give another path")
        finally:
            if held is not None:
                held.release()
        aside = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
        log("warning", "resilient_ai.store_set_aside", path=str(self.path), aside=aside)
        if warn:
            warnings.warn(f"{self.path} is damaged: set aside as {aside}, begun anew", stacklevel=7)

    def drop(self) -> None:
        """Close the connection, if there is one."""
        self._close()
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _close(self) -> None:
        connection, self.current = self.current, None
        self.generation += 1
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the connection belongs to the parent, and must be neither used nor closed here."""
        self._left_to_parent.append((self.current, self._held))
        self.current = self._held = None
        self.generation += 1


@contextlib.contextmanager
def transaction(file: sqlite3.Connection) -> Iterator[None]:
    """Commit everything or nothing."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the file itself may be damaged
            file.rollback()
        raise


def patiently(
    work: Callable[[], T], seconds: float, lock: contextlib.AbstractContextManager[object] | None = None
) -> T:
    """
    Work on a file, with retries while another process has locked it.

    SQLite's own waiting is not enough: it would hold our lock, and in some cases SQLite does not wait.

    Args:
        work: The work, which is repeated from its beginning.
        seconds: Most seconds to retry.
        lock: Held during each try, but not between tries.

    Raises:
        sqlite3.OperationalError: Another process still has the lock after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        with lock if lock is not None else contextlib.nullcontext():
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
        # Jitter, so that processes do not retry at the same time, from the last digits of the clock.
        time.sleep(_PAUSE_SECONDS[0] + _PAUSE_SECONDS[1] * (time.perf_counter_ns() % 1_000) / 1_000)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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
    """A text from the file; invalid text stays bytes, so that only its row is unreadable."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
