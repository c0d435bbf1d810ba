"""A circuit in the registry: its numbers, and an operator's controls for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle, StateName

from .shared import SharedCircuit
from .stats import CircuitCounts, CircuitStats
from .tickets import CircuitState

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.events import Event
    from resilient_ai._core.state_store import StateStore

    from .config import CircuitConfig


@public("types")
class CircuitBreaker(StateHandle):
    """One circuit in the registry: its numbers, and an operator's controls for it. Thread-safe."""

    __slots__ = ("_shared",)

    def __init__(self, name: str, config: CircuitConfig, registry: StateStore) -> None:
        self._shared = SharedCircuit(name, config, registry)

    @property
    def name(self) -> str:
        return self._shared.name

    @property
    def state(self) -> CircuitState:
        return self._shared.circuit.state

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._shared.after_fork()

    def _reconfigure(self, config: CircuitConfig) -> None:
        """Use other settings from now on, in the same state."""
        self._shared.reconfigure(config)

    def _held_times(self) -> tuple[SharedCircuit, list[float]] | None:
        name = self._shared.name
        if type(name) is StateName and name.key is not None:  # a quick check, because there may be thousands of keys
            return None
        return self._shared.held_times()

    def _leave(self) -> None:
        """Hand over the measured times, because the registry drops the circuit."""
        self._shared.hand_over_times()

    def stats(self) -> CircuitStats:
        """The current numbers."""
        return self._shared.stats()

    def counts(self) -> CircuitCounts:
        """The counts since it was made; `reset()` does not change them. Much cheaper than `stats()`."""
        return self._shared.counts()

    def _voter(self) -> SharedCircuit:
        return self._shared

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        state = stats.state.value.replace("_", "-")
        if stats.opened_by == "fleet":
            state += " by the fleet"
        if stats.retry_after is not None:
            state += f", probe in {stats.retry_after:.1f} s" if stats.retry_after else ", probe due"
        return Row(
            self.name,
            "circuit_breaker",
            state,
            stats.calls,
            ok=stats.ok,
            failed=stats.failed,
            neutral=stats.neutral or None,
            p95=stats.p95,
            alarm=stats.state is not CircuitState.CLOSED,
            more={"fleet": self._shared.fleet_cell()},
        )

    def trip(self) -> None:
        """
        Open it now, for a normal recovery period.

        Raises:
            ValueError: An operator has set its state; call `.reset()` first.
        """
        self._shared.trip()

    def force_open(self) -> None:
        """Refuse every call until `reset()` or another operator's call."""
        self._shared.force(CircuitState.FORCED_OPEN)

    def force_closed(self) -> None:
        """Let calls through again; the failure count and the window start from zero."""
        self._shared.force(CircuitState.CLOSED)

    def disable(self) -> None:
        """Let every call through and record nothing."""
        self._shared.force(CircuitState.DISABLED)

    def metrics_only(self) -> None:
        """Let every call through and record it, but never open."""
        self._shared.force(CircuitState.METRICS_ONLY)

    def reset(self) -> None:
        """Close it, with all numbers at zero."""
        self._shared.clear()

    def on_transition(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call `listener` with this circuit's events after each change; returns a function that ends it."""
        return self._shared.listen(listener)

    def _idle(self, now: float) -> float:
        """Seconds without a call; -1 for a circuit that must be kept: not closed, or with a call in flight."""
        return self._shared.idle(now)

    def _unused(self, now: float) -> float:
        return self._shared.unused(now)

    def _overdue(self, now: float) -> float:
        """Seconds since an open circuit could have been probed, if no call came; -1 in every other state."""
        return self._shared.overdue(now)

    def __repr__(self) -> str:
        row = self.row()
        return f"<CircuitBreaker {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"
