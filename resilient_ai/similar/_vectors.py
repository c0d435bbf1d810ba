"""A vector for a question, in time or not at all: few threads, each question once, and no wait for who is down."""

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
_REMOTE_SECONDS = 0.3  # an embedder that calls the provider is down when it is needed: do not wait for it
_REST_SECONDS = 30.0  # that a remote embedder is left alone after it failed
_KEPT = 2_048
_AT_ONCE = 12  # questions in a thread or waiting for one, per event loop
_BESIDE = 64  # async embeddings under way for answers to be remembered


class Vectors:
    """
    Asks the embedder of one space. Thread-safe.

    Attributes:
        errors: Times it raised, was too late or had too much to do.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._lock = threading.Lock()
        hold_while_forking(self, self._lock, rank=3)
        self._known: OrderedDict[str, Vector | None] = OrderedDict()
        self._resting_until = 0.0
        self._beside: dict[int, object] = {}
        self.errors = 0

    async def of(self, text: str) -> Vector | None:
        """The vector; None when there is none to be had now, so that the trigrams have to do."""
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        if self._space.remote:
            return await self._ask(text)
        flights, key = flights_of_loop(), (id(self), text)
        flight = flights.get(key)
        if flight is None and len(flights) >= _AT_ONCE:
            # In a storm the trigrams answer now; in a queue for the better vector most would get neither in time.
            self._failed()
            return None
        with anyio.move_on_after(_LOCAL_SECONDS):
            if flight is not None:
                await flight.wait()
                with self._lock:
                    return self._known.get(text)
            flight = flights[key] = anyio.Event()
            try:
                found: Vector | None = await in_thread(self._compute, text)
                return found
            finally:
                flights.pop(key, None)
                flight.set()
        self._failed()
        return None

    def beside(self, text: str, then: Callable[[Vector | None], None]) -> bool:
        """
        Ask an async embedder in a task beside the caller.

        Args:
            text: The question.
            then: Called with its vector, or with None when the task was cancelled with its loop.

        Returns:
            False, and nothing is called, when the embedder is not async, there is no loop, or too much is under way.
        """
        if not self._space.remote or len(self._beside) >= _BESIDE:
            return False
        vectors: list[Vector | None] = []

        async def ask() -> None:
            vectors.append(await self._ask(text))

        def ended() -> None:
            self._beside.pop(id(vectors), None)
            then(vectors[0] if vectors else None)

        try:
            self._beside[id(vectors)] = spawn(current_loop(), ask, copy_context(), ended)
        except RuntimeError:
            return False
        return True

    def forget(self) -> None:
        """Drop what is kept of questions."""
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
_flights: RunVar[dict[tuple[int, str], anyio.Event]] = RunVar("resilient_ai.similar.flights")


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Few threads at a time, and none is waited for longer than the caller waits."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(4)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)


def flights_of_loop() -> dict[tuple[int, str], anyio.Event]:
    """What is being computed in this loop, for others to wait for."""
    flights = _flights.get(None)
    if flights is None:
        flights = {}
        _flights.set(flights)
    return flights
