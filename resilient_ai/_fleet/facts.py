"""Decide which refusals apply to every worker, and for how long they are believed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from resilient_ai._core.errors import ErrorType

if TYPE_CHECKING:
    from resilient_ai._core.sharing import Subject

LEAST_WAIT = 1.0  # least stated wait, in seconds, of a rate limit that is reported
ALONE_RATE_LIMIT, ALONE = 60.0, 10.0  # most seconds of a rest from one worker's report: of a rate limit, of others
CONFIRMED = 600.0  # most seconds if a second worker has reported the same
_DENIED = frozenset({ErrorType.QUOTA_EXCEEDED, ErrorType.AUTHENTICATION, ErrorType.PERMISSION})


@dataclass(frozen=True, slots=True)
class Fact:
    """
    A refusal that applies to every worker.

    Attributes:
        error_type: The error type of the refusal.
        alone: Seconds for which it is valid if only this worker reports it.
        confirmed: Seconds for which it is valid if another worker reports the same.
    """

    error_type: ErrorType
    alone: float
    confirmed: float


def fact_of(error_type: ErrorType, wait: float | None) -> Fact | None:
    """
    The fact behind an error; None for an error that may be local to this worker.

    Args:
        error_type: Type of the error.
        wait: Seconds that the provider asks to wait; None if it does not say.
    """
    if error_type is ErrorType.RATE_LIMIT:
        if wait is None or wait < LEAST_WAIT:
            return None
        return Fact(error_type, min(wait, ALONE_RATE_LIMIT), min(wait, CONFIRMED))
    if error_type in _DENIED:
        rest = CONFIRMED if wait is None else wait
        return Fact(error_type, min(rest, ALONE), min(rest, CONFIRMED))
    return None


def believed(error_type: ErrorType, seconds: float, *, confirmed: bool) -> float:
    """Seconds for which a fact from outside is believed, at most: any client of the server can have written it."""
    if not math.isfinite(seconds) or seconds <= 0:
        return 0.0
    alone = ALONE_RATE_LIMIT if error_type is ErrorType.RATE_LIMIT else ALONE
    return min(seconds, CONFIRMED if confirmed else alone)


def hashed(namespace: str, subject: Subject) -> str:
    """The name of a subject on the server, which does not reveal the endpoint or the credential."""
    text = f"{subject.name}\0{subject.credential}".encode(errors="replace")
    return blake2b(text, digest_size=12, key=namespace.encode()[:64]).hexdigest()
