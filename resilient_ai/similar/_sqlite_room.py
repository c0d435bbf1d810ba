"""`make_room`: keeps the SQLite file within its bounds, with a fair share for every owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


_MANY = 1_000  # deleting more entries than this requires an exact count first


def make_room(file: sqlite3.Connection, max_entries: int, max_bytes: int) -> None:
    """Delete entries of the owner with the most, least recently used first, until the bounds hold."""
    counted_anew = False
    while True:
        count, size = file.execute("SELECT entries, bytes FROM totals WHERE owner = ''").fetchone()
        if count <= max_entries and (size <= max_bytes or not count):
            return
        largest = file.execute(
            "SELECT owner, entries FROM totals WHERE owner != '' ORDER BY entries DESC LIMIT 2"
        ).fetchall()
        deleted = 0
        excess = max(count - max_entries, int(count * (1 - max_bytes / size)) if size else 0, 1)
        if largest and (excess < _MANY or counted_anew):
            lead = largest[0][1] - largest[1][1] + 1 if len(largest) > 1 else count
            deleted = file.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE owner = ? ORDER BY used, id LIMIT ?)",
                (largest[0][0], min(excess, lead)),
            ).rowcount
        if not deleted:
            if counted_anew:
                return
            _count_anew(file)
            counted_anew = True


def _count_anew(file: sqlite3.Connection) -> None:
    """Compute the totals again, because another program has written to the file."""
    file.execute("DELETE FROM totals")
    file.execute("INSERT INTO totals SELECT owner, count(*), sum(size) FROM entries GROUP BY owner")
    file.execute("INSERT OR REPLACE INTO totals SELECT '', count(*), coalesce(sum(size), 0) FROM entries")
