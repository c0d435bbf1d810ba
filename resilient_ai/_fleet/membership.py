"""One registry's membership in a fleet: facts to send, facts received, and the state of the connection."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_ai._core.errors import ErrorType
from resilient_ai._core.forks import start_over_after_fork
from resilient_ai._core.sharing import Subject

from .events import FactHeard, FleetJoined, FleetLost
from .facts import Fact, believed, fact_of, hashed
from .stats import FleetStats
from .votes import Votes

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

    from resilient_ai._core.sharing import Leased, Voter
    from resilient_ai._core.state_store import StateStore

SHAREABLE = ("circuits", "facts", "rate_limits")
_STABLE = 5.0  # seconds for which the server has to answer before its return is reported
_MOST_TOLD = 1_000  # most facts that wait for the server; older ones are dropped
_MOST_KNOWN = 1_000  # most own facts kept for a server that loses its data; those that are over are dropped first


class ToTell(NamedTuple):
    """A fact for the other workers, or its end."""

    key: str
    fact: Fact | None
    since: float


class Membership:
    """
    Thread-safe; nothing here waits.

    Args:
        namespace: The fleet's name.
        registry: The registry that has joined.
        share: Which of `SHAREABLE` are exchanged; the rest stays local.
    """

    def __init__(self, namespace: str, registry: StateStore, share: Collection[str] = SHAREABLE) -> None:
        self._namespace = namespace
        self._registry = registry
        self._share = frozenset(share)
        self._now = registry.clock.now
        self._lock = threading.RLock()
        self._to_tell: dict[str, ToTell] = {}  # the latest news about each subject
        self._known: dict[str, tuple[Fact, float]] = {}  # own facts, and until when they are valid
        self._wake: Callable[[], object] | None = None
        self._wake_leasing: Callable[[], object] | None = None
        self._wanting: dict[Leased, None] = {}  # shared quotas with a question
        self.leaving = False  # whether the registry is about to leave
        self.ended_by_fork = False  # in a forked child: the thread or task of the connection belongs to its parent
        self._stats = FleetStats(namespace, joined=True, workers=1)
        self._lost_at = self._now()
        self._connected_at = math.inf
        self._told_connected: bool | None = None  # the state that listeners were told last
        self._round_trips: deque[float] = deque(maxlen=50)
        self.votes = self._new_votes()
        start_over_after_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._wake, self.leaving, self.ended_by_fork = None, True, True
        self._to_tell, self._known = {}, {}
        self.votes = self._new_votes()
        self._stats = FleetStats()

    def _new_votes(self) -> Votes:
        return Votes(self._namespace, self._registry, shared="circuits" in self._share)

    # -- for policies

    @property
    def reachable(self) -> int:
        """Number of workers in the fleet, including this one; 0 while the server does not answer."""
        stats = self._stats
        return stats.workers if stats.connected else 0

    def shares(self, what: str) -> bool:
        """Whether this one of `SHAREABLE` is exchanged."""
        return what in self._share

    def suspect(self, voter: Voter) -> None:
        """Take in that a call of a state has failed; the other workers are asked if they may see the same."""
        if self.reachable > 1:
            self.votes.suspect(voter)

    def judged(self, voter: Voter, verdict: str) -> None:
        """Take in a verdict: a probe was "answered" or "failed", or the fleet is "doubted"."""
        self.votes.judged(voter, verdict)

    def failed(self, subject: Subject, error_type: ErrorType, wait: float | None) -> None:
        """Take in that the provider refused a call; the other workers are told if that applies to them."""
        fact = fact_of(error_type, wait)
        if fact is None or "facts" not in self._share:
            return
        key, now = hashed(self._namespace, subject), self._now()
        with self._lock:
            self._know(key, fact, now)
            self._tell(ToTell(key, fact, now))

    def wants(self, leased: Leased) -> None:
        """Take in that a shared quota has a question."""
        if "rate_limits" not in self._share:
            return
        with self._lock:
            if self._wake_leasing is not None:  # a new connection asks for all of them
                self._wanting[leased] = None
                self._wake_leasing()

    def _know(self, key: str, fact: Fact, now: float) -> None:
        self._known.pop(key, None)
        self._known[key] = fact, now + fact.alone
        if len(self._known) > _MOST_KNOWN:
            self._known = {each: known for each, known in self._known.items() if known[1] > now}
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def recovered(self, subject: Subject) -> None:
        """Take in that the provider has answered again, which ends a fact about it."""
        if "facts" not in self._share:
            return
        key = hashed(self._namespace, subject)
        with self._lock:
            self._known.pop(key, None)
            self._tell(ToTell(key, None, self._now()))

    def _tell(self, what: ToTell) -> None:
        self._to_tell.pop(what.key, None)
        self._to_tell[what.key] = what
        while len(self._to_tell) > _MOST_TOLD:
            del self._to_tell[next(iter(self._to_tell))]
        if self._wake is not None:
            self._wake()

    # -- for the store

    def hashed(self, subject: Subject) -> str:
        """The name of a subject on the server."""
        return hashed(self._namespace, subject)

    def wake_leasing_with(self, wake: Callable[[], object] | None) -> None:
        """Call this function when a shared quota has a question."""
        with self._lock:
            self._wake_leasing = wake
            self._wanting.clear()

    def wanting(self) -> list[Leased]:
        """Take the shared quotas that have a question."""
        with self._lock:
            wanting = list(self._wanting)
            self._wanting.clear()
            return wanting

    def leased(self) -> list[Leased]:
        """All shared quotas."""
        if "rate_limits" not in self._share:
            return []
        asked = (getattr(each, "_leased", None) for each in self._registry._handles())
        return [leased() for leased in asked if leased is not None]

    @property
    def rng(self) -> random.Random:
        """Source of jitter and of names."""
        return self._registry.rng

    @property
    def workers(self) -> int:
        """Known number of registries in the fleet."""
        return self._stats.workers

    def leave(self) -> None:
        """Begin to leave: the store signs off and returns."""
        with self._lock:
            self.leaving = True
            for wake in (self._wake, self._wake_leasing):
                if wake is not None:
                    wake()

    def seconds_since(self, when: float) -> float:
        """Seconds since a time."""
        return max(0.0, self._now() - when)

    def wake_with(self, wake: Callable[[], object] | None) -> None:
        """Call this function when there is news to send."""
        with self._lock:
            self._wake = wake

    def next_to_tell(self) -> ToTell | None:
        """The oldest news; it stays until `told`."""
        with self._lock:
            return next(iter(self._to_tell.values()), None)

    def told(self, what: ToTell) -> None:
        """Note that the server has received news."""
        with self._lock:
            if self._to_tell.get(what.key) is what:
                del self._to_tell[what.key]
            self._stats = replace(self._stats, facts_told=self._stats.facts_told + 1)

    def tell_again(self) -> None:
        """Send all facts that are still valid again, because the server has lost its data."""
        self.votes.tell_again()
        now = self._now()
        with self._lock:
            self._known = {key: known for key, known in self._known.items() if known[1] > now}
            for key, (fact, until) in self._known.items():
                if key not in self._to_tell:
                    left = until - now
                    self._tell(ToTell(key, Fact(fact.error_type, left, left), now))

    def heard(self, key: str, error_type: ErrorType | None, seconds: float, *, confirmed: bool) -> None:
        """Take in a fact of another worker; `error_type` None: the fact is over."""
        wait = 0.0 if error_type is None else believed(error_type, seconds, confirmed=confirmed)
        if "facts" not in self._share or (error_type is not None and wait <= 0):
            return
        for name, handle in self._concerned(key):
            if not handle._hear(error_type, wait):
                continue
            with self._lock:
                self._stats = replace(self._stats, facts_heard=self._stats.facts_heard + 1)
            if error_type is not None and self._registry.hears(FactHeard):
                self._registry.emit(FactHeard(name, error_type.value, wait))

    def _concerned(self, key: str) -> list[tuple[str, Any]]:
        found = []
        for handle in self._registry._handles():
            if (ask := getattr(handle, "_fact_subject", None)) is None or (subject := ask()) is None:
                continue
            if hashed(self._namespace, subject) == key:
                found.append((handle.name, handle))
        return found

    def dropped(self) -> None:
        """Count a message from the server that did not fit."""
        with self._lock:
            self._stats = replace(self._stats, dropped=self._stats.dropped + 1)

    def took(self, seconds: float) -> None:
        """Take in the seconds that a command took."""
        with self._lock:
            self._round_trips.append(seconds)
            self._stats = replace(self._stats, commands=self._stats.commands + 1)

    # -- the connection

    def connected(self, *, push: bool) -> None:
        """Take in that the server answers."""
        with self._lock:
            self._connected_at = self._now()
            self._stats = replace(self._stats, connected=True, push=push)
        self.tick()

    def counted(self, workers: int) -> None:
        """Take in the number of workers in the fleet."""
        with self._lock:
            self._stats = replace(self._stats, workers=max(1, workers))
            self._registry.workers = max(1, workers)
        self.tick()

    def lost(self, error: BaseException) -> None:
        """Take in that the server does not answer."""
        kind = type(error).__name__
        with self._lock:
            was = self._stats.connected
            if was:
                self._lost_at = self._now()
            self._connected_at = math.inf
            self._stats = replace(self._stats, connected=False, push=False, last_error=kind)
            tell = self._told_connected is not False
            self._told_connected = False
        if tell and self._registry.hears(FleetLost):
            self._registry.emit(FleetLost(self._namespace, kind))

    def tick(self) -> None:
        """Report the server's return if it has lasted, so that an unstable server is reported once."""
        with self._lock:
            first = self._told_connected is None
            stable = self._now() - self._connected_at >= (0.0 if first else _STABLE)
            tell = self._told_connected is not True and self._stats.connected and stable
            if tell:
                self._told_connected = True
            stats = self._stats
        if tell and self._registry.hears(FleetJoined):
            self._registry.emit(FleetJoined(self._namespace, stats.workers, stats.push))

    def stats(self) -> FleetStats:
        """What is known at this moment."""
        with self._lock:
            here = self._stats.connected or not self._stats.joined
            away = 0.0 if here else self._now() - self._lost_at
            trip = median(self._round_trips) if self._round_trips else None
            return replace(self._stats, away_for=away, round_trip=trip, questions=self.votes.questions)
