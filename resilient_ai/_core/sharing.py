"""
What a policy tells other processes and hears from them, where its registry has joined others.

Nothing of it is on the path of a call that goes well, and nothing waits: what is told is put into a box that somebody
else empties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .known_secrets import secrets_of

if TYPE_CHECKING:
    from .errors import ErrorType


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


class Sharing(Protocol):
    """Where a policy tells what other workers should know at once."""

    def failed(self, subject: Subject, error_type: ErrorType, wait: float | None) -> None:
        """The provider refused a call for a reason that holds for every worker."""

    def recovered(self, subject: Subject) -> None:
        """It has answered again."""


class Hearing(Protocol):
    """A state that facts concern."""

    def _fact_subject(self) -> Subject | None:
        """What it is about; None where no fact concerns it."""
        ...

    def _hear(self, error_type: ErrorType | None, wait: float) -> bool:
        """Another worker was refused for this reason, for so many seconds; None: it was answered again."""
        ...
