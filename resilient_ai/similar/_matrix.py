"""The vectors of a partition: exact search for few rows, a pre-selection by signs for many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._signatures import Signatures, signs, words_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]
    Rows = npt.NDArray[np.intp]

_PREFILTER_FROM = 4_000  # rows; with fewer, the exact product is as fast
PREFILTERED = 512
"""Rows compared exactly: with this number no nearest row was lost among 99,000; with 256, 2 of 118 were."""


class Matrix:
    """
    Rows of length 1, or 0 where an entry has no vector; removing a row moves the last one into its place.

    Few rows are kept as one matrix, many rows as the original vectors and their signs.
    """

    __slots__ = ("_dimensions", "_rows", "_signatures", "_vectors")

    def __init__(self, dimensions: int, count: int = 0) -> None:
        import numpy as np

        self._dimensions = dimensions
        self._vectors: list[Vector | None] = [None] * count
        self._rows: Vector | None = np.zeros((max(count, 1), dimensions), dtype=np.float32)
        self._signatures: Signatures | None = None
        self._settle()

    def append(self, vector: Vector | None) -> None:
        import numpy as np

        count = len(self._vectors)
        self._vectors.append(self._fitting(vector))
        if self._rows is not None and count == len(self._rows):
            # Start small: ten thousand partitions with one answer each must not reserve more memory.
            grown = np.zeros((max(4, count * 2), self._dimensions), dtype=np.float32)
            grown[:count] = self._rows
            self._rows = grown
        if self._signatures is not None:
            self._signatures.extend(np.zeros((1, words_for(self._dimensions)), dtype=np.uint64))
        self.replace(count, vector)
        self._settle()

    def replace(self, row: int, vector: Vector | None) -> None:
        """Set a row; a vector of another length, from a changed model, counts as no vector."""
        self._vectors[row] = fitting = self._fitting(vector)
        if self._rows is not None:
            self._rows[row] = 0.0 if fitting is None else fitting
        if self._signatures is not None:
            self._signatures.replace(row, self._signs_of(row)[0])

    def remove(self, row: int) -> None:
        last = self._vectors.pop()
        if row < len(self._vectors):
            self._vectors[row] = last
        if self._rows is not None:
            self._rows[row] = self._rows[len(self._vectors)]
        if self._signatures is not None:
            self._signatures.remove(row)

    def candidates(self, vector: Vector) -> Rows:
        """
        The rows to compare exactly, if there are many; an empty array if all are compared.

        May run in one thread while another changes the matrix.
        """
        import numpy as np

        signatures = self._signatures
        return signatures.nearest(vector, PREFILTERED) if signatures is not None else np.zeros(0, dtype=np.intp)

    def nearest(self, vector: Vector, at_least: float, limit: int, rows: Rows | None = None) -> list[tuple[float, int]]:
        """(similarity, row) of the best rows, best first, among the `candidates` or all of them."""
        import numpy as np

        count = len(self._vectors)
        if len(vector) != self._dimensions or not count:
            return []
        if self._rows is not None:
            rows, those = np.arange(count), self._rows[:count]
        else:
            near = self.candidates(vector) if rows is None else rows
            there = [row for row in near.tolist() if row < count and self._vectors[row] is not None]
            rows = np.array(there, dtype=np.intp)
            some: list[Any] = [self._vectors[row] for row in there]
            if not some:
                return []
            those = np.concatenate(some).reshape(-1, self._dimensions)
        return best(rows, _products(those, vector), at_least, limit)

    def _fitting(self, vector: Vector | None) -> Vector | None:
        return vector if vector is not None and len(vector) == self._dimensions else None

    def _signs_of(self, row: int) -> npt.NDArray[np.uint64]:
        import numpy as np

        vector = self._vectors[row]
        return signs(np.zeros((1, self._dimensions), dtype=np.float32) if vector is None else vector[None, :])

    def _settle(self) -> None:
        """Replace the matrix by signs when there are many rows."""
        if self._rows is not None and len(self._vectors) > _PREFILTER_FROM:
            self._signatures = Signatures(self._dimensions)
            self._signatures.extend(signs(self._rows[: len(self._vectors)]))
            self._rows = None


def best(rows: Rows, similarities: Vector, at_least: float, limit: int) -> list[tuple[float, int]]:
    """(similarity, row) of the most similar rows, best first."""
    import numpy as np

    found = np.flatnonzero(similarities >= at_least)
    if len(found) > limit:
        found = found[np.argpartition(similarities[found], -limit)[-limit:]]
    found = found[np.argsort(-similarities[found], kind="stable")]
    return [(float(similarities[i]), int(rows[i])) for i in found]


def _products(rows: Vector, vector: Vector) -> Vector:
    """
    `rows @ vector`, computed in the calling thread.

    BLAS, behind `@`, splits even a small product over threads. On a busy machine, waiting for these threads takes a
    hundred times as long as the product itself: 24 ms for 10,000 rows.
    """
    import numpy as np

    products: Vector = np.vecdot(rows, vector)
    return products
