"""Which refusals hold for every worker, and for how long they are believed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from resilient_ai._core.errors import ErrorType

if TYPE_CHECKING:
    from resilient_ai._core.sharing import Subject

LEAST_WAIT = 1.0  # seconds of a stated wait from which a rate limit is worth telling
ALONE_RATE_LIMIT, ALONE = 60.0, 10.0  # most seconds that one worker's word rests others: of a rate limit, of the rest
CONFIRMED = 600.0  # most seconds once a second worker has met the same
_DENIED = frozenset({ErrorType.QUOTA_EXCEEDED, ErrorType.AUTHENTICATION, ErrorType.PERMISSION})


@dataclass(frozen=True, slots=True)
class Fact:
    """
    A refusal that holds for every worker.

    Attributes:
        error_type: Why.
        alone: Seconds that it holds on this worker's word.
        confirmed: Seconds that it holds when another worker has met the same.
    """

    error_type: ErrorType
    alone: float
    confirmed: float


def fact_of(error_type: ErrorType, wait: float | None) -> Fact | None:
    """
    The fact that an error tells; None for one that may be this worker's own trouble.

    Args:
        error_type: What it was.
        wait: Seconds that the provider asks to wait; None where it does not say.
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
    """Seconds for which a fact from outside is believed, whatever it says: anybody who may write can have said it."""
    if not math.isfinite(seconds) or seconds <= 0:
        return 0.0
    alone = ALONE_RATE_LIMIT if error_type is ErrorType.RATE_LIMIT else ALONE
    return min(seconds, CONFIRMED if confirmed else alone)


def hashed(namespace: str, subject: Subject) -> str:
    """How a subject is called on the server: nobody can read the endpoint or the credential out of it."""
    text = f"{subject.name}\0{subject.credential}".encode(errors="replace")
    return blake2b(text, digest_size=12, key=namespace.encode()[:64]).hexdigest()
