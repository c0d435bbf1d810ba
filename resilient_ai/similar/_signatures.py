"""`Signatures`: one bit per number of each vector, to find the rows worth comparing exactly among very many."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._store import Vector

    N = TypeVar("N", bound=np.generic)

    Bits = npt.NDArray[np.uint64]
    Rows = npt.NDArray[np.intp]

_FIRST, _CHUNK = 8_192, 131_072  # rows compared at a time: their distances stay in the processor's cache


class Signatures:
    """
    The signs of vectors of one length. Rows are numbered from 0; removing one moves the last one into its place.

    `nearest` may run in one thread while another adds or removes rows: it looks at the rows there were when it began.

    Args:
        dimensions: Numbers per vector.
    """

    __slots__ = ("_bits", "_count", "dimensions")

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self.dimensions = dimensions
        # One line per 64 numbers, so that a comparison with all rows reads memory from end to end.
        self._bits: Bits = np.zeros((words_for(dimensions), 4), dtype=np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, bits: Bits) -> None:
        """Add rows of `signs`."""
        count = self._count + len(bits)
        if count > self._bits.shape[1]:
            self._bits = wider(self._bits, self._count, count)
        self._bits[:, self._count : count] = bits.T
        self._count = count

    def replace(self, row: int, bits: Bits) -> None:
        """Set a row of `signs`."""
        self._bits[:, row] = bits

    def remove(self, row: int) -> None:
        self._count -= 1
        self._bits[:, row] = self._bits[:, self._count]

    def nearest(self, vector: Vector, most: int) -> Rows:
        """The rows whose signs differ least from those of a vector, in no order."""
        import numpy as np

        bits, count = self._bits, self._count
        if count <= most:
            return np.arange(count)
        wanted = signs(vector[None, :])[0][:, None]
        rows, distances = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.uint16)
        farthest = 64 * len(bits) + 1
        for start in (0, *range(_FIRST, count, _CHUNK)):
            chunk = _distances(bits[:, start : min(start + _CHUNK if start else _FIRST, count)], wanted)
            # Rows as far as the farthest one that is kept would be no better.
            near = np.flatnonzero(chunk < farthest)
            rows, distances = np.concatenate((rows, near + start)), np.concatenate((distances, chunk[near]))
            if len(rows) > most:
                kept = np.argpartition(distances, most - 1)[:most]
                rows, distances = rows[kept], distances[kept]
                farthest = int(distances.max())
        return rows


def _distances(bits: Bits, wanted: Bits) -> npt.NDArray[np.uint16]:
    """How many bits of each row differ from the wanted ones."""
    import numpy as np

    distances: npt.NDArray[np.uint16] = np.bitwise_count(bits[0] ^ wanted[0]).astype(np.uint16)
    for line, other in zip(bits[1:], wanted[1:], strict=True):
        distances += np.bitwise_count(line ^ other)
    return distances


def wider(table: npt.NDArray[N], used: int, needed: int) -> npt.NDArray[N]:
    """A copy that begins with the used columns and has room for as many as are needed, or for half as many again."""
    import numpy as np

    grown = np.zeros((*table.shape[:-1], max(needed, table.shape[-1] * 3 // 2)), dtype=table.dtype)
    grown[..., :used] = table[..., :used]
    return grown


def words_for(dimensions: int) -> int:
    """How many 64-bit numbers the signs of a vector take."""
    return -(-dimensions // 64)


def signs(rows: Vector) -> Bits:
    """One bit per number: whether it is above zero; 64 to a word."""
    import numpy as np

    packed = np.packbits(rows > 0, axis=1)
    padded = np.zeros((len(rows), words_for(rows.shape[1]) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
