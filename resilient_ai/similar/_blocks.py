"""`Blocks`: a table that grows without moving what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

N = TypeVar("N", bound="np.generic")

BLOCK = 131_072
"""Rows in a block. With signs of 448 numbers it is 7 MiB, which stays in the processor's cache while it is read."""
_LEAST = 4  # ten thousand partitions with one row each must not reserve room for more


class Blocks(Generic[N]):
    """
    Rows of as many numbers each, added at the end and taken from there.

    One array that grows has to be copied. A copy of 60 MB, and giving the old one back, kept the interpreter, and so
    every event loop of the process, for 30 ms. Here the first block alone is ever copied.

    One thread may read `parts` while another adds or takes rows: it sees the rows that there were.

    Args:
        width: Numbers in a row.
        kind: Their type.
        most: Rows in a block.
    """

    __slots__ = ("_blocks", "_count", "_kind", "_most", "_width")

    def __init__(self, width: int, kind: type[N], most: int = BLOCK) -> None:
        import numpy as np

        self._width, self._kind, self._most = width, kind, most
        # One line for each number of a row, so that a comparison with all rows reads memory from end to end.
        self._blocks: list[npt.NDArray[N]] = [np.zeros((width, _LEAST), dtype=kind)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, rows: npt.NDArray[N]) -> None:
        """Add rows."""
        done = 0
        while done < len(rows):
            number, start = divmod(self._count, self._most)
            block = self._with_room(number, start, start + len(rows) - done)
            fitting = min(block.shape[1] - start, len(rows) - done)
            block[:, start : start + fitting] = rows[done : done + fitting].T
            done += fitting
            self._count += fitting  # last: a reader in another thread must not see rows that are not there yet

    def _with_room(self, number: int, used: int, needed: int) -> npt.NDArray[N]:
        """The block with this number, with room for so many rows or for as many as a block can have."""
        import numpy as np

        if number == len(self._blocks):
            # The machine gives memory for these zeros only where something is written.
            self._blocks.append(np.zeros((self._width, self._most), dtype=self._kind))
        block = self._blocks[number]
        if needed > block.shape[1] and block.shape[1] < self._most:
            room = min(self._most, max(needed, block.shape[1] * 3 // 2))
            grown = np.zeros((self._width, room), dtype=self._kind)
            grown[:, :used] = block[:, :used]
            self._blocks[number] = block = grown
        return block

    def __setitem__(self, row: int, values: npt.NDArray[N]) -> None:
        number, place = divmod(row, self._most)
        self._blocks[number][:, place] = values

    def remove(self, row: int) -> None:
        """Take a row away; the last one moves into its place."""
        last = self._count - 1
        number, place = divmod(last, self._most)
        self[row] = self._blocks[number][:, place]
        self._count = last
        del self._blocks[number + 1 :]  # one empty block is kept, so that rows that come and go cost no new one

    def parts(self) -> list[tuple[int, npt.NDArray[N]]]:
        """Number of the first row, and a table with a column for each row, of every block."""
        blocks, count = self._blocks[:], self._count
        return [
            (first, block[:, : count - first])
            for first, block in zip(range(0, max(count, 1), self._most), blocks, strict=False)
        ]

    def at(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[N]:
        """The rows with these numbers."""
        import numpy as np

        found = np.zeros((len(rows), self._width), dtype=self._kind)
        for first, part in self.parts():
            here = (rows >= first) & (rows < first + part.shape[1])
            found[here] = part[:, rows[here] - first].T
        return found
