"""The part of a gate that a fleet's task uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.sharing import Subject

from .lease import Lease

if TYPE_CHECKING:
    from resilient_ai._core.leasing import Ask, Grant

    from .gate import RateGate


class SharedQuota:
    """The quota of one gate as a `Leased`. Thread-safe."""

    __slots__ = ("_gate", "_lease", "_name")

    def __init__(self, gate: RateGate, name: str) -> None:
        self._gate = gate
        self._name = name
        self._lease: Lease | None = None

    @property
    def subject(self) -> Subject:
        """The quota's name and its credential: each API key has a quota of its own."""
        return Subject(f"quota {self._name}", self._gate.subject.credential)

    def begin(self, workers: int) -> None:
        now = self._gate.now()
        with self._gate.lock:
            if self._lease is None:
                self._gate.quota.pass_time(now)
                self._gate.quota.lease = self._lease = Lease(self._gate.quota, workers, now)
            self._lease.reached(workers)
        self._gate.call_next()

    def end(self) -> None:
        now = self._gate.now()
        with self._gate.lock:
            if self._lease is not None:
                self._gate.quota.pass_time(now)
                self._lease.lost(now)
        self._gate.call_next()

    def ask(self) -> Ask | None:
        now = self._gate.now()
        with self._gate.lock:
            self._gate.quota.pass_time(now)
            return None if self._lease is None else self._lease.ask(now)

    def answer(self, grant: Grant | None) -> None:
        now = self._gate.now()
        with self._gate.lock:
            if self._lease is not None:
                self._gate.quota.pass_time(now)
                self._lease.answered(grant, now)
        self._gate.call_next()

    def give_back(self) -> Ask | None:
        with self._gate.lock:
            return None if self._lease is None else self._lease.give_back()

    def leave(self) -> None:
        with self._gate.lock:
            if self._lease is not None:
                self._lease = None
                self._gate.quota.keep_alone(self._gate.now())
        self._gate.call_next()
