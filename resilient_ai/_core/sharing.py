"""
What a policy tells other processes and hears from them, where its registry has joined others.

Nothing of it is on the path of a call that goes well, and nothing waits: what is told is put into a box that somebody
else empties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .known_secrets import secrets_of

if TYPE_CHECKING:
    from .errors import ErrorType
    from .leasing import Ask, Grant


@dataclass(frozen=True, slots=True)
class Subject:
    """
    What a fact is about: an endpoint under one credential, so that one worker's wrong key rests nobody else.

    Attributes:
        name: The endpoint, or the name of a quota.
        credential: The credential as far as it is known; "" where it is not. It never leaves the process in clear.
    """

    name: str
    credential: str = field(default="", repr=False)


def credential_of(endpoint: object) -> str:
    """What tells an endpoint's credential from others: what it says, else the keys that it holds, else nothing."""
    told = getattr(endpoint, "credential", None)
    return told if isinstance(told, str) else "\0".join(secrets_of(endpoint))


EVIDENCE_SPANS = (0.5, 2.0, 8.0)  # seconds of the past that workers compare


class Evidence(NamedTuple):
    """
    What a worker has seen of late.

    Attributes:
        counts: Calls and failures of the last 0.5, 2 and 8 seconds: calls, failures, calls, failures and so on.
        usual: Share of failures before the last 0.5 seconds.
    """

    counts: tuple[int, ...]
    usual: float


NO_EVIDENCE = Evidence((0,) * (2 * len(EVIDENCE_SPANS)), 0.0)


class Ruling(NamedTuple):
    """
    What workers have decided together.

    Attributes:
        opened: Whether calls are refused; else they are let through again.
        seconds: Until a probe.
        reason: With the numbers that decided.
        probes: Probes that have failed since.
        longest: Seconds for which that is believed without a failure of one's own.
        vote: Workers that saw too many failures, and all that called; None where that was no vote.
    """

    opened: bool
    seconds: float
    reason: str
    probes: int
    longest: float
    vote: tuple[int, int] | None = None


class Voter(Protocol):
    """A state whose failures may be one worker's own trouble, so that all workers are asked."""

    @property
    def name(self) -> str:
        """The state's name, the same in every worker."""
        ...

    @property
    def kind(self) -> str:
        """What sort of state it is."""
        ...

    @property
    def share(self) -> float:
        """Share of failures above which it should open."""
        ...

    @property
    def period(self) -> float:
        """Seconds that it stays open by itself."""
        ...

    def evidence(self) -> Evidence:
        """What it has seen of late."""
        ...

    def follow(self, ruling: Ruling) -> None:
        """Do what has been decided, as far as no operator has said otherwise."""
        ...

    def held(self) -> tuple[float, int] | None:
        """(seconds until a probe, probes that failed) while it is held open by what was decided; else None."""
        ...


class Leased(Protocol):
    """A quota of which this process takes parts. Called from any thread; nothing in here waits."""

    @property
    def subject(self) -> Subject:
        """Which quota it is."""
        ...

    def begin(self, workers: int) -> None:
        """The quota can be asked from now on; so many processes share it."""

    def end(self) -> None:
        """It cannot be asked for the time being."""

    def ask(self) -> Ask | None:
        """What is to be asked now; None: nothing, or the latest question has not been answered."""

    def answer(self, grant: Grant | None) -> None:
        """The answer to the latest question; None: it was refused."""

    def give_back(self) -> Ask | None:
        """What is left over, because this process leaves; None: nothing."""

    def leave(self) -> None:
        """It has left: the quota is its own again."""


class Sharing(Protocol):
    """Where a policy tells what other workers should know at once."""

    @property
    def reachable(self) -> int:
        """Workers that can be asked, this one included; 0 while nobody can be."""
        ...

    def shares(self, what: str) -> bool:
        """Whether such things are told and heard."""
        ...

    def suspect(self, voter: Voter) -> None:
        """A call of it has failed."""

    def judged(self, voter: Voter, verdict: str) -> None:
        """Its probe was "answered" or "failed", or what was decided is "doubted"."""

    def failed(self, subject: Subject, error_type: ErrorType, wait: float | None) -> None:
        """The provider refused a call for a reason that holds for every worker."""

    def recovered(self, subject: Subject) -> None:
        """It has answered again."""

    def wants(self, leased: Leased) -> None:
        """A shared quota has something to ask."""


class Hearing(Protocol):
    """A state that facts concern."""

    def _fact_subject(self) -> Subject | None:
        """What it is about; None where no fact concerns it."""
        ...

    def _hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Another worker was refused for this reason, for so many seconds; None: it was answered again."""
        ...
