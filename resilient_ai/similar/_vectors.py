"""`Vectors`: compute the vectors of questions within a time limit, with few threads and once per question."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.lowlevel import RunVar

from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.tasks import current_loop, spawn

from ._private import ByteBoundedCache, fingerprint
from ._threads import Overloaded, Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._embedders import Space
    from ._store import Vector

_LOCAL_SECONDS = 0.5
_REMOTE_SECONDS = 0.3  # an embedder that calls the provider fails in the same outage; do not wait long for it
_REST_SECONDS = 30.0  # without a call to a remote embedder after it failed
_WRITE_SECONDS = 10.0  # for the vectors of one chunk of answers to be remembered; a first call may load a model
_CHUNK = 8  # texts per call of an embedder for answers to be remembered
_THREADS = 4
_AT_ONCE = 12  # questions being embedded or waiting for a thread, per event loop
_REMEMBERING = 64  # async embeddings in flight for answers that are being remembered
_CACHE_BYTES = 4 << 20
_UNKNOWN: Final = object()


class Vectors:
    """
    Calls the embedder of one space. Thread-safe.

    Attributes:
        errors: Times the embedder raised, was too late, or had too many questions waiting.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._lock = threading.RLock()
        hold_while_forking(self, self._lock, rank=3)
        self._threads = Threads(most=_THREADS, waiting=_AT_ONCE)
        self._known: ByteBoundedCache[Vector | None] = ByteBoundedCache(_CACHE_BYTES)
        self._resting_until = 0.0
        self._remembering: dict[int, object] = {}
        self.errors = 0

    async def of(self, text: str) -> Vector | None:
        """The vector of a question; None if it is not available in time, so that trigrams have to be used."""
        key = fingerprint(text)
        known: Any = self._known.get(key, _UNKNOWN)
        if known is not _UNKNOWN:
            return known  # type: ignore[no-any-return]
        if self._space.remote:
            return await self._ask(text)
        in_flight, mine = in_flight_of_loop(), (id(self), key)
        pending = in_flight.get(mine)
        # With too many questions, trigrams are used at once: most callers in a long queue would time out. An embedder
        # that hangs in all threads is not waited for again.
        if pending is None and (len(in_flight) >= _AT_ONCE or self._threads.stuck(_LOCAL_SECONDS)):
            self._failed()
            return None
        with anyio.move_on_after(_LOCAL_SECONDS):
            if pending is not None:
                await pending.wait()
                return self._known.get(key)
            pending = in_flight[mine] = anyio.Event()
            try:
                found: Vector | None = await self._threads.run(self._compute, text)
                return found
            except Overloaded:
                pass
            finally:
                in_flight.pop(mine, None)
                pending.set()
        self._failed()
        return None

    def of_answers(self, texts: Sequence[str]) -> list[Vector | None]:
        """
        Vectors for answers that are being written; blocks for at most 10 seconds per 8 texts.

        If the embedder raises or is too late, the entry has only a trigram vector.
        """
        found: list[Vector | None] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            vectors: list[Vector | None] = [None] * len(chunk)
            try:
                if self._threads.stuck(_LOCAL_SECONDS):
                    raise Overloaded
                future = self._threads.submit(self._space.embed, chunk)
                try:
                    vectors = future.result(_WRITE_SECONDS)
                finally:
                    future.cancel()
            except (Exception, CancelledError, FutureTimeoutError):  # noqa: BLE001 - a user's embedder
                self._failed()
            found += vectors
        return found

    def for_remembering(self, text: str, then: Callable[[Vector | None], None]) -> bool:
        """
        Call an async embedder in a background task.

        Args:
            text: The question.
            then: Called with the vector, or with None if the task was cancelled with its loop.

        Returns:
            False, without a call, if the embedder is not async, no loop is running, or too many are in flight.
        """
        if not self._space.remote or len(self._remembering) >= _REMEMBERING:
            return False
        vectors: list[Vector | None] = []

        async def ask() -> None:
            vectors.append(await self._ask(text))

        def ended() -> None:
            self._remembering.pop(id(vectors), None)
            then(vectors[0] if vectors else None)

        try:
            self._remembering[id(vectors)] = spawn(current_loop(), ask, copy_context(), ended)
        except RuntimeError:
            return False
        return True

    def forget(self) -> None:
        """Drop all cached vectors of questions."""
        self._known.clear()

    def close(self, timeout: float) -> None:
        """End the threads; waits up to `timeout` seconds."""
        self._threads.close(timeout)

    def _compute(self, text: str) -> Vector | None:
        generation = self._known.generation
        try:
            vector = self._space.embed([text])[0]
        except BaseException:  # noqa: BLE001 - a user's embedder, or a panic in an extension; the trigrams serve instead
            self._failed()
            return None
        self._keep(text, vector, generation)
        return vector

    async def _ask(self, text: str) -> Vector | None:
        if time.monotonic() < self._resting_until:
            return None
        generation = self._known.generation
        try:
            with anyio.move_on_after(_REMOTE_SECONDS):
                vector = await self._space.embed_remotely(text)
                self._keep(text, vector, generation)
                return vector
        except BaseException as error:  # as above
            if _ends_the_task(error):
                raise
        self._resting_until = time.monotonic() + _REST_SECONDS
        self._failed()
        return None

    def _keep(self, text: str, vector: Vector | None, generation: int) -> None:
        self._known.put(fingerprint(text), vector, vector.nbytes if vector is not None else 0, generation)

    def _failed(self) -> None:
        with self._lock:
            self.errors += 1


def _ends_the_task(error: BaseException) -> bool:
    """Whether an error is a cancellation or an exit, which must not be swallowed."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_ends_the_task, error.exceptions))
    return isinstance(error, (anyio.get_cancelled_exc_class(), KeyboardInterrupt, SystemExit, GeneratorExit))


_in_flight: RunVar[dict[tuple[int, bytes], anyio.Event]] = RunVar("resilient_ai.similar.in_flight")


def in_flight_of_loop() -> dict[tuple[int, bytes], anyio.Event]:
    """The computations in flight in this loop, for other callers with the same text."""
    in_flight = _in_flight.get(None)
    if in_flight is None:
        in_flight = {}
        _in_flight.set(in_flight)
    return in_flight
