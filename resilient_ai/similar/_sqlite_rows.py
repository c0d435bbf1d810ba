"""Convert entries to rows of the SQLite file, and back."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._signatures import signs, words_for
from ._store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from ._signatures import Bits
    from ._store import Vector

    Kind = tuple[str, int]
    """Embedder and length: vectors of one kind can be compared."""

INSERT = (
    "INSERT OR REPLACE INTO entries"
    " (partition, owner, key, at, used, size, signs, vectors, answer, text, features)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LENGTH_OFF = 0.01  # of the squared length of a vector
COLUMNS = "owner, key, at, vectors, answer, text, features"
"""What `entry_of` reads."""


def row_of(entry: Entry, now: float) -> tuple[Any, ...]:
    """
    The values that `INSERT` needs.

    Raises:
        UnicodeEncodeError: A text in it has a lone surrogate, which cannot be stored.
    """
    for each in (entry.owner, entry.key, entry.answer, entry.text or "", entry.features or ""):
        each.encode()
    e = entry
    signed = packed_signs(e.vectors)
    return e.partition, e.owner, e.key, e.at, now, e.size, signed, packed(e.vectors), e.answer, e.text, e.features


def entry_of(partition: str, row: tuple[Any, ...]) -> Entry:
    """
    The entry in a row of the file.

    Raises:
        ValueError: The row does not contain an entry: it is damaged, or another program wrote it.
    """
    owner, key, at, vectors, answer, text, features = row
    texts = (owner, key, answer, *(each for each in (text, features) if each is not None))
    if not all(isinstance(each, str) for each in texts) or not isinstance(at, float) or not isinstance(vectors, bytes):
        raise ValueError("a value of another type")
    return Entry(partition, owner, key, unpacked(vectors), answer, at, text, features)


# -- vectors


def packed(vectors: Mapping[str, Vector]) -> bytes:
    """
    A line of JSON with the length of each vector, then their numbers, little-endian.

    The vector of a short question's trigrams is mostly zeros. Where a third of the numbers or more are, the head says
    how many are not, and their places go before the numbers.
    """
    import numpy as np

    head: dict[str, int | list[int]] = {}
    body = []
    for name, vector in vectors.items():
        places = np.flatnonzero(vector)
        length = len(vector)
        if 3 * len(places) > 2 * length or length > 0xFFFF:
            head[name] = length
        else:
            head[name] = [length, len(places)]
            body.append(places.astype("<u2").tobytes())
            vector = vector[places]
        body.append(vector.astype("<f4").tobytes())
    return json.dumps(head).encode() + b"\n" + b"".join(body)


def unpacked(blob: bytes) -> dict[str, Vector]:
    """
    The vectors in a row.

    Raises:
        Exception: There are none, or they do not have length 1.
    """
    import numpy as np

    head, _, body = blob.partition(b"\n")
    vectors: dict[str, Vector] = {}
    offset = 0
    for name, length, filled in _lengths(head):
        vector: Vector
        if filled is None:
            vector = np.frombuffer(body, dtype="<f4", count=length, offset=offset).astype(np.float32)
            offset += 4 * length
        else:
            vector = np.zeros(length, dtype=np.float32)
            places = np.frombuffer(body, dtype="<u2", count=filled, offset=offset)
            vector[places] = np.frombuffer(body, dtype="<f4", count=filled, offset=offset + 2 * filled)
            offset += 6 * filled
        # Only vectors of length 1: any other would be too similar to every question.
        if not np.isfinite(vector).all() or abs(float(vector @ vector) - 1.0) > _LENGTH_OFF:
            raise ValueError("a vector that is not of length 1")
        vectors[name] = vector
    return vectors


def compared(rows: Sequence[tuple[int, Any]], embedder: str, vector: Vector) -> tuple[list[int], Vector]:
    """
    The similarities of rows to a vector, without unpacking each row.

    Args:
        rows: Number and `packed` vectors of each row; a row without a vector of this embedder and length is left out.
        embedder: The embedder whose vectors are compared.
        vector: The vector to compare with.

    Returns:
        The numbers of the rows, and their similarities.
    """
    import numpy as np

    whole: tuple[list[int], list[bytes]] = [], []
    sparse: tuple[list[int], list[bytes], list[bytes]] = [], [], []
    for number, blob in rows:
        cut = blob.find(b"\n") if isinstance(blob, bytes) else -1
        offset, filled = _place_of(blob[:cut], embedder, len(vector)) if cut >= 0 else (-1, None)
        start = cut + 1 + offset
        if offset < 0 or len(blob) < start + (4 * len(vector) if filled is None else 6 * filled):
            continue
        if filled is None:
            whole[0].append(number)
            whole[1].append(blob[start : start + 4 * len(vector)])
        else:
            sparse[0].append(number)
            sparse[1].append(blob[start : start + 2 * filled])
            sparse[2].append(blob[start + 2 * filled : start + 6 * filled])
    table = np.frombuffer(b"".join(whole[1]), dtype="<f4").reshape(-1, len(vector))
    places = np.frombuffer(b"".join(sparse[1]), dtype="<u2").astype(np.intp)
    values = np.frombuffer(b"".join(sparse[2]), dtype="<f4")
    row = np.repeat(np.arange(len(sparse[0])), [len(each) // 2 for each in sparse[1]])
    values = np.where(places < len(vector), values, np.nan)
    products = values * vector[np.minimum(places, len(vector) - 1)]
    count = len(sparse[0])
    with np.errstate(all="ignore"):  # damaged numbers may be NaN or too large
        both = np.vecdot(table, vector), np.bincount(row, products, count)
        similarities: Vector = np.concatenate(both).astype(np.float32)
        lengths = np.concatenate((np.vecdot(table, table), np.bincount(row, values * values, count)))
    good = np.flatnonzero(np.abs(lengths - 1.0) <= _LENGTH_OFF)
    numbers = [*whole[0], *sparse[0]]
    return [numbers[i] for i in good], similarities[good].astype(np.float32)


@lru_cache(4_096)
def _place_of(head: bytes, embedder: str, dimensions: int) -> tuple[int, int | None]:
    """Where the embedder's vector begins, or -1; and how many numbers are written, where zeros are left out."""
    offset = 0
    try:
        for name, length, filled in _lengths(head):
            if (name, length) == (embedder, dimensions):
                return offset, filled
            offset += 4 * length if filled is None else 6 * filled
    except ValueError:
        pass
    return -1, None


@lru_cache(1_024)
def _lengths(head: bytes) -> tuple[tuple[str, int, int | None], ...]:
    """Name, length and, where zeros are left out, how many other numbers there are, of each vector."""
    lengths = json.loads(head)
    if not isinstance(lengths, dict):
        raise ValueError("no lengths of vectors")
    found: list[tuple[str, int, int | None]] = []
    for name, length in lengths.items():
        whole, filled = length if isinstance(length, list) else (length, None)
        if any(not isinstance(each, int) or not 0 <= each < 1 << 20 for each in (whole, filled or 0)):
            raise ValueError("a length that is none")
        found.append((name, whole, filled))
    return tuple(found)


# -- their signs


def packed_signs(vectors: Mapping[str, Vector]) -> bytes:
    """A line of JSON with the length of each vector, then one bit per number."""
    head = json.dumps({name: len(vector) for name, vector in vectors.items()})
    return head.encode() + b"\n" + b"".join(signs(vector[None, :]).tobytes() for vector in vectors.values())


def signs_of(numbers: Sequence[int], blobs: Sequence[Any]) -> dict[Kind, list[tuple[list[int], Bits]]]:
    """
    The signs in many rows.

    Args:
        numbers: Of the rows.
        blobs: `packed_signs` of each; a row that holds none is left out.

    Returns:
        By kind of vector: numbers of rows, and as many lines of signs.
    """
    found: dict[Kind, list[tuple[list[int], Bits]]] = {}
    for those, table in _alike(numbers, blobs):
        for kind, bits in _lines(table):
            found.setdefault(kind, []).append((those, bits))
    return found


def _alike(numbers: Sequence[int], blobs: Sequence[Any]) -> Iterator[tuple[list[int], npt.NDArray[np.uint8]]]:
    """Rows whose signs have one head and one size, as one table of bytes."""
    import numpy as np

    by_head: dict[tuple[bytes, int], tuple[list[int], list[bytes]]] = {}
    if blobs and set(map(type, blobs)) == {bytes} and len(set(map(len, blobs))) == 1:
        # Mostly all rows are alike. A million of them are then read in a second, and one by one in ten.
        table = np.frombuffer(b"".join(blobs), dtype=np.uint8).reshape(len(blobs), -1)
        end = blobs[0].find(b"\n") + 1
        if (table[:, :end] == table[0, :end]).all():
            yield list(numbers), table
            return
    for number, blob in zip(numbers, blobs, strict=True):
        if isinstance(blob, bytes):
            those, their = by_head.setdefault((blob[: blob.find(b"\n")], len(blob)), ([], []))
            those.append(number)
            their.append(blob)
    for those, their in by_head.values():
        yield those, np.frombuffer(b"".join(their), dtype=np.uint8).reshape(len(their), -1)


def _lines(table: npt.NDArray[np.uint8]) -> list[tuple[Kind, Bits]]:
    """The lines of signs in rows with one head; none where their size does not fit the head."""
    import numpy as np

    size = table.shape[1]
    head = table[0].tobytes().partition(b"\n")[0]
    try:
        kinds = [(name, length) for name, length, _ in _lengths(head)]
    except ValueError:
        return []
    start = len(head) + 1
    if size != start + 8 * sum(words_for(length) for _, length in kinds):
        return []
    found = []
    for kind in kinds:
        end = start + 8 * words_for(kind[1])
        found.append((kind, np.ascontiguousarray(table[:, start:end]).view(np.uint64)))
        start = end
    return found
