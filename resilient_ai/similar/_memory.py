"""Entries in memory: a shelf per partition, a bound on all, and a fair share for every owner."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from resilient_ai._core.checks import check_number

from ._forks import hold_while_forking
from ._matrix import Matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._store import Entry, Vector


class Shelf:
    """The entries of one partition, and a matrix per embedder whose rows stand in the same order."""

    __slots__ = ("_matrices", "entries", "rows")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rows: dict[str, int] = {}
        self._matrices: dict[str, Matrix] = {}

    def put(self, entry: Entry) -> Entry | None:
        """Returns the entry that had its place."""
        row = self.rows.get(entry.key)
        for embedder, vector in entry.vectors.items():
            if embedder not in self._matrices:
                self._matrices[embedder] = Matrix(len(vector), len(self.entries))
        if row is None:
            self.rows[entry.key] = len(self.entries)
            self.entries.append(entry)
            for embedder, matrix in self._matrices.items():
                matrix.append(entry.vectors.get(embedder))
            return None
        replaced, self.entries[row] = self.entries[row], entry
        for embedder, matrix in self._matrices.items():
            matrix.replace(row, entry.vectors.get(embedder))
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

    def nearest(self, embedder: str, vector: Vector, at_least: float, limit: int) -> list[tuple[float, Entry]]:
        matrix = self._matrices.get(embedder)
        if matrix is None:
            return []
        return [(similarity, self.entries[row]) for similarity, row in matrix.nearest(vector, at_least, limit)]


class MemoryStore:
    """
    Answers in this process only.

    When it is full, the owner with the most entries loses the one that was not used for longest: one busy tenant
    cannot push the others out.

    Args:
        max_entries: Most answers kept. Default 10,000.
        max_bytes: Most memory for texts, answers and vectors, roughly. Default 64 MiB.
    """

    def __init__(self, *, max_entries: int = 10_000, max_bytes: int = 64 << 20) -> None:
        check_number("max_entries", max_entries, least=1, whole=True)
        check_number("max_bytes", max_bytes, least=1, whole=True)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        hold_while_forking(self, self._lock, rank=2)
        self._clear()

    def _clear(self) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._used: dict[str, OrderedDict[tuple[str, str], int]] = {}
        self._count = self._bytes = 0

    def ready(self, partition: str) -> bool:  # noqa: ARG002
        """Always: nothing here blocks."""
        return True

    def put(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._put(entry)

    def _put(self, entry: Entry) -> None:
        if entry.size > self._max_bytes:
            return  # it alone: room for it is not to be had
        replaced = self._shelves.setdefault(entry.partition, Shelf()).put(entry)
        if replaced is not None:
            self._uncount(replaced)
        self._used.setdefault(entry.owner, OrderedDict())[entry.partition, entry.key] = entry.size
        self._count += 1
        self._bytes += entry.size
        while self._count > self._max_entries or (self._bytes > self._max_bytes and self._count > 0):
            largest = max(self._used.values(), key=len)
            partition, key = next(iter(largest))
            self._remove(partition, key)

    def _uncount(self, entry: Entry) -> None:
        used = self._used[entry.owner]
        self._bytes -= used.pop((entry.partition, entry.key))
        self._count -= 1
        if not used:
            del self._used[entry.owner]

    def _remove(self, partition: str, key: str) -> None:
        shelf = self._shelves[partition]
        self._uncount(shelf.remove(key))
        if not shelf.entries:
            del self._shelves[partition]

    def exact(self, partition: str, key: str) -> Entry | None:
        with self._lock:
            shelf = self._shelves.get(partition)
            row = shelf.rows.get(key) if shelf is not None else None
            return shelf.entries[row] if shelf is not None and row is not None else None

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        with self._lock:
            shelf = self._shelves.get(partition)
            return shelf.nearest(embedder, vector, at_least, limit) if shelf is not None else ()

    def touch(self, entry: Entry) -> None:
        """It was of use: it goes last now."""
        with self._lock:
            used = self._used.get(entry.owner)
            if used is not None and (entry.partition, entry.key) in used:
                used.move_to_end((entry.partition, entry.key))

    def forget(self, owner: str | None) -> int:
        with self._lock:
            if owner is None:
                count = self._count
                self._clear()
                return count
            gone = list(self._used.get(owner, ()))
            for partition, key in gone:
                self._remove(partition, key)
            return len(gone)

    def remove_older(self, at: float) -> int:
        """Delete what was answered before a time, in seconds since 1970."""
        with self._lock:
            everything = (entry for shelf in self._shelves.values() for entry in shelf.entries)
            gone = [(entry.partition, entry.key) for entry in everything if entry.at < at]
            for partition, key in gone:
                self._remove(partition, key)
            return len(gone)

    def close(self) -> None:
        """Nothing to give back."""

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes in use, roughly."""
        return self._bytes

    def __repr__(self) -> str:
        return f"<MemoryStore: {self._count} of {self._max_entries} entries, {self._bytes / (1 << 20):.1f} MiB>"
