"""What a registry tells of failures that may be its own trouble, and what the workers of its fleet have decided."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from resilient_ai._core.sharing import NO_EVIDENCE, Evidence, Ruling

from .events import FleetClosed, FleetDoubted, FleetOpened

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.sharing import Voter
    from resilient_ai._core.state_store import StateStore

PERIOD = 0.5  # seconds that the fleet opens for: short, since all workers spend one probe on it
_PAUSE, _LARGE_PAUSE = 0.05, 0.1  # seconds between two suspicions of one state: in a fleet of ten, in a large one
_SLOW, _LONGEST_PAUSE = 5, 0.25  # times as long as a command took, where that is more, up to so many seconds
_ANSWERED = 0.1  # seconds after a question for which its answer says more than another suspicion
_UNUSUAL = 1.5  # times the failures that are usual there
_AHEAD = 10_000  # ms of the server's clock by which a decision may be newer than we think it is
_SEARCH = 0.2  # seconds between two searches for a state that is not known by its hash
_MOST = 10_000  # states whose decisions are remembered
_MOST_ASKED = 1_000  # questions that wait for this worker's answer


def hashed_state(namespace: str, kind: str, name: str) -> str:
    """How a state is called on the server: nobody can read its name out of it."""
    return blake2b(f"{kind}\0{name}".encode(errors="replace"), digest_size=12, key=namespace.encode()).hexdigest()


class Decision(NamedTuple):
    """
    What the server says about one state.

    Attributes:
        key: Its hash.
        epoch: Higher for a later decision.
        opened: Whether calls are refused.
        seconds: Until a probe.
        probes: Probes that have failed since.
        question: The question that was decided; 0 for a probe's verdict.
        failed: Calls that had failed, of `calls`.
        bad: Workers that see too many failures, of `active` that called at all.
    """

    key: str
    epoch: int
    opened: bool
    seconds: float
    probes: int
    question: int
    failed: int
    calls: int
    bad: int
    active: int

    @property
    def reason(self) -> str:
        """For people."""
        if not self.calls:
            return "the fleet has it open"
        return f"the fleet: {self.failed} of {self.calls} calls failed at {self.bad} of {self.active} workers"


class Ballot(NamedTuple):
    """One worker's word about one state."""

    key: str
    epoch: int
    share: float
    period: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ProbeVerdict:
    """What a probe has shown; `until` when the next one is due where it failed."""

    key: str
    epoch: int
    opened: bool
    until: float
    probes: int


class _Standing:
    """One state, as far as the fleet has heard of it."""

    __slots__ = ("epoch", "kind", "name", "opened_at", "question", "quiet_before")

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.epoch = self.question = 0
        self.quiet_before = 0.0
        self.opened_at: float | None = None


class Votes:
    """
    Told and asked from any thread; nothing in here waits.

    Args:
        namespace: The fleet's name.
        registry: Whose states they are.
        shared: Whether there are any; else nothing is told, asked or followed.

    Attributes:
        longest: Seconds for which the fleet is believed without a failure of one's own.
        questions: Votes that this worker has asked for.
    """

    def __init__(self, namespace: str, registry: StateStore, *, shared: bool = True) -> None:
        self._namespace, self._registry, self._shared = namespace, registry, shared
        self._now = registry.clock.now
        self._lock = threading.RLock()
        self.longest = 60.0
        self.questions = 0
        self._standings: dict[str, _Standing] = {}
        self._names: dict[tuple[str, str], str] = {}  # the hash of each state that was seen
        self._places: dict[str, tuple[str, str]] = {}  # the same the other way round, as the latest search found them
        self._searched_at = -_SEARCH
        self._suspected: dict[str, None] = {}
        self._asked: dict[str, int] = {}  # open questions, by state
        self._verdicts: dict[str, ProbeVerdict] = {}
        self._server_ms: tuple[float, float] | None = None  # the server's clock, and ours at that moment
        self._wake_to_answer: Callable[[], object] | None = None
        self._wake_to_suspect: Callable[[], object] | None = None

    # -- for policies

    def suspect(self, voter: Voter) -> None:
        """A call of it has failed."""
        if not self._shared:
            return
        key = self._key_of(voter.kind, voter.name)
        with self._lock:
            standing = self._standing(key, voter.kind, voter.name)
            if standing.opened_at is not None or self._now() < standing.quiet_before:
                return
            self._suspected[key] = None
            if self._wake_to_suspect is not None:
                self._wake_to_suspect()

    def judged(self, voter: Voter, verdict: str) -> None:
        """Its probe was "answered" or "failed", or the fleet is "doubted"."""
        if not self._shared:
            return
        if verdict == "doubted":
            if self._registry.hears(FleetDoubted):
                self._registry.emit(FleetDoubted(voter.name))
            return
        wait, probes = voter.held() or (0.0, 0)
        key = self._key_of(voter.kind, voter.name)
        with self._lock:
            standing = self._standing(key, voter.kind, voter.name)
            self._tell(ProbeVerdict(key, standing.epoch, verdict == "failed", self._now() + wait, probes))

    def _tell(self, verdict: ProbeVerdict) -> None:
        self._verdicts[verdict.key] = verdict
        if self._wake_to_answer is not None:
            self._wake_to_answer()

    def _key_of(self, kind: str, name: str) -> str:
        key = self._names.get((kind, name))
        if key is None:
            if len(self._names) >= 2 * _MOST:  # of keys that are long gone
                self._names = {}
            key = self._names[kind, name] = hashed_state(self._namespace, kind, name)
        return key

    def _standing(self, key: str, kind: str, name: str) -> _Standing:
        standing = self._standings.get(key)
        if standing is None:
            if len(self._standings) >= _MOST:
                gone = next((each for each, known in self._standings.items() if known.opened_at is None), None)
                self._standings.pop(gone or next(iter(self._standings)))
            standing = self._standings[key] = _Standing(kind, name)
        return standing

    # -- for the store

    def wake_with(self, answer: Callable[[], object] | None, suspect: Callable[[], object] | None) -> None:
        """Call these when there is a verdict to tell or a question to answer, and when there is a suspicion."""
        with self._lock:
            self._wake_to_answer, self._wake_to_suspect = answer, suspect
            self._suspected.clear()

    def server_time(self, millis: float) -> None:
        """The server's clock, now."""
        self._server_ms = millis, self._now()

    def next_verdict(self) -> ProbeVerdict | None:
        """A verdict for the server; it stays until `verdict_told`."""
        with self._lock:
            return next(iter(self._verdicts.values()), None)

    def seconds_until(self, when: float) -> float:
        """How long it is until then."""
        return max(0.0, when - self._now())

    def verdict_told(self, verdict: ProbeVerdict, decision: Decision, *, accepted: bool) -> None:
        """The server has it, and says what holds now."""
        with self._lock:
            if self._verdicts.get(verdict.key) is verdict:
                del self._verdicts[verdict.key]
            standing = self._standings.get(verdict.key)
            took = None
            if accepted and standing is not None:
                standing.epoch = max(standing.epoch, decision.epoch)
                if not verdict.opened and standing.opened_at is not None:
                    took, standing.opened_at = self._now() - standing.opened_at, None
        if not accepted:
            self.decided(decision)
        elif took is not None and standing is not None and self._registry.hears(FleetClosed):
            self._registry.emit(FleetClosed(standing.name, took))

    def take_suspicions(self) -> list[Ballot]:
        """What is worth telling: more failures than this worker usually has."""
        with self._lock:
            suspected, self._suspected = self._suspected, {}
        ballots = []
        for key in suspected:
            evidence, ballot = self._ballot(key)
            calls, failures = evidence.counts[:2]
            # What is usual excuses nothing that would open: the provider may have been dead since we began.
            if failures > int(min(evidence.usual * _UNUSUAL, ballot.share) * calls):
                ballots.append(ballot)
        return ballots

    def suspicion_told(self, key: str, question: int, took: float) -> None:
        """The server knows after so many seconds, and asks all workers; 0: it does not."""
        with self._lock:
            if (standing := self._standings.get(key)) is None:
                return
            pause = min(_LARGE_PAUSE, _PAUSE * max(1.0, self._registry.workers / 10))
            standing.quiet_before = self._now() + max(pause, min(_LONGEST_PAUSE, _SLOW * took))
            if question:
                standing.question = question
                self.questions += 1

    def is_open(self, key: str, question: int) -> bool:
        """Whether a question of one's own still waits for a decision."""
        standing = self._standings.get(key)
        return standing is not None and standing.question == question

    def over(self, key: str) -> None:
        """A question of one's own was answered with no, or by too few."""
        with self._lock:
            if (standing := self._standings.get(key)) is not None:
                standing.question = 0

    def ask(self, key: str, question: int) -> None:
        """A worker asks all others."""
        if not self._shared:
            return
        with self._lock:
            if len(self._asked) >= _MOST_ASKED and key not in self._asked:
                return
            self._asked[key] = question
            self._suspected.pop(key, None)
            if (standing := self._standings.get(key)) is not None:
                standing.quiet_before = max(standing.quiet_before, self._now() + _ANSWERED)
            if self._wake_to_answer is not None:
                self._wake_to_answer()

    def take_questions(self) -> list[tuple[Ballot, int]]:
        """This worker's answers, each with its question."""
        with self._lock:
            asked, self._asked = self._asked, {}
        return [(self.ballot(key), question) for key, question in asked.items()]

    def ballot(self, key: str) -> Ballot:
        """This worker's word about a state; of one that it does not have, that it has called nothing."""
        return self._ballot(key)[1]

    def _ballot(self, key: str) -> tuple[Evidence, Ballot]:
        standing, voter = self._standings.get(key), self._voter(key)
        epoch = 0 if standing is None else standing.epoch
        if voter is None:
            return NO_EVIDENCE, Ballot(key, epoch, 0.5, PERIOD, NO_EVIDENCE.counts)
        evidence = voter.evidence()
        return evidence, Ballot(key, epoch, voter.share, min(PERIOD, voter.period), evidence.counts)

    def decided(self, decision: Decision, *, first: bool = False) -> bool:
        """
        What holds, from the server; False when that cannot be true.

        Args:
            decision: What it says.
            first: Whether the server was away till now, so that what is known already is said anew.
        """
        if not self._shared:
            return True
        if self._server_ms is not None:
            server, then = self._server_ms
            if decision.epoch > server + (self._now() - then) * 1000 + _AHEAD:
                return False
        if (voter := self._voter(decision.key)) is None:
            return True
        with self._lock:
            standing = self._standing(decision.key, voter.kind, voter.name)
            again = first and decision.opened and decision.epoch == standing.epoch
            if decision.epoch <= standing.epoch and not again:
                return True
            standing.epoch = decision.epoch
            mine = decision.question != 0 and decision.question == standing.question
            if not decision.opened:
                standing.opened_at = None
            elif standing.opened_at is None:
                standing.opened_at = self._now()
            standing.question = 0
        seconds = min(decision.seconds, self.longest)
        vote = (decision.bad, decision.active) if decision.calls else None
        voter.follow(Ruling(decision.opened, seconds, decision.reason, decision.probes, self.longest, vote))
        if mine and decision.opened and self._registry.hears(FleetOpened):
            event = FleetOpened(voter.name, decision.failed, decision.calls, decision.active, seconds)
            self._registry.emit(event)
        return True

    def tell_again(self) -> None:
        """The server has lost its data: tell what the fleet holds open."""
        for key, standing in list(self._standings.items()):
            voter = self._voter(key)
            if standing.opened_at is None or voter is None or (held := voter.held()) is None:
                continue
            with self._lock:
                if key not in self._verdicts:
                    self._tell(ProbeVerdict(key, standing.epoch, True, self._now() + held[0], held[1]))

    def _voter(self, key: str) -> Voter | None:
        standing = self._standings.get(key)
        if standing is None:
            self._search(key)
            if (standing := self._standings.get(key)) is None:
                return None
        handle = self._registry._handle(standing.kind, standing.name)
        return None if handle is None else handle._voter()  # type: ignore[attr-defined]

    def _search(self, key: str) -> None:
        """A state of ours may be called so; states are not hashed before they are asked for."""
        now = self._now()
        with self._lock:
            if key not in self._places and now - self._searched_at >= _SEARCH:
                self._searched_at = now
                handles = self._registry._handles()
                voters = [get() for each in handles if (get := getattr(each, "_voter", None)) is not None]
                self._names = {(each.kind, each.name): self._key_of(each.kind, each.name) for each in voters}
                self._places = {known: place for place, known in self._names.items()}
            if (found := self._places.get(key)) is not None:
                self._standing(key, *found)
