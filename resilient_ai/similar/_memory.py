"""`MemoryStore`: entries in this process, grouped by partition, bounded in total, with a fair share for every owner."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from resilient_ai._core.checks import check_number
from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.public import public

from ._matrix import Matrix
from ._shares import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._matrix import Rows
    from ._store import Entry, Vector

_INLINE = 200_000  # most entries of a partition that are searched in an event loop


class Partition:
    """The entries of one partition, and one matrix per embedder and length; row N of each belongs to entry N."""

    __slots__ = ("_matrices", "entries", "rows")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rows: dict[str, int] = {}
        # By length too: a model that changed under the same name, or a damaged row, must not hide other vectors.
        self._matrices: dict[tuple[str, int], Matrix] = {}

    def put(self, entry: Entry) -> Entry | None:
        """Add an entry; returns the entry that it replaces."""
        row = self.rows.get(entry.key)
        mine = {(embedder, len(vector)): vector for embedder, vector in entry.vectors.items()}
        for kind in mine:
            if kind not in self._matrices:
                self._matrices[kind] = Matrix(kind[1], len(self.entries))
        if row is None:
            self.rows[entry.key] = len(self.entries)
            self.entries.append(entry)
            for kind, matrix in self._matrices.items():
                matrix.append(mine.get(kind))
            return None
        replaced, self.entries[row] = self.entries[row], entry
        for kind, matrix in self._matrices.items():
            matrix.replace(row, mine.get(kind))
        return replaced

    def remove(self, key: str) -> Entry:
        row = self.rows.pop(key)
        gone, last = self.entries[row], self.entries.pop()
        if last is not gone:
            self.entries[row] = last
            self.rows[last.key] = row
        for matrix in self._matrices.values():
            matrix.remove(row)
        return gone

    def matrix(self, embedder: str, vector: Vector) -> Matrix | None:
        """The vectors that a vector can be compared with."""
        return self._matrices.get((embedder, len(vector)))

    def nearest(
        self, embedder: str, vector: Vector, at_least: float, limit: int, rows: Rows | None = None
    ) -> list[tuple[float, Entry]]:
        """The best entries, best first, among `rows` or all of them."""
        matrix = self.matrix(embedder, vector)
        if matrix is None:
            return []
        return [(similarity, self.entries[row]) for similarity, row in matrix.nearest(vector, at_least, limit, rows)]


@public("similar")
class MemoryStore:
    """
    Answers in this process only.

    When the store is full, the owner with the most entries loses its least recently used one. One busy tenant
    therefore cannot push the entries of others out.

    Args:
        max_entries: Most answers kept. Default 10,000.
        max_bytes: Most memory for texts, answers and vectors, roughly. Default 64 MiB.
    """

    def __init__(self, *, max_entries: int = 10_000, max_bytes: int = 64 << 20) -> None:
        check_number("max_entries", max_entries, least=1, whole=True)
        check_number("max_bytes", max_bytes, least=1, whole=True)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.RLock()  # reentrant: a signal handler may read the counts at any time
        hold_while_forking(self, self._lock, rank=2)
        self._clear()

    def _clear(self) -> None:
        self._partitions: dict[str, Partition] = {}
        self._shares = Shares()
        self._count = self._bytes = 0

    def ready(self, partition: str) -> bool:
        """Whether a lookup takes at most two milliseconds, so that it may run in an event loop."""
        group = self._partitions.get(partition)
        return group is None or len(group.entries) <= _INLINE

    def put(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._put(entry)

    def _put(self, entry: Entry) -> None:
        if entry.size > self._max_bytes:
            return  # it would not fit even into an empty store
        replaced = self._partitions.setdefault(entry.partition, Partition()).put(entry)
        if replaced is not None:
            self._uncount(replaced)
        self._shares.add(entry.owner, (entry.partition, entry.key), entry.size)
        self._count += 1
        self._bytes += entry.size
        while self._count > self._max_entries or (self._bytes > self._max_bytes and self._count > 0):
            self._remove(*self._shares.next_to_go())

    def _uncount(self, entry: Entry) -> None:
        self._bytes -= self._shares.remove(entry.owner, (entry.partition, entry.key))
        self._count -= 1

    def _remove(self, partition: str, key: str) -> None:
        group = self._partitions[partition]
        self._uncount(group.remove(key))
        if not group.entries:
            del self._partitions[partition]

    def exact(self, partition: str, key: str) -> Entry | None:
        with self._lock:
            group = self._partitions.get(partition)
            row = group.rows.get(key) if group is not None else None
            return group.entries[row] if group is not None and row is not None else None

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        with self._lock:
            group = self._partitions.get(partition)
            matrix = group.matrix(embedder, vector) if group is not None else None
        if group is None or matrix is None:
            return ()
        rows = matrix.candidates(vector)  # without the lock: among a million rows this takes milliseconds
        with self._lock:
            group = self._partitions.get(partition)  # entries forgotten meanwhile are not found
            return group.nearest(embedder, vector, at_least, limit, rows) if group is not None else ()

    def touch(self, entry: Entry) -> None:
        """Mark an entry as the latest used, so that it is removed last."""
        with self._lock:
            self._shares.touch(entry.owner, (entry.partition, entry.key))

    def forget(self, owner: str | None) -> int:
        with self._lock:
            if owner is None:
                count = self._count
                self._clear()
                return count
            gone = self._shares.places(owner)
            for partition, key in gone:
                self._remove(partition, key)
            return len(gone)

    def remove_older(self, at: float) -> int:
        """Delete entries answered before `at`, in seconds since 1970; returns how many."""
        with self._lock:
            everything = (entry for group in self._partitions.values() for entry in group.entries)
            gone = [(entry.partition, entry.key) for entry in everything if entry.at < at]
            for partition, key in gone:
                self._remove(partition, key)
            return len(gone)

    def close(self) -> None:
        """Do nothing: there is no file and no connection."""

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes in use, roughly."""
        return self._bytes

    def __repr__(self) -> str:
        return f"<MemoryStore: {self._count} of {self._max_entries} entries, {self._bytes / (1 << 20):.1f} MiB>"
