"""One registry's place in a fleet: what it has to tell, what it hears, and how it stands with the server."""

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
_STABLE = 5.0  # seconds for which the server has to answer before its return is told
_MOST_TOLD = 1_000  # facts that wait for the server; older ones go
_MOST_KNOWN = 1_000  # own facts that are kept for a server that loses its data; those that are over go first


class ToTell(NamedTuple):
    """A fact for the others, or that it is over."""

    key: str
    fact: Fact | None
    since: float


class Membership:
    """
    Told and asked from any thread; nothing in here waits.

    Args:
        namespace: The fleet's name.
        registry: Who has joined.
        share: Which of `SHAREABLE` are told and heard; the rest stays local.
    """

    def __init__(self, namespace: str, registry: StateStore, share: Collection[str] = SHAREABLE) -> None:
        self._namespace = namespace
        self._registry = registry
        self._share = frozenset(share)
        self._now = registry.clock.now
        self._lock = threading.RLock()
        self._to_tell: dict[str, ToTell] = {}  # the latest word about each
        self._known: dict[str, tuple[Fact, float]] = {}  # own facts, and until when they hold
        self._wake: Callable[[], object] | None = None
        self._wake_leasing: Callable[[], object] | None = None
        self._wanting: dict[Leased, None] = {}  # shared quotas that have something to ask
        self.leaving = False  # whether the registry is about to leave
        self.ended_by_fork = False  # in a child: the thread or task that talks to the server is its parent's
        self._stats = FleetStats(namespace, joined=True, workers=1)
        self._lost_at = self._now()
        self._connected_at = math.inf
        self._told_connected: bool | None = None  # what the listeners know
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
        """Workers in the fleet, this one included; 0 while the server does not answer."""
        stats = self._stats
        return stats.workers if stats.connected else 0

    def shares(self, what: str) -> bool:
        """Whether that one of `SHAREABLE` is told and heard."""
        return what in self._share

    def suspect(self, voter: Voter) -> None:
        """A call of it has failed; the others are asked where they may have seen the same."""
        if self.reachable > 1:
            self.votes.suspect(voter)

    def judged(self, voter: Voter, verdict: str) -> None:
        """Its probe was "answered" or "failed", or the fleet is "doubted"."""
        self.votes.judged(voter, verdict)

    def failed(self, subject: Subject, error_type: ErrorType, wait: float | None) -> None:
        """The provider refused a call; the others are told where that holds for them."""
        fact = fact_of(error_type, wait)
        if fact is None or "facts" not in self._share:
            return
        key, now = hashed(self._namespace, subject), self._now()
        with self._lock:
            self._know(key, fact, now)
            self._tell(ToTell(key, fact, now))

    def wants(self, leased: Leased) -> None:
        """A shared quota has something to ask."""
        if "rate_limits" not in self._share:
            return
        with self._lock:
            if self._wake_leasing is not None:  # whoever connects looks at all of them
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
        """The provider has answered again; a fact about it is over."""
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
        """How a subject is called on the server."""
        return hashed(self._namespace, subject)

    def wake_leasing_with(self, wake: Callable[[], object] | None) -> None:
        """Call this when a shared quota has something to ask."""
        with self._lock:
            self._wake_leasing = wake
            self._wanting.clear()

    def wanting(self) -> list[Leased]:
        """The shared quotas that have something to ask; each is handed out once."""
        with self._lock:
            wanting = list(self._wanting)
            self._wanting.clear()
            return wanting

    def leased(self) -> list[Leased]:
        """All quotas that are shared."""
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
        """Registries in the fleet, as far as is known."""
        return self._stats.workers

    def leave(self) -> None:
        """The registry is about to leave: the store says goodbye and comes back."""
        with self._lock:
            self.leaving = True
            for wake in (self._wake, self._wake_leasing):
                if wake is not None:
                    wake()

    def seconds_since(self, when: float) -> float:
        """How long ago something was told."""
        return max(0.0, self._now() - when)

    def wake_with(self, wake: Callable[[], object] | None) -> None:
        """Call this when there is something to tell."""
        with self._lock:
            self._wake = wake

    def next_to_tell(self) -> ToTell | None:
        """The word that waits longest; it stays until `told`."""
        with self._lock:
            return next(iter(self._to_tell.values()), None)

    def told(self, what: ToTell) -> None:
        """The server has it."""
        with self._lock:
            if self._to_tell.get(what.key) is what:
                del self._to_tell[what.key]
            self._stats = replace(self._stats, facts_told=self._stats.facts_told + 1)

    def tell_again(self) -> None:
        """The server has lost its data: tell what still holds."""
        self.votes.tell_again()
        now = self._now()
        with self._lock:
            self._known = {key: known for key, known in self._known.items() if known[1] > now}
            for key, (fact, until) in self._known.items():
                if key not in self._to_tell:
                    left = until - now
                    self._tell(ToTell(key, Fact(fact.error_type, left, left), now))

    def heard(self, key: str, error_type: ErrorType | None, seconds: float, *, confirmed: bool) -> None:
        """A fact of another worker's; None: it is over."""
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
        """Something from the server did not fit."""
        with self._lock:
            self._stats = replace(self._stats, dropped=self._stats.dropped + 1)

    def took(self, seconds: float) -> None:
        """A command was answered after so long."""
        with self._lock:
            self._round_trips.append(seconds)
            self._stats = replace(self._stats, commands=self._stats.commands + 1)

    # -- how it stands

    def connected(self, *, push: bool) -> None:
        """The server answers."""
        with self._lock:
            self._connected_at = self._now()
            self._stats = replace(self._stats, connected=True, push=push)
        self.tick()

    def counted(self, workers: int) -> None:
        """So many workers are in the fleet."""
        with self._lock:
            self._stats = replace(self._stats, workers=max(1, workers))
            self._registry.workers = max(1, workers)
        self.tick()

    def lost(self, error: BaseException) -> None:
        """The server does not answer."""
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
        """Tell of a return once it has lasted: a server that comes and goes is told once."""
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
