"""How many answers that did not fit a call has paid for, counted by retry and failover together."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from resilient_ai._core.call_facts import OWN_VARIABLES
from resilient_ai._core.errors import AllEndpointsFailedError, ErrorType

from .classify import classify
from .error_types import ERROR_TYPES

_rule = ERROR_TYPES[ErrorType.INVALID_OUTPUT].retry
MOST_ANSWERS: Final = 1 + (_rule.max_retries if _rule is not None else 0)

# How many more such answers the running call may pay for; set by a retry for its further attempts.
answers_left: ContextVar[int] = ContextVar("resilient_ai.answers_left", default=MOST_ANSWERS)
OWN_VARIABLES.add(answers_left)

_COUNT = "_resilient_ai_invalid_answers"


def invalid_answers(error: BaseException) -> int:
    """The number of answers that did not fit behind an error, including those of its endpoints and attempts."""
    if isinstance(error, AllEndpointsFailedError):
        return sum(invalid_answers(each) for each in error.errors.values())
    counted = getattr(error, _COUNT, None)
    if isinstance(counted, int):
        return counted
    return int(classify(error).error_type is ErrorType.INVALID_OUTPUT)


def note_answers(error: BaseException, count: int) -> None:
    """Record on an error how many answers were paid for, before it is raised to an outer policy."""
    if count == 0:
        return
    with suppress(Exception):  # an exception with slots cannot record it, and counts as one answer
        setattr(error, _COUNT, count)
