"""`FileSearch`: find the nearest entries of a large file, with only the signs of its vectors in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ._blocks import Blocks
from ._matrix import PREFILTERED, best
from ._signatures import Signatures
from ._sqlite_file import data_version
from ._sqlite_rows import COLUMNS, compared, entry_of, signs_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from ._signatures import Bits
    from ._sqlite_rows import Kind
    from ._store import Entry, Vector

    Reading = Callable[[], AbstractContextManager[sqlite3.Connection | None]]

_CHUNK = 20_000  # rows read while nobody else may use the connection: about 30 ms
_SLICE, _BREATH_SECONDS = 500, 0.00005  # rows read while no other thread runs, about 0.3 ms; and the pause after them
_PAUSE_SECONDS = 0.001  # between them, so that whoever waits for the connection gets it
_REST = 9.0  # times as long as a part took, while nobody asks
_ROWS = 4_000_000  # of all partitions in memory together, of about 64 bytes each
_PARTITIONS = 10_000


class _Numbered:
    """The signs of one kind of vector, and the number of the row in the file that each belongs to."""

    __slots__ = ("_numbers", "signatures")

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self._numbers = Blocks(1, np.int64)
        self.signatures = Signatures(dimensions)

    def extend(self, numbers: list[int], bits: Bits) -> None:
        import numpy as np

        self._numbers.extend(np.array(numbers, dtype=np.int64)[:, None])
        self.signatures.extend(bits)  # last: a search that is going on looks at no row without a number

    def nearest(self, vector: Vector) -> npt.NDArray[np.int64]:
        """Numbers of the rows to compare exactly."""
        rows = self.signatures.nearest(vector, PREFILTERED)
        return self._numbers.at(rows)[:, 0]


class _Partition:
    """What is in memory of one partition."""

    __slots__ = ("first_rows", "kinds", "last", "rows", "seen")

    def __init__(self) -> None:
        self.kinds: dict[Kind, _Numbered] = {}
        self.last = self.rows = self.first_rows = 0
        self.seen: object = None

    def add(self, numbers: list[int], blobs: list[Any]) -> None:
        """Add the signs of some rows; their numbers rise."""
        self.rows += len(numbers)
        self.last = numbers[-1] if numbers else self.last
        for kind, parts in signs_of(numbers, blobs).items():
            if kind not in self.kinds:
                self.kinds[kind] = _Numbered(kind[1])
            for those, bits in parts:
                self.kinds[kind].extend(those, bits)

    @property
    def outgrown(self) -> bool:
        """Whether as many rows came as were read at first. Rows that left the file are still among them."""
        return self.seen is not None and self.rows > 2 * self.first_rows + _CHUNK


class FileSearch:
    """
    Finds entries in the file itself. Thread-safe.

    The signs of vectors, 64 bytes each, are kept in memory, and read when a partition is first used. They select the
    rows whose vectors are read and compared exactly.

    Args:
        reading: Gives exclusive use of the connection; None while it is not available.
        unreadable: Called for each row that cannot be read.
        rest: How much longer a thread that reads beforehand rests than it reads, while nobody asks.
    """

    def __init__(self, reading: Reading, unreadable: Callable[[], None], *, rest: float = _REST) -> None:
        self._rest = rest
        self._reading = reading
        self._unreadable = unreadable
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()
        self._being_read: set[str] = set()
        self._hurry = threading.Event()
        self._rows = 0
        self._epoch: int | None = None
        self._writes = 0

    def clear(self) -> None:
        """Forget everything that was read. The caller must hold the connection."""
        self._partitions.clear()
        self._being_read.clear()  # in a forked child, the reading thread exists only in the parent
        self._rows = 0
        self._epoch = None

    def leave_to_parent(self) -> None:
        """In a forked child: forget that somebody reads, who may have held the lock of the event, too."""
        self._hurry = threading.Event()
        self.clear()

    def written(self) -> None:
        """Note a write of this process, which SQLite reports to other processes only. Needs the connection."""
        self._writes += 1

    def known(self, partition: str) -> bool:
        """Whether the partition was read, or is being read."""
        return partition in self._partitions or partition in self._being_read

    def prepare(self, partition: str) -> None:
        """Read a partition in advance, so that the first question in an outage need not wait."""
        if not self.known(partition):
            self._caught_up(partition, gently=True)

    def hurry(self) -> None:
        """Let nobody wait for a thread that reads gently: a question has come, or the file is to be closed."""
        self._hurry.set()

    def exact(self, partition: str, key: str) -> Entry | None:
        with self._reading() as file:
            if file is not None:
                rows = file.execute(
                    f"SELECT {COLUMNS} FROM entries WHERE partition = ? AND key = ?",  # noqa: S608 - no input in it
                    (partition, key),
                )
                for row in rows:
                    return self._entry(partition, row)
        return None

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int, unsaved: Sequence[Entry]
    ) -> Sequence[tuple[float, Entry]]:
        """The most similar entries, of the file and of those not yet written to it, best first."""
        waiting = _nearest_of(unsaved, partition, embedder, vector, at_least)
        newer = {entry.key for _, entry in waiting}
        found = self._nearest_in_file(partition, embedder, vector, at_least, limit)
        merged = [*waiting, *(pair for pair in found if pair[1].key not in newer)]
        return sorted(merged, key=lambda pair: -pair[0])[:limit]

    def _nearest_in_file(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> list[tuple[float, Entry]]:
        found: list[tuple[float, Entry]] = []
        known = self._caught_up(partition)
        kind = known.kinds.get((embedder, len(vector))) if known is not None else None
        if kind is None:
            return found
        numbers = kind.nearest(vector)  # without the connection: among a million rows this takes milliseconds
        with self._reading() as file:
            if file is not None:
                near = self._compared(file, numbers, embedder, vector, at_least, limit)
                for similarity, number in near:
                    rows = file.execute(
                        f"SELECT {COLUMNS} FROM entries WHERE id = ? AND partition = ?",  # noqa: S608
                        (number, partition),
                    )
                    found += [(similarity, entry) for row in rows if (entry := self._entry(partition, row)) is not None]
        return found

    def _compared(
        self,
        file: sqlite3.Connection,
        numbers: npt.NDArray[np.int64],
        embedder: str,
        vector: Vector,
        at_least: float,
        limit: int,
    ) -> list[tuple[float, int]]:
        """(similarity, number) of the best of these rows."""
        import numpy as np

        # Always the same number of parameters, so that SQLite prepares only one statement; there is no row 0.
        wanted = [0] * PREFILTERED
        wanted[: len(numbers)] = numbers.tolist()
        rows = file.execute(
            f"SELECT id, vectors FROM entries WHERE id IN ({', '.join('?' * PREFILTERED)})",  # noqa: S608
            wanted,
        ).fetchall()
        there, similarities = compared(rows, embedder, vector)
        for _ in range(len(rows) - len(there)):
            self._unreadable()
        return best(np.array(there, dtype=np.intp), similarities, at_least, limit)

    def _entry(self, partition: str, row: tuple[Any, ...]) -> Entry | None:
        try:
            return entry_of(partition, row)
        except Exception:  # noqa: BLE001 - one row that cannot be read must not hide the others
            self._unreadable()
            return None

    # -- data in memory

    def _caught_up(self, partition: str, *, gently: bool = False) -> _Partition | None:
        """
        What is in memory of a partition, after reading what the file has beyond it; None where nothing can be read.

        While one thread reads, others go on with what is there: a million rows must not keep all threads busy.

        Args:
            partition: Which.
            gently: Whether to pause for most of the time until somebody asks. Fifty processes that had just opened a
                file of a million read for a minute and more; whoever was writing got no processor, and kept the file
                locked.
        """
        if partition in self._being_read:
            self.hurry()
            return self._partitions.get(partition)
        self._hurry.clear()
        self._being_read.add(partition)
        try:
            while True:
                begun = time.monotonic()
                known, done = self._partitions.get(partition), True
                with self._reading() as file:
                    if file is not None:
                        known, done = self._read_on(file, partition)
                if done:
                    return known
                if not gently or self._hurry.wait(self._rest * (time.monotonic() - begun)):
                    time.sleep(_PAUSE_SECONDS)
        finally:
            self._being_read.discard(partition)

    def _read_on(self, file: sqlite3.Connection, partition: str) -> tuple[_Partition, bool]:
        """Read one part; also returns whether it was the last one."""
        version = data_version(file), self._writes
        known = self._partitions.get(partition)
        if known is not None and known.seen == version:
            self._partitions.move_to_end(partition)
            return known, True
        (epoch,) = file.execute("SELECT max(number) FROM epochs").fetchone()
        if self._epoch not in (None, epoch):
            self.clear()  # another process has forgotten answers
        self._epoch = epoch
        known = self._partition(partition)
        rows = file.execute(
            "SELECT id, signs FROM entries WHERE partition = ? AND id > ? ORDER BY id LIMIT ?",
            (partition, known.last, _CHUNK),
        )
        numbers, blobs = _read_slowly(rows)
        known.add(numbers, blobs)
        self._rows += len(numbers)
        if len(numbers) < _CHUNK:
            known.first_rows = known.first_rows or known.rows
            known.seen = version
        return known, len(numbers) < _CHUNK

    def _partition(self, partition: str) -> _Partition:
        known = self._partitions.get(partition)
        if known is not None and known.outgrown:
            self._rows -= self._partitions.pop(partition).rows
            known = None
        if known is None:
            known = self._partitions[partition] = _Partition()
        self._partitions.move_to_end(partition)
        while len(self._partitions) > 1 and (self._rows > _ROWS or len(self._partitions) > _PARTITIONS):
            self._rows -= self._partitions.popitem(last=False)[1].rows
        return known


def _read_slowly(rows: sqlite3.Cursor) -> tuple[list[int], list[Any]]:
    """
    Numbers and signs of all these rows, so that other threads may run meanwhile.

    SQLite lets go of the interpreter for a moment at each row. That wakes a thread that waits for it, an event loop
    say, and is over before that thread is awake; so the thread does not insist either, as it would after 5 ms. Few
    tuples at a time, moreover, are no work for the garbage collector.
    """
    numbers: list[int] = []
    blobs: list[Any] = []
    while some := rows.fetchmany(_SLICE):
        numbers += [number for number, _ in some]
        blobs += [blob for _, blob in some]
        time.sleep(_BREATH_SECONDS)
    return numbers, blobs


def _nearest_of(
    entries: Sequence[Entry], partition: str, embedder: str, vector: Vector, at_least: float
) -> list[tuple[float, Entry]]:
    """Those of a few entries that are similar enough; of two with one key the later one."""
    latest = {each.key: each for each in entries if each.partition == partition}
    compared = ((each.vectors.get(embedder), each) for each in latest.values())
    same = ((mine, each) for mine, each in compared if mine is not None and len(mine) == len(vector))
    found = ((float(mine @ vector), each) for mine, each in same)
    return [(similarity, each) for similarity, each in found if similarity >= at_least]
