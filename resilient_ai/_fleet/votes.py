"""Votes of a fleet: reports of failures that may be local to a worker, and the decisions of the workers."""

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

PERIOD = 0.5  # seconds for which the fleet opens: short, because all workers together make one probe
_PAUSE, _LARGE_PAUSE = 0.05, 0.1  # seconds between two suspicions of one state: in a fleet of ten, in a large one
_SLOW, _LONGEST_PAUSE = 5, 0.25  # or so many times the duration of a command, up to so many seconds
_ANSWERED = 0.1  # seconds after a question in which no further suspicion is sent: the answer says more
_UNUSUAL = 1.5  # a suspicion needs so many times the usual share of failures
_AHEAD = 10_000  # most ms of the server's clock by which a decision may be ahead of our estimate
_SEARCH = 0.2  # seconds between two searches for a state with an unknown hash
_MOST = 10_000  # most states whose decisions are kept
_MOST_ASKED = 1_000  # most questions that wait for this worker's answer


def hashed_state(namespace: str, kind: str, name: str) -> str:
    """The name of a state on the server, which does not reveal its real name."""
    return blake2b(f"{kind}\0{name}".encode(errors="replace"), digest_size=12, key=namespace.encode()).hexdigest()


class Decision(NamedTuple):
    """
    A decision about one state, from the server.

    Attributes:
        key: Hash of the state.
        epoch: Number of the decision, higher for later ones.
        opened: Whether calls are refused.
        seconds: Seconds until a probe.
        probes: Probes that have failed since.
        question: Number of the question that was decided; 0 for the verdict of a probe.
        failed: Calls that had failed, of `calls`.
        bad: Workers that see too many failures, of `active` workers that made calls.
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
        """The reason as text."""
        if not self.calls:
            return "the fleet has it open"
        return f"the fleet: {self.failed} of {self.calls} calls failed at {self.bad} of {self.active} workers"


class Ballot(NamedTuple):
    """One worker's vote about one state."""

    key: str
    epoch: int
    share: float
    period: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ProbeVerdict:
    """The result of a probe; `until`: when the next one is due, if it failed."""

    key: str
    epoch: int
    opened: bool
    until: float
    probes: int


class _Standing:
    """What is known about one state in the fleet."""

    __slots__ = ("epoch", "kind", "name", "opened_at", "question", "quiet_before")

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.epoch = self.question = 0
        self.quiet_before = 0.0
        self.opened_at: float | None = None


class Votes:
    """
    Thread-safe; nothing here waits.

    Args:
        namespace: The fleet's name.
        registry: The registry with the states.
        shared: Whether circuits are shared; otherwise nothing is reported, asked or followed. Default True.

    Attributes:
        longest: Seconds for which a decision is followed without a failure of this worker's own calls.
        questions: Votes that this worker has asked for.
    """

    def __init__(self, namespace: str, registry: StateStore, *, shared: bool = True) -> None:
        self._namespace, self._registry, self._shared = namespace, registry, shared
        self._now = registry.clock.now
        self._lock = threading.RLock()
        self.longest = 60.0
        self.questions = 0
        self._standings: dict[str, _Standing] = {}
        self._names: dict[tuple[str, str], str] = {}  # hash of each state, by kind and name
        self._places: dict[str, tuple[str, str]] = {}  # the reverse, from the latest search
        self._searched_at = -_SEARCH
        self._suspected: dict[str, None] = {}
        self._asked: dict[str, int] = {}  # open questions, by hash of the state
        self._verdicts: dict[str, ProbeVerdict] = {}
        self._server_ms: tuple[float, float] | None = None  # a time on the server's clock, and the same on ours
        self._wake_to_answer: Callable[[], object] | None = None
        self._wake_to_suspect: Callable[[], object] | None = None

    # -- for policies

    def suspect(self, voter: Voter) -> None:
        """Take in that a call of a state has failed."""
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
            if len(self._names) >= 2 * _MOST:  # mostly of states that no longer exist
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
        """Call `answer` when there is a verdict to send or a question to answer, and `suspect` for a suspicion."""
        with self._lock:
            self._wake_to_answer, self._wake_to_suspect = answer, suspect
            self._suspected.clear()

    def server_time(self, millis: float) -> None:
        """Take in the present time of the server's clock, in ms."""
        self._server_ms = millis, self._now()

    def next_verdict(self) -> ProbeVerdict | None:
        """The next verdict for the server; it stays until `verdict_told`."""
        with self._lock:
            return next(iter(self._verdicts.values()), None)

    def seconds_until(self, when: float) -> float:
        """Seconds until a time."""
        return max(0.0, when - self._now())

    def verdict_told(self, verdict: ProbeVerdict, decision: Decision, *, accepted: bool) -> None:
        """Take in the server's answer to a verdict: the decision that is valid now."""
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
        """Take the suspicions worth sending: more failures than usual in this worker."""
        with self._lock:
            suspected, self._suspected = self._suspected, {}
        ballots = []
        for key in suspected:
            evidence, ballot = self._ballot(key)
            calls, failures = evidence.counts[:2]
            # A usual share that would open the circuit is no excuse: the provider may have been dead from the
            # beginning.
            if failures > int(min(evidence.usual * _UNUSUAL, ballot.share) * calls):
                ballots.append(ballot)
        return ballots

    def suspicion_told(self, key: str, question: int, took: float) -> None:
        """Take in the server's answer to a suspicion, after `took` seconds: the question to all workers; 0: none."""
        with self._lock:
            if (standing := self._standings.get(key)) is None:
                return
            pause = min(_LARGE_PAUSE, _PAUSE * max(1.0, self._registry.workers / 10))
            standing.quiet_before = self._now() + max(pause, min(_LONGEST_PAUSE, _SLOW * took))
            if question:
                standing.question = question
                self.questions += 1

    def is_open(self, key: str, question: int) -> bool:
        """Whether a question of this worker still waits for a decision."""
        standing = self._standings.get(key)
        return standing is not None and standing.question == question

    def over(self, key: str) -> None:
        """Close a question of this worker that was answered with no, or by too few."""
        with self._lock:
            if (standing := self._standings.get(key)) is not None:
                standing.question = 0

    def ask(self, key: str, question: int) -> None:
        """Take in a question of another worker."""
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
        """Take this worker's answers, each with its question."""
        with self._lock:
            asked, self._asked = self._asked, {}
        return [(self.ballot(key), question) for key, question in asked.items()]

    def ballot(self, key: str) -> Ballot:
        """This worker's vote about a state; without calls, if it does not have the state."""
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
        Take in a decision from the server; False if it cannot be valid.

        Args:
            decision: The decision.
            first: Whether the server was away until now, so that known decisions are applied again. Default False.
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
        """Send all circuits that the fleet holds open again, because the server has lost its data."""
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
        """Search our states for a hash; states are not hashed before they are needed."""
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
