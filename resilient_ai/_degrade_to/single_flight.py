"""Single flight: callers that need the same result at the same time share one computation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    """One running computation."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: list[T] = field(default_factory=list)  # empty until the computation has succeeded
    shared: bool = False


class SingleFlight(Generic[T]):
    """The running computations of one event loop, by key."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def run(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """
        The outcome of the running computation of a key, or of a new one.

        If the caller that computes is cancelled or fails, one of the waiting callers computes instead.

        Args:
            key: Identifies the computation. If it holds ids of objects, the computing caller must keep these alive.
            compute: Computes the outcome.

        Returns:
            The outcome, and whether several callers get it.
        """
        while (flight := self._flights.get(key)) is not None:
            flight.shared = True
            await flight.ended.wait()
            if flight.outcome:
                return flight.outcome[0], True
        flight = self._flights[key] = _Flight()
        try:
            # Yield once, so that identical calls failing in the same loop iteration share this computation.
            await anyio.lowlevel.checkpoint()
            outcome = await compute()
            flight.outcome.append(outcome)
            return outcome, flight.shared
        finally:
            del self._flights[key]
            flight.ended.set()
