"""A failover and its endpoints in the registry: their numbers, and an operator's controls for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.printable import printable
from resilient_ai._core.public import public
from resilient_ai._core.report import Row
from resilient_ai._core.state_name import StateHandle, StateName

from .endpoint_state import EndpointState
from .shared import SharedEndpoint
from .state import FailoverState
from .stats import EndpointCounts, EndpointStats, FailoverCounts, FailoverStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_ai._core.errors import ErrorType
    from resilient_ai._core.sharing import Subject
    from resilient_ai._core.state_store import StateStore

    from .config import FailoverConfig
    from .hedge import HedgeBudget, HedgeDelay


@public("types")
class EndpointHandle(StateHandle):
    """One endpoint in the registry: its numbers, and an operator's controls for it. Thread-safe."""

    __slots__ = ("_shared",)

    def __init__(self, name: str, registry: StateStore) -> None:
        self._shared = SharedEndpoint(StateName(name, endpoint=name), registry)

    @property
    def name(self) -> str:
        return self._shared.name

    def _after_fork(self) -> None:
        """In a forked child: free locks, and no calls in flight."""
        self._shared.after_fork()

    def _fact_subject(self) -> Subject:
        """The subject of the facts that a fleet shares about it."""
        return self._shared.subject

    def _hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Take in a fact from the fleet; whether it changed anything."""
        return self._shared.hear(error_type, wait)

    def stats(self) -> EndpointStats:
        """The current numbers."""
        return self._shared.stats()

    def counts(self) -> EndpointCounts:
        """The counts since it was made; `reset()` does not change them. Much cheaper than `stats()`."""
        return self._shared.counts()

    def status(self) -> str:
        """Its state, in a few words."""
        stats = self.stats()
        if stats.state is not EndpointState.RESTING:
            return stats.state.value.replace("_", " ")
        why = f" ({stats.last_error_type.value})" if stats.last_error_type is not None else ""
        return f"resting {stats.resting_for:.1f} s{why}" if stats.resting_for else f"trial due{why}"

    def row(self) -> Row:
        """The row in the registry's table."""
        stats = self.stats()
        return Row(
            self.name,
            "endpoint",
            self.status(),
            stats.calls,
            stats.ok,
            stats.failed,
            p95=stats.latency_p95,
            alarm=stats.state is not EndpointState.UP,
            more={"fleet": self._shared.fleet_cell()},
        )

    def mark_down(self) -> None:
        """Send nothing there until `mark_up`, from any call site that uses this endpoint."""
        self._shared.mark_down()

    def mark_up(self) -> None:
        """Put it back into rotation at once, and forget its rests."""
        self._shared.mark_up()

    def reset(self) -> None:
        """Set it up, with all numbers at zero."""
        self._shared.clear()

    def __repr__(self) -> str:
        row = self.row()
        return f"<Endpoint {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"


@public("types")
class Failover(StateHandle):
    """One failover in the registry: its numbers, and an operator's hand on its endpoints. Thread-safe."""

    __slots__ = ("_state", "endpoints", "name")

    def __init__(
        self, name: str, endpoints: Mapping[str, EndpointHandle], budget: HedgeBudget, delay: HedgeDelay
    ) -> None:
        self.name = name
        self.endpoints = dict(endpoints)
        self._state = FailoverState(name, budget, delay)

    def _after_fork(self) -> None:
        """In a forked child: free locks. The endpoints start over by themselves."""
        self._state.after_fork()

    def _reconfigure(self, config: FailoverConfig) -> None:
        """Use other settings from now on; the numbers stay."""
        self._state.reconfigure(config.hedge_after, config.hedge_budget)

    def stats(self) -> FailoverStats:
        """The current numbers."""
        state, endpoints = self._state, {name: endpoint.stats() for name, endpoint in self.endpoints.items()}
        return FailoverStats(
            calls=state.good.ok + state.failures,
            ok=state.good.ok,
            failed=state.failures,
            attempts=state.good.ok + state.lost_attempts,
            moves=state.moves,
            hedges=state.hedges,
            hedges_won=state.hedges_won,
            endpoints=endpoints,
        )

    def counts(self) -> FailoverCounts:
        """The counts since it was made; `reset()` does not change them. Much cheaper than `stats()`."""
        return self._state.counts()

    def row(self) -> Row:
        """The row in the registry's table."""
        up = sum(endpoint.stats().healthy for endpoint in self.endpoints.values())
        ok, failed, moves = self._state.good.ok, self._state.failures, self._state.moves
        shown = f"{up} of {len(self.endpoints)} up"
        if moves:
            shown += f", moved on {moves} times" if moves > 1 else ", moved on once"
        return Row(self.name, "failover", shown, ok + failed, ok, failed, alarm=up == 0)

    def mark_down(self, name: str) -> None:
        """Send nothing to that endpoint until `mark_up`, from any call site that uses it."""
        self._endpoint(name).mark_down()

    def mark_up(self, name: str) -> None:
        """Put that endpoint back into rotation at once, and forget its rests."""
        self._endpoint(name).mark_up()

    def reset(self) -> None:
        """Set all numbers to zero, and all endpoints up."""
        self._state.clear()
        for endpoint in self.endpoints.values():
            endpoint.reset()

    def _endpoint(self, name: str) -> EndpointHandle:
        try:
            return self.endpoints[name]
        except KeyError:
            known = ", ".join(repr(each) for each in self.endpoints)
            raise KeyError(f"failover {self.name!r} has no endpoint named {name!r}; there are: {known}") from None

    def __repr__(self) -> str:
        each = ", ".join(f"{printable(name)} {endpoint.status()}" for name, endpoint in self.endpoints.items())
        return f"<Failover {self.name!r}: {each}>"
