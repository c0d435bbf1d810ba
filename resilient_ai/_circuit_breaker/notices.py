"""The pending events of one circuit, in the order in which they happened, and its own listeners."""

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
    """The event for a circuit that has changed its state by its own rules."""
    if state is CircuitState.CLOSED:
        return CircuitClosed(name)
    if state is CircuitState.HALF_OPEN:
        return CircuitHalfOpened(name)
    if state is CircuitState.METRICS_ONLY:
        return CircuitWouldOpen(name, circuit.reason)
    return CircuitOpened(name, circuit.failures, circuit.reason, max(0.0, circuit.open_until - now))


class Notices:
    """
    Events that have not been sent yet. The circuit's lock guards them; `tell` is called without it.

    Only one thread at a time sends events, and that thread sends new ones too. So if a listener changes the circuit,
    all listeners get the event that it reacted to before the event of its change.
    """

    __slots__ = ("_listeners", "_telling", "pending")

    def __init__(self) -> None:
        self.pending: list[Event] = []
        self._listeners: Mapping[object, Callable[[Event], object]] = {}
        self._telling = False

    def after_fork(self) -> None:
        """In a forked child: no pending events, and no thread that sends them."""
        self.pending, self._telling = [], False

    def listen(self, listener: Callable[[Event], object]) -> object:
        """Add a listener; returns the key to remove it by, because one function may be added twice."""
        key = object()
        self._listeners = {**self._listeners, key: listener}  # a new dict: other threads may iterate over the old one
        return key

    def unlisten(self, key: object) -> None:
        """Remove the listener with that key."""
        self._listeners = {each: heard for each, heard in self._listeners.items() if each is not key}

    def take(self) -> Event | None:
        """The next event to send; None: there is none, or another call is sending."""
        if self._telling or not self.pending:
            return None
        self._telling = True
        return self.pending.pop(0)

    def tell(self, registry: StateStore, event: Event) -> None:
        """Send an event to the registry's listeners and to the circuit's own."""
        try:
            registry.emit(event)
            for listener in self._listeners.values():
                registry.notify(listener, event)
        finally:
            self._telling = False
