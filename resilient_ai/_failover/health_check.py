"""Health checks alongside the calls: a resting endpoint is checked, and comes back without risking a call."""

from __future__ import annotations

import inspect
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from resilient_ai._classification.classify import classify
from resilient_ai._core.errors import ErrorType
from resilient_ai._core.scopes import move_on_after
from resilient_ai._core.tasks import current_loop, is_closed, spawn

from .endpoint_state import CheckResult, EndpointState

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.clock import Clock
    from resilient_ai._core.state_store import StateStore

    from .candidate import Candidate

CHECK_SECONDS = 10.0  # a check that takes longer has failed

_OUTAGES = frozenset(
    {
        ErrorType.NETWORK_ERROR,
        ErrorType.TIMEOUT,
        ErrorType.INTERNAL_ERROR,
        ErrorType.MODEL_OVERLOADED,
        ErrorType.RATE_LIMIT,
    }
)

_tasks: set[object] = set()  # strong references: asyncio itself holds tasks only weakly


def watch_over(candidate: Candidate, interval: float, registry: StateStore) -> None:
    """
    Check a resting endpoint when its rest is over, and after every further rest until it is up, or until its check
    cannot tell: then a trial call decides, as without a check.

    The task runs in this event loop and ends with it; a call from another loop starts a new task.
    """
    shared, check = candidate.shared, candidate.check
    if check is None or shared.health.state is not EndpointState.RESTING or shared.health.trial_decides:
        return
    if shared.watched_in is not None and not is_closed(shared.watched_in):
        return
    loop = shared.watched_in = current_loop()

    def ended() -> None:
        shared.watched_in = None
        _tasks.discard(task)

    async def run() -> None:
        await _watch(candidate, partial(check, candidate.endpoint), interval, registry.clock)

    # An empty context: the task must not see the context variables of the call that started it, nor keep them alive.
    task = spawn(loop, run, Context(), ended)
    _tasks.add(task)


async def _watch(candidate: Candidate, check: Callable[[], Any], interval: float, clock: Clock) -> None:
    health = candidate.health
    while health.state is EndpointState.RESTING and not health.trial_decides:
        if rest := health.resting_for(clock.now()):
            await clock.sleep(rest)
        else:  # read again after every sleep: it may have come back by then, or rest longer
            candidate.shared.checked(await _result(check, clock), clock.now(), interval)


async def _result(check: Callable[[], Any], clock: Clock) -> CheckResult:
    try:
        with move_on_after(clock, CHECK_SECONDS):
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
            return CheckResult.FAILED if answer is False else CheckResult.PASSED
    except Exception as error:  # noqa: BLE001 - whatever it raises, it says how the endpoint is, or nothing
        return CheckResult.FAILED if met_an_outage(error) else CheckResult.CANNOT_TELL
    return CheckResult.FAILED


def met_an_outage(error: Exception) -> bool:
    """
    Whether the error of a health check is an outage: no connection, no answer in time, 5xx, 429.

    A key without permission for the check, or an API without it, tells nothing about ordinary calls. If such an error
    counted as an outage, an endpoint that answers would be kept out for ever.
    """
    verdict = classify(error)
    # Errors worth a retry are outages; a used-up quota has status 429 too. A method that a server does not have (501)
    # is not worth a retry, and neither is an unknown error.
    return (verdict.retryable and verdict.error_type in _OUTAGES) or verdict.error_type is ErrorType.QUOTA_EXCEEDED
