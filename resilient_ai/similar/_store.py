"""`Entry` and `StoreProtocol`: the interface of stores. Guard, thresholds and ages are checked outside the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient_ai._core.public import public

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]
else:
    Vector = Any  # numpy is an extra

_OVERHEAD = 600  # bytes per entry for objects, keys and index rows; measured with tracemalloc


@public("similar")
@dataclass(frozen=True, slots=True)
class Entry:
    """
    One remembered answer. Its repr shows neither question nor answer.

    Attributes:
        partition: Digest of everything that must be equal for the answer to be used.
        owner: Digest of the user's scope, which `forget` uses.
        key: Digest of the exact question.
        vectors: Length-1 vectors of the question, by embedder id.
        answer: The answer as typed JSON.
        at: Seconds since 1970 (UTC) when the provider gave it.
        text: The question; None with `store_text=False`.
        features: The features for the guard, as JSON of digests, if the text is not stored; else None.
    """

    partition: str
    owner: str
    key: str
    vectors: Mapping[str, Vector] = field(repr=False)
    answer: str = field(repr=False)
    at: float
    text: str | None = field(default=None, repr=False)
    features: str | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Bytes of the entry, roughly."""
        texts = len(self.answer) + len(self.text or "") + len(self.features or "")
        return texts + sum(vector.nbytes for vector in self.vectors.values()) + _OVERHEAD


@public("similar")
@runtime_checkable
class StoreProtocol(Protocol):
    """
    A store of entries. Methods are plain functions; a store that may block is called in a thread.

    A store may also have `ready(partition) -> bool`: True means that `exact` and `nearest` answer from memory now, so
    that no thread is needed. It may have `prepared(partition) -> bool` and `prepare(partition)`: after a write to a
    partition that is not prepared, `prepare` is called in a thread, to read what a question would wait for. An error
    of a store is counted, and the next rung is asked.
    """

    def put(self, entries: Sequence[Entry]) -> None:
        """Keep entries; an entry with the partition and key of an earlier one replaces it."""
        ...

    def exact(self, partition: str, key: str) -> Entry | None:
        """The entry for exactly this question, or None."""
        ...

    def nearest(
        self, partition: str, embedder: str, vector: Vector, at_least: float, limit: int
    ) -> Sequence[tuple[float, Entry]]:
        """Entries of the partition by cosine similarity, best first, none below `at_least`."""
        ...

    def forget(self, owner: str | None) -> int:
        """Delete the entries of an owner (None: all entries); returns how many were deleted."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...
