"""One failover in the registry: its numbers, and an operator's hand on its endpoints."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_ai._core.public import public
from resilient_ai._core.report import Row, SuccessCount

from .endpoint import EndpointHandle, EndpointStats

if TYPE_CHECKING:
    from .hedge import HedgeBudget, HedgeDelay

TOKENS_PER_ANSWER = 0.2
MOST_TOKENS = 10.0


@public("types")
@dataclass(frozen=True, slots=True)
class FailoverStats:
    """
    What a failover has seen.

    Attributes:
        calls: Calls that have ended with an answer or with no endpoint left.
        ok: Those that were answered.
        failed: Those that no endpoint answered.
        moves: Times a call went on to another endpoint.
        hedges: Times a second endpoint was asked because the first was slow.
        hedges_won: Those that answered first.
        endpoints: Per endpoint, by name; shared with other call sites that use it.
    """

    calls: int
    ok: int
    failed: int
    moves: int
    hedges: int
    hedges_won: int
    endpoints: Mapping[str, EndpointStats]


@public("types")
class Failover:
    """One failover in the registry: its numbers, and an operator's hand on its endpoints. Thread-safe."""

    __slots__ = (
        "_lock",
        "_paid_for",
        "_tokens",
        "budget",
        "delay",
        "endpoints",
        "failures",
        "good",
        "hedges",
        "hedges_won",
        "moves",
        "name",
    )

    def __init__(
        self, name: str, endpoints: Mapping[str, EndpointHandle], budget: HedgeBudget, delay: HedgeDelay
    ) -> None:
        self.name = name
        self.endpoints = dict(endpoints)
        self.budget = budget
        self.delay = delay
        self._lock = threading.RLock()  # a signal handler may read the registry, as in `CircuitBreaker`
        self._tokens = MOST_TOKENS
        self.good = SuccessCount()
        self._paid_for = self.failures = self.moves = self.hedges = self.hedges_won = 0

    # -- for the policy

    def may_force(self) -> bool:
        """Takes a token for one more call to a resting endpoint; every good answer has put a fifth of one in."""
        with self._lock:
            self._tokens = min(MOST_TOKENS, self._tokens + TOKENS_PER_ANSWER * (self.good.ok - self._paid_for))
            self._paid_for = self.good.ok
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def moved(self) -> None:
        with self._lock:
            self.moves += 1

    def failed(self) -> None:
        with self._lock:
            self.failures += 1

    def hedged(self, *, won: bool) -> None:
        with self._lock:
            self.hedges += 1
            self.hedges_won += won

    # -- for people

    def stats(self) -> FailoverStats:
        """The numbers of this moment."""
        endpoints = {name: endpoint.stats() for name, endpoint in self.endpoints.items()}
        return FailoverStats(
            calls=self.good.ok + self.failures,
            ok=self.good.ok,
            failed=self.failures,
            moves=self.moves,
            hedges=self.hedges,
            hedges_won=self.hedges_won,
            endpoints=endpoints,
        )

    def row(self) -> Row:
        up = sum(endpoint.stats().healthy for endpoint in self.endpoints.values())
        state = f"{up} of {len(self.endpoints)} up"
        if self.moves:
            state += f", moved on {self.moves} times" if self.moves > 1 else ", moved on once"
        ok, failed = self.good.ok, self.failures
        return Row(self.name, "failover", state, ok + failed, ok, failed, alarm=up == 0)

    def mark_down(self, name: str) -> None:
        """Send nothing to that endpoint until `mark_up`, from any call site that uses it."""
        self._endpoint(name).mark_down()

    def mark_up(self, name: str) -> None:
        """Take that endpoint back into rotation at once, its rests forgotten."""
        self._endpoint(name).mark_up()

    def reset(self) -> None:
        """Every number at zero, every endpoint up."""
        with self._lock:
            self._tokens = MOST_TOKENS
            self.good.ok = self._paid_for = self.failures = self.moves = self.hedges = self.hedges_won = 0
            self.budget.clear()
            self.delay.clear()
        for endpoint in self.endpoints.values():
            endpoint.reset()

    def _endpoint(self, name: str) -> EndpointHandle:
        try:
            return self.endpoints[name]
        except KeyError:
            known = ", ".join(repr(each) for each in self.endpoints)
            raise KeyError(f"failover {self.name!r} has no endpoint named {name!r}; there are: {known}") from None

    def __repr__(self) -> str:
        each = ", ".join(f"{name} {endpoint.status()}" for name, endpoint in self.endpoints.items())
        return f"<Failover {self.name!r}: {each}>"
