"""Caches without readable text of prompts: keys are keyed digests, and sizes are bounded in bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import Any, Final, Generic, TypeVar

from resilient_ai._core.forks import hold_while_forking

V = TypeVar("V")

_KEY: Final = os.urandom(32)  # of this process: without it, a digest reveals nothing
_OVERHEAD: Final = 200  # bytes per value for digest, node and size


def fingerprint(*parts: str) -> bytes:
    """16 bytes that are equal for equal texts in this process, and have no meaning outside it."""
    digest = hashlib.blake2b(key=_KEY, digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


class ByteBoundedCache(Generic[V]):
    """
    The most recently used values, up to a number of bytes. Thread-safe.

    Args:
        most: Bytes of all values together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.RLock()
        self.generation = 0
        hold_while_forking(self, self._lock, rank=6)

    def get(self, key: bytes, default: Any = None) -> V | Any:
        """The value of a key, or `default`."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return default
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: bytes, value: V, size: int, generation: int) -> None:
        """
        Keep a value.

        Args:
            key: A `fingerprint`.
            value: The value.
            size: Its bytes, roughly.
            generation: What `generation` was when the computation began; a value from before a `clear` is not kept.
        """
        size += _OVERHEAD
        with self._lock:
            if generation != self.generation or size > self._most:
                return
            replaced = self._kept.pop(key, None)
            self._bytes += size - (replaced[1] if replaced is not None else 0)
            self._kept[key] = value, size
            while self._bytes > self._most:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone

    def clear(self) -> None:
        """Drop everything, including values that are being computed now."""
        with self._lock:
            self.generation += 1
            self._kept.clear()
            self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes in use, roughly."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)
