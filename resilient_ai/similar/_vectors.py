"""`Vectors`: the vector of a question within a time limit, with few threads and one call per question."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import RunVar

from resilient_ai._core.tasks import current_loop, spawn

from ._forks import hold_while_forking

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._embedders import Space
    from ._store import Vector

_LOCAL_SECONDS = 0.5
_REMOTE_SECONDS = 0.3  # an embedder that calls the provider fails in the same outage; do not wait long for it
_REST_SECONDS = 30.0  # without a call to a remote embedder after it failed
_KEPT = 2_048
_AT_ONCE = 12  # questions being embedded or waiting for a thread, per event loop
_REMEMBERING = 64  # async embeddings in flight for answers that are being remembered


class Vectors:
    """
    Asks the embedder of one space. Thread-safe.

    Attributes:
        errors: Times the embedder raised, was too late, or had too many questions waiting.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._lock = threading.Lock()
        hold_while_forking(self, self._lock, rank=3)
        self._known: OrderedDict[str, Vector | None] = OrderedDict()
        self._resting_until = 0.0
        self._remembering: dict[int, object] = {}
        self.errors = 0

    async def of(self, text: str) -> Vector | None:
        """The vector of a question; None when it cannot be had in time, and the trigrams have to serve."""
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        if self._space.remote:
            return await self._ask(text)
        in_flight, key = in_flight_of_loop(), (id(self), text)
        pending = in_flight.get(key)
        if pending is None and len(in_flight) >= _AT_ONCE:
            # Under a flood of questions the trigrams answer at once; most callers of a long queue would time out.
            self._failed()
            return None
        with anyio.move_on_after(_LOCAL_SECONDS):
            if pending is not None:
                await pending.wait()
                with self._lock:
                    return self._known.get(text)
            pending = in_flight[key] = anyio.Event()
            try:
                found: Vector | None = await in_thread(self._compute, text)
                return found
            finally:
                in_flight.pop(key, None)
                pending.set()
        self._failed()
        return None

    def for_remembering(self, text: str, then: Callable[[Vector | None], None]) -> bool:
        """
        Ask an async embedder in a background task.

        Args:
            text: The question.
            then: Called with the vector, or with None when the task was cancelled with its loop.

        Returns:
            False, and nothing is called, when the embedder is not async, no loop runs, or too many are in flight.
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
        """Drop every vector kept of a question."""
        with self._lock:
            self._known.clear()

    def _compute(self, text: str) -> Vector | None:
        try:
            vector = self._space.embed([text])[0]
        except Exception:  # noqa: BLE001 - an embedder of the user's; the trigrams serve instead
            self._failed()
            return None
        self._keep(text, vector)
        return vector

    async def _ask(self, text: str) -> Vector | None:
        if time.monotonic() < self._resting_until:
            return None
        try:
            with anyio.move_on_after(_REMOTE_SECONDS):
                vector = await self._space.embed_remotely(text)
                self._keep(text, vector)
                return vector
        except Exception:  # noqa: BLE001, S110 - as above
            pass
        self._resting_until = time.monotonic() + _REST_SECONDS
        self._failed()
        return None

    def _keep(self, text: str, vector: Vector | None) -> None:
        with self._lock:
            self._known[text] = vector
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)

    def _failed(self) -> None:
        with self._lock:
            self.errors += 1


_limiter: RunVar[anyio.CapacityLimiter] = RunVar("resilient_ai.similar.limiter")
_in_flight: RunVar[dict[tuple[int, str], anyio.Event]] = RunVar("resilient_ai.similar.in_flight")


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in one of four threads per loop; a cancelled caller does not wait for it."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(4)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)


def in_flight_of_loop() -> dict[tuple[int, str], anyio.Event]:
    """The computations in flight in this loop, for callers of the same to wait for."""
    in_flight = _in_flight.get(None)
    if in_flight is None:
        in_flight = {}
        _in_flight.set(in_flight)
    return in_flight
