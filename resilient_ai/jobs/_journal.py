"""The answers of a job on disk, so that a restart does not ask for them again."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai.similar._answer_types import name_of
from resilient_ai.similar._codec import NotStorable, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_APPLICATION = 0x72616A6F  # "rajo": SQLite's application id, which identifies our files
_BUSY_SECONDS = 30.0


class Journal:
    """
    One SQLite file with a row for each answered item.

    Args:
        path: The file; it is made if it does not exist, readable by its owner only.
        function: Name of the function that gives the answers. Several functions may share a file.
        types: Dataclasses and pydantic models that answers may contain, by name.

    Raises:
        ValueError: The path exists and is not a journal.
    """

    def __init__(self, path: str | os.PathLike[str], function: str, types: Mapping[str, type]) -> None:
        self._function = function
        self._types = types
        self._lock = anyio.Lock()
        self._pending: list[tuple[str, str]] = []
        self._database = _opened(Path(path))

    def answer(self, key: str) -> tuple[Any] | None:
        """
        The answer of an item in a tuple; None if there is none.

        Raises:
            TypeError: It contains a class that is not among the types.
        """
        found = self._database.execute(
            "SELECT answer FROM answers WHERE function = ? AND item = ?", (self._function, key)
        ).fetchone()
        if found is None:
            return None
        try:
            return (decode(found[0], self._types),)
        except NotStorable as error:
            raise TypeError(
                f"the journal has {error}, which {self._function} does not return any more;"
                " annotate its return type, pass types=, or begin another journal"
            ) from None

    async def keep(self, key: str, answer: Any) -> None:
        """
        Store an answer, which is on disk when this returns.

        Raises:
            TypeError: The answer cannot be converted to typed JSON, or could not be read back.
        """
        classes: set[type] = set()
        try:
            written = encode(answer, classes)
        except NotStorable as error:
            raise TypeError(
                f"the journal cannot keep {error}, which {self._function} returned;"
                " return text, plain data, a dataclass or a pydantic model"
            ) from None
        unknown = sorted(name_of(each) for each in classes if name_of(each) not in self._types)
        if unknown:
            raise TypeError(
                f"the journal could not read back {unknown[0]}, which {self._function} returned;"
                " annotate its return type, or pass types="
            )
        mine = (key, written)
        self._pending.append(mine)
        async with self._lock:  # the first caller writes for all that came meanwhile
            rows, self._pending = self._pending, []
            if rows:
                try:
                    await anyio.to_thread.run_sync(self._write, rows)
                except BaseException:
                    # Not on disk: callers that wait for these rows write them again, or get the error too.
                    self._pending = [*rows, *self._pending]
                    raise

    def _write(self, rows: Sequence[tuple[str, str]]) -> None:
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", [(self._function, *row) for row in rows]
            )

    def close(self) -> None:
        self._database.close()


def _refuse_what_others_may_use(path: Path) -> None:
    """Refuse a journal that others may write: they could plant answers. Who may read it is up to its owner."""
    found = path.stat()
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise ValueError(f"journal {str(path)!r} belongs to another user; give it a file of your own")
    if os.name == "posix" and found.st_mode & 0o022:
        raise ValueError(
            f"journal {str(path)!r} may be written by others (mode {found.st_mode & 0o777:o}); chmod it to 600"
        )


def _opened(path: Path) -> sqlite3.Connection:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError(f"journal {str(path)!r} is no regular file; give the path of a journal or of a new file")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    _refuse_what_others_may_use(path)
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        application = database.execute("PRAGMA application_id").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION and (application or tables):
            raise ValueError(f"{str(path)!r} is another program's database; give the journal a file of its own")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        with database:
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (function TEXT, item TEXT, answer TEXT NOT NULL, PRIMARY KEY (function, item)) WITHOUT ROWID"
            )
    except sqlite3.DatabaseError as error:
        database.close()
        raise ValueError(f"{str(path)!r} is no journal: {error}") from None
    except ValueError:
        database.close()
        raise
    return database
