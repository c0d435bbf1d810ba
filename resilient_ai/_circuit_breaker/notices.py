"""What one circuit has to tell, in the order in which it happened, and who listens to that circuit alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitWouldOpen
from .tickets import CircuitState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_ai._core.events import Event
    from resilient_ai._core.state_store import StateStore

    from .state import Circuit


def change_of(circuit: Circuit, name: str, state: CircuitState, now: float) -> Event:
    """The event of a circuit that has gone to a state by its own rules."""
    if state is CircuitState.CLOSED:
        return CircuitClosed(name)
    if state is CircuitState.HALF_OPEN:
        return CircuitHalfOpened(name)
    if state is CircuitState.METRICS_ONLY:
        return CircuitWouldOpen(name, circuit.reason)
    return CircuitOpened(name, circuit.failures, circuit.reason, max(0.0, circuit.open_until - now))


class Notices:
    """
    Events that have not been told yet. The circuit's lock guards it; `tell` is called outside that.

    One thread at a time tells: whoever is at it already, this one further up or another, goes on with new events. So
    when a listener drives the circuit, every other listener hears what it heard before what it did.
    """

    __slots__ = ("_listeners", "_telling", "pending")

    def __init__(self) -> None:
        self.pending: list[Event] = []
        self._listeners: Mapping[object, Callable[[Event], object]] = {}
        self._telling = False

    def after_fork(self) -> None:
        """In a forked child: nothing to tell, and nobody at it."""
        self.pending, self._telling = [], False

    def listen(self, listener: Callable[[Event], object]) -> object:
        """Let somebody listen; a key by which to end it, because the same function may listen twice."""
        key = object()
        self._listeners = {**self._listeners, key: listener}  # a new one: others may iterate over the old
        return key

    def unlisten(self, key: object) -> None:
        """End it."""
        self._listeners = {each: heard for each, heard in self._listeners.items() if each is not key}

    def take(self) -> Event | None:
        """The next event, which has to be told; None: there is none, or somebody is at it."""
        if self._telling or not self.pending:
            return None
        self._telling = True
        return self.pending.pop(0)

    def tell(self, registry: StateStore, event: Event) -> None:
        """Tell the registry's listeners and the circuit's own."""
        try:
            registry.emit(event)
            for listener in self._listeners.values():
                registry.notify(listener, event)
        finally:
            self._telling = False
