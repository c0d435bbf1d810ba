"""`Signatures`: one bit per number of each vector, to pre-select among very many rows those to compare exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._blocks import Blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._store import Vector

    Bits = npt.NDArray[np.uint64]
    Rows = npt.NDArray[np.intp]

_FIRST = 8_192  # rows compared before all others: the farthest of the best of them leaves most others out


class Signatures:
    """
    The signs of vectors of one length. Rows are numbered from 0; removing one moves the last one into its place.

    `nearest` may run in one thread while another adds or removes rows: it uses the rows that existed when it began.

    Args:
        dimensions: Numbers per vector.
    """

    __slots__ = ("_rows", "dimensions")

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self.dimensions = dimensions
        self._rows = Blocks(words_for(dimensions), np.uint64)

    def __len__(self) -> int:
        return len(self._rows)

    def extend(self, bits: Bits) -> None:
        """Add rows of `signs`."""
        self._rows.extend(bits)

    def replace(self, row: int, bits: Bits) -> None:
        """Set a row of `signs`."""
        self._rows[row] = bits

    def remove(self, row: int) -> None:
        self._rows.remove(row)

    def nearest(self, vector: Vector, most: int) -> Rows:
        """The rows whose signs differ least from those of a vector, in no order."""
        import numpy as np

        parts = self._rows.parts()
        count = sum(part.shape[1] for _, part in parts)
        if count <= most:
            return np.arange(count)
        first = parts[0][1]
        parts[0:1] = [(0, first[:, :_FIRST]), (_FIRST, first[:, _FIRST:])]
        wanted = signs(vector[None, :])[0][:, None]
        rows, distances = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.uint16)
        farthest = 64 * len(wanted) + 1
        for start, bits in parts:
            chunk = _distances(bits, wanted)
            # Rows as far as the farthest one that is kept would be no better.
            near = np.flatnonzero(chunk < farthest)
            rows, distances = np.concatenate((rows, near + start)), np.concatenate((distances, chunk[near]))
            if len(rows) > most:
                kept = np.argpartition(distances, most - 1)[:most]
                rows, distances = rows[kept], distances[kept]
                farthest = int(distances.max())
        return rows


def _distances(bits: Bits, wanted: Bits) -> npt.NDArray[np.uint16]:
    """The number of bits in which each row differs from the wanted ones."""
    import numpy as np

    distances: npt.NDArray[np.uint16] = np.bitwise_count(bits[0] ^ wanted[0]).astype(np.uint16)
    for line, other in zip(bits[1:], wanted[1:], strict=True):
        distances += np.bitwise_count(line ^ other)
    return distances


def words_for(dimensions: int) -> int:
    """The number of 64-bit words for the signs of a vector."""
    return -(-dimensions // 64)


def signs(rows: Vector) -> Bits:
    """One bit per number, set if it is above zero, packed into 64-bit words."""
    import numpy as np

    packed = np.packbits(rows > 0, axis=1)
    padded = np.zeros((len(rows), words_for(rows.shape[1]) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
