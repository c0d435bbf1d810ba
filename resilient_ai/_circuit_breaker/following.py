"""What a circuit does as part of a fleet, when the workers have voted to open it, probe it, or close it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .by_fleet import ByFleet, Ramp, period_after
from .tickets import CircuitState, Opening, Probing, Ticket
from .window import TICK

if TYPE_CHECKING:
    from resilient_ai._core.sharing import Ruling

    from .config import CircuitConfig
    from .record import CallRecord


class FleetCircuit:
    """
    The part of `Circuit` that follows a fleet; the names below are the circuit's.

    Attributes:
        by_fleet: The fleet's part in its state; None until the fleet first had one.
    """

    __slots__ = (
        "_generation",
        "_period",
        "by_fleet",
        "config",
        "open_ticket",
        "opening",
        "probing",
        "record",
        "refused_until",
        "state",
    )

    by_fleet: ByFleet | None
    config: CircuitConfig
    state: CircuitState
    opening: Opening | None
    probing: Probing | None
    open_ticket: Ticket | None
    record: CallRecord
    refused_until: float
    _generation: int
    _period: float

    if TYPE_CHECKING:

        @property
        def open_until(self) -> float: ...
        def _enter(self, state: CircuitState) -> CircuitState: ...
        def _enter_open(self, opening: Opening, *, again: bool = False) -> CircuitState: ...
        def _open_until(self, until: float) -> None: ...
        def _set_fast_ticket(self) -> None: ...

    # -- the fleet's decisions

    def hear_open(self, now: float, ruling: Ruling) -> CircuitState | None:
        """
        Open it because the fleet has voted so, or keep it open.

        A state set by an operator takes precedence, and so does a wait that the provider asked for.
        """
        opening = self.opening
        if self.state not in (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN):
            return None
        if opening is not None and opening.dictated and now < opening.until:
            return None
        fleet = self.by_fleet = self.by_fleet or ByFleet()
        if now < fleet.doubted_until:
            return None
        until = now + max(0.0, min(ruling.seconds, ruling.longest))
        if fleet.holds:  # a probe in flight here may still succeed
            fleet.probes, fleet.vote = ruling.probes, ruling.vote or fleet.vote
            self._open_until(until)
            return None
        was_open = self.state is CircuitState.OPEN
        fleet.hold(now, ruling.longest, self.record.p95(), self.record.rejected, self.record.latest_answer)
        fleet.probes, fleet.vote = ruling.probes, ruling.vote
        cause = opening.cause if opening is not None else None
        opening = Opening(ruling.reason, until, by_fleet=True)
        opening.cause = cause
        self._enter_open(opening, again=was_open)
        return None if was_open else CircuitState.OPEN

    def hear_close(self, now: float, *, roll: float = 0.0) -> CircuitState | None:
        """Let calls through gradually, because the fleet has closed the circuit, if the fleet had opened it."""
        fleet = self.by_fleet
        if fleet is None or not (fleet.holds or fleet.alone):
            return None
        was_open = self.state is CircuitState.OPEN
        opening = self.opening
        fleet.let_go()
        self._enter(CircuitState.HALF_OPEN)
        self.opening = opening
        fleet.closed_at = now
        fleet.ramp = Ramp(now, Ticket(self._generation), roll)
        return CircuitState.HALF_OPEN if was_open else None

    def _fleet_probe_succeeded(self, fleet: ByFleet, now: float, roll: float) -> CircuitState | None:
        if not fleet.trial:
            fleet.verdict = "answered"
            return self.hear_close(now, roll=roll)
        if fleet.trial_was_good(now):
            return self._enter(CircuitState.CLOSED)
        return self._open_again()

    def _fleet_probe_failed(self, fleet: ByFleet, now: float, retry_after: float | None) -> CircuitState:
        if not fleet.trial and self.opening is not None:
            period = period_after(fleet.probes + 1, self.config.recovery_timeout)
            self.opening.until = now + max(period, retry_after or 0.0)
            self.opening.reason = "the fleet's probe failed"
            fleet.probe_failed(self.opening.until)
        return self._open_again()

    def _open_again(self) -> CircuitState:
        opening = self.opening
        if opening is None:
            raise RuntimeError("a circuit that the fleet holds open has no opening")
        return self._enter_open(opening, again=True)

    # -- the registry's table

    def fleet_cell(self, now: float, reachable: int) -> str | None:
        """
        Its fleet cell in the registry's table.

        Args:
            now: Monotonic seconds.
            reachable: Number of workers that can be reached; 0 while the fleet cannot be.

        Returns:
            None if an operator has set its state: then it does not follow the fleet, and its own calls do not count.
        """
        if self.state in (CircuitState.FORCED_OPEN, CircuitState.DISABLED):
            return None
        if (fleet := self.by_fleet) is not None:
            if fleet.holds:
                return "open by {} of {}".format(*fleet.vote) if fleet.vote is not None else "open by the fleet"
            if now < fleet.doubted_until:
                return "alone"
        return "shared" if reachable else "alone"

    # -- its calls

    def _admit_by_share(self, ramp: Ramp, now: float) -> tuple[Ticket | None, CircuitState | None]:
        """Admit a call during the ramp."""
        if ramp.left(now) <= TICK:
            self.state, self.opening, self.open_ticket = CircuitState.CLOSED, None, ramp.ticket
            self._period = self.config.recovery_timeout
            self._set_fast_ticket()
            if self.by_fleet is not None:
                self.by_fleet.let_go()
            return ramp.ticket, CircuitState.CLOSED
        if ramp.lets_through(now):
            return ramp.ticket, None
        self.record.rejected += 1
        return None, None

    def _admit_by_lot(
        self, fleet: ByFleet, now: float, roll: float, workers: int
    ) -> tuple[Ticket | None, CircuitState | None] | None:
        """Admit a call while the fleet holds it open; None: the fleet is lost, and the circuit's own rules apply."""
        self.record.rejected += 1
        if (probing := self.probing) is not None:
            probing.in_flight = [probe for probe in probing.in_flight if now + TICK < probe.lease_end]
            if probing.in_flight:
                return None, None
        due = now + TICK >= self.open_until
        if due and workers < 1:
            self._open_until(fleet.goes_alone(self.config.recovery_timeout, roll))
            self.record.rejected -= 1
            return None
        trial = fleet.begins_trial(now)
        if not trial and not (due and fleet.wins(now, workers, self.record.rejected, roll)):
            return None, None
        self.record.rejected -= 1
        changed = self._enter(CircuitState.HALF_OPEN) if self.state is CircuitState.OPEN else None
        self.probing = Probing(fleet.slot)
        fleet.trial = trial
        probe = Ticket(self._generation, now + self.config.probe_lease)
        self.probing.in_flight.append(probe)
        return probe, changed
