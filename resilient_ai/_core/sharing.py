"""
Facts that policies exchange with other processes, if their registry has joined others.

Good calls do not pass through here, and nothing here waits: facts are put into a queue that another task empties.
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
    The subject of a fact: an endpoint with one credential, so that one worker's wrong key does not affect the others.

    Attributes:
        name: Name of the endpoint, or of a quota.
        credential: The credential; "" if unknown. It never leaves the process in clear text.
    """

    name: str
    credential: str = field(default="", repr=False)


def credential_of(endpoint: object) -> str:
    """A text that identifies an endpoint's credential: its own, else its keys, else ""."""
    told = getattr(endpoint, "credential", None)
    return told if isinstance(told, str) else "\0".join(secrets_of(endpoint))


EVIDENCE_SPANS = (0.5, 2.0, 8.0)  # lengths, in seconds, of the recent time spans that workers compare


class Evidence(NamedTuple):
    """
    The recent outcomes in one worker.

    Attributes:
        counts: Calls and failures of the last 0.5, 2 and 8 seconds, alternating: calls, failures, calls and so on.
        usual: Share of failures before the last 0.5 seconds.
    """

    counts: tuple[int, ...]
    usual: float


NO_EVIDENCE = Evidence((0,) * (2 * len(EVIDENCE_SPANS)), 0.0)


class Ruling(NamedTuple):
    """
    A decision that the workers have made together.

    Attributes:
        opened: Whether calls are refused; otherwise they are let through again.
        seconds: Seconds until a probe.
        reason: The reason, with the numbers that decided.
        probes: Probes that have failed since.
        longest: Seconds for which a worker follows the decision without a failure of its own calls.
        vote: The workers that saw too many failures, and all that made calls; None if there was no vote.
    """

    opened: bool
    seconds: float
    reason: str
    probes: int
    longest: float
    vote: tuple[int, int] | None = None


class Voter(Protocol):
    """A state whose failures may be local to one worker, so that all workers vote."""

    @property
    def name(self) -> str:
        """The state's name, the same in every worker."""
        ...

    @property
    def kind(self) -> str:
        """The kind of the state."""
        ...

    @property
    def share(self) -> float:
        """Share of failures above which it should open."""
        ...

    @property
    def period(self) -> float:
        """Seconds that it stays open by its own rules."""
        ...

    def evidence(self) -> Evidence:
        """Its recent outcomes."""
        ...

    def follow(self, ruling: Ruling) -> None:
        """Apply a decision, unless an operator has set the state."""
        ...

    def held(self) -> tuple[float, int] | None:
        """(seconds until a probe, number of failed probes) while a decision holds it open; else None."""
        ...


class Leased(Protocol):
    """A quota from which this process leases units. Called from any thread; nothing here waits."""

    @property
    def subject(self) -> Subject:
        """The identity of the quota."""
        ...

    def begin(self, workers: int) -> None:
        """Note that the quota's server can be asked from now on; `workers` processes share the quota."""

    def end(self) -> None:
        """Note that the server cannot be asked at present."""

    def ask(self) -> Ask | None:
        """The question to ask now; None: there is nothing to ask, or the latest question has not been answered."""

    def answer(self, grant: Grant | None) -> None:
        """Take in the answer to the latest question; None: it was refused."""

    def give_back(self) -> Ask | None:
        """The question that gives units back when this process leaves; None: there are none."""

    def leave(self) -> None:
        """End the sharing: the quota is this process's own again."""


class Sharing(Protocol):
    """The connection to other workers, to which policies report facts."""

    @property
    def reachable(self) -> int:
        """Number of workers that can be reached, including this one; 0 while none can be reached."""
        ...

    def shares(self, what: str) -> bool:
        """Whether facts of this kind are exchanged."""
        ...

    def suspect(self, voter: Voter) -> None:
        """Report that a call of a state has failed."""

    def judged(self, voter: Voter, verdict: str) -> None:
        """Report a verdict: a probe was "answered" or "failed", or a decision is "doubted"."""

    def failed(self, subject: Subject, error_type: ErrorType, wait: float | None) -> None:
        """Report that the provider refused a call for a reason that applies to every worker."""

    def recovered(self, subject: Subject) -> None:
        """Report that the provider has answered again."""

    def wants(self, leased: Leased) -> None:
        """Note that a shared quota has a question to ask."""


class Hearing(Protocol):
    """A state that facts can be about."""

    def _fact_subject(self) -> Subject | None:
        """The subject of its facts; None if no fact concerns it."""
        ...

    def _hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Take in that another worker was refused for this reason, for so many seconds; None: it was answered again."""
        ...
