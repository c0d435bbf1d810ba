"""The outcome of one item of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from resilient_ai._core.public import public

I_co = TypeVar("I_co", covariant=True)
A_co = TypeVar("A_co", covariant=True)


@public("jobs")
@dataclass(frozen=True, slots=True)
class Outcome(Generic[I_co, A_co]):
    """
    The outcome of one item.

    Attributes:
        item: The item as given.
        answer: The answer of the function; None if there is an error.
        error: Why there is no answer; None if there is one.
        seconds: Seconds from the first call for the item to its end, including waits; 0.0 if from the journal.
        attempts: Attempts made for it in this run; 0 if from the journal.
    """

    item: I_co
    answer: A_co | None = None
    error: Exception | None = None
    seconds: float = 0.0
    attempts: int = 0
